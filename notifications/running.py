"""What a process that sends notifications has open: policy, senders, the worker of its shards and the pass over all targets, on
the loop of :mod:`delivery.runtime`. In a worker whose pool is processes each child has its own."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from typing import Any, Final

from django.conf import settings

from delivery.runtime import Runtime, runtime
from notifications.binding import submit
from notifications.derived import Derived
from notifications.dispatch import Dispatch
from notifications.due import Due
from notifications.policy import Policy
from notifications.senders.registry import open_senders
from notifications.shards import new_token
from notifications.worker import LEAVE_S, PushWorker
from whatsapp.infra.postgres import open_pool

#: Of the database of accounts; each batch asks it a few times. Calls have their own: they would stand behind all of that.
CONNECTIONS: Final = 4
FOR_CALLS: Final = 2


class Running:
    def __init__(self, here: Runtime) -> None:
        self._here = here
        self._tasks: list[asyncio.Task[Any]] = []

    async def open(self) -> Running:
        here = self._here
        self._pool = open_pool(settings.DATABASE_URL, low=0, high=CONNECTIONS)
        self._calls = open_pool(settings.DATABASE_URL, low=1, high=FOR_CALLS)
        await self._pool.open(wait=False)
        await self._calls.open(wait=False)
        policy = Policy(here.store, here.hot, self._pool, self._calls)
        self._dispatch = Dispatch(self._pool, open_senders(settings.PUSH_APPS), here.hot)
        self.worker = PushWorker(here.hot, policy.plan, self._dispatch.deliver, policy.calls)
        due = Due(here.hot, self._pool, submit)
        derived = Derived(here.store, here.hot, self._pool, due, new_token())
        here.closing.append(self.close)
        loop = asyncio.get_running_loop()
        for work in (self.worker.run(), self.worker.look_for_orphans(), derived.run()):
            self._tasks.append(loop.create_task(work))
        return self

    async def close(self) -> None:
        await self.worker.leave()
        for task in self._tasks:
            task.cancel()
        await self._dispatch.close()
        await self._pool.close(timeout=1)
        await self._calls.close(timeout=1)

    def take(self, shard: int, token: str) -> bool:
        """Work on a shard from now on, if ``token`` was left for it. Does not wait for that work."""
        return self._here.run(self.worker.take(shard, token), timeout=10)


_running: Running | None = None
_lock = threading.Lock()


def running() -> Running:
    """That of this process, opened on first use."""
    global _running
    with _lock:
        if _running is None:
            here = runtime()
            _running = here.run(Running(here).open(), timeout=10)
        return _running


def leave() -> None:
    """The process is about to end: let what is being sent come to its end, and the shards go to others. Never raises."""
    if _running is not None:
        with contextlib.suppress(Exception):
            runtime().run(_running.worker.leave(), timeout=LEAVE_S + 1)
