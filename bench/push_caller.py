"""Who rings people for ``./dev bench push_burst``, as a process of the system that knows of calls would: ``python -m
bench.push_caller`` in the environment of the application.

Standard input: a line ``user caller`` for each call. Standard output: ``ready``, then for each line when the ring was handed over
(seconds of ``time.perf_counter``, the same clock in all processes of a machine), or ``refused``.
"""

from __future__ import annotations

import asyncio
import sys
import time
import uuid
from typing import Final

import django

#: As long as telephones ring.
RING_MS: Final = 45_000


async def _serve() -> None:
    # Django must be set up before its settings can be read.
    from django.conf import settings

    import whatsapp.celery  # noqa: F401 - the tasks go to its broker
    from notifications.binding import submit
    from notifications.due import Due
    from notifications.rings import Ring, Rings
    from whatsapp.infra.clock import now_ms
    from whatsapp.infra.hot_cluster import open_hot
    from whatsapp.infra.postgres import open_pool

    hot, pool = open_hot(settings.HOT_URL), open_pool(settings.DATABASE_URL, low=1, high=2)
    await hot.start()
    await pool.open(wait=True)
    calls = Rings(hot, Due(hot, pool, submit))
    lines = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(lines), sys.stdin)
    print("ready", flush=True)
    while line := await lines.readline():
        user, caller = line.decode().split()
        now = now_ms()
        at = time.perf_counter()
        taken = await calls.ring(user, Ring(str(uuid.uuid4()), caller, "audio", now, now + RING_MS), now)
        print(at if taken else "refused", flush=True)
    await pool.close()
    await hot.stop()


if __name__ == "__main__":
    django.setup()
    asyncio.run(_serve())
