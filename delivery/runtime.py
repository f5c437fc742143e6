"""The asynchronous half of a Celery pool child: one background thread with one event loop, a pool and a hot connection.

Opened in the child (``worker_process_init``), never before the fork: a connection made before it hangs the child.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Coroutine
from typing import Any, TypeVar

from django.conf import settings

from delivery.store.postgres import PostgresStore
from whatsapp.infra.hot import Hot
from whatsapp.infra.postgres import open_pool

Result = TypeVar("Result")


class Runtime:
    store: PostgresStore
    hot: Hot

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="runtime", daemon=True)
        self._thread.start()
        self.run(self._open(), timeout=10)

    async def _open(self) -> None:
        pool = open_pool(settings.DATABASE_URL, low=0, high=2)
        await pool.open(wait=False)
        self.store = PostgresStore(pool)
        self.hot = Hot(settings.HOT_URL)
        await self.hot.start()

    def run(self, work: Coroutine[Any, Any, Result], *, timeout: float) -> Result:
        """Run on the loop and wait. Raises what ``work`` raises, ``TimeoutError`` after ``timeout`` seconds."""
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(timeout)


_runtime: Runtime | None = None
_lock = threading.Lock()


def runtime() -> Runtime:
    """The runtime of this process, opened on first use."""
    global _runtime
    with _lock:
        if _runtime is None:
            _runtime = Runtime()
        return _runtime
