"""The asynchronous half of a Celery process: one background thread with one event loop, a pool and a hot connection.

Opened in the pool child (``worker_process_init``), never before the fork: a connection made before it hangs the child. In a
worker whose pool is threads it is opened in the one process there is, and all its lanes run on the one loop.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
import uuid
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

import uvloop
from django.conf import settings

from delivery import absent
from delivery.lane_worker import LaneWorker
from delivery.store.interface import Store
from delivery.store.log_store import LogStore
from whatsapp.infra.bus import DEVICES, Bus
from whatsapp.infra.hot import Hot
from whatsapp.infra.hot_cluster import open_hot
from whatsapp.infra.postgres import open_pool
from whatsapp.infra.threads import shown

Result = TypeVar("Result")

#: Longest wait for the end of what is open, seconds.
CLOSE_S = 4.0


class Runtime:
    store: Store
    hot: Hot

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._lanes: LaneWorker | None = None
        #: What others have opened on the loop, and ends with it.
        self.closing: list[Callable[[], Coroutine[Any, Any, None]]] = []
        self._loop = uvloop.new_event_loop()
        self._thread = threading.Thread(target=shown(self._loop.run_forever), name="runtime", daemon=True)
        self._thread.start()
        self.run(self._open(), timeout=10)

    async def _open(self) -> None:
        # Kept also where the log is elsewhere and nothing asks it: a pool that is forgotten while it is open complains.
        self._pool = open_pool(settings.DATABASE_URL, low=0, high=2)
        await self._pool.open(wait=False)
        self._log = LogStore(self._pool)
        await self._log.open()
        self.store = self._log.store
        self.hot = open_hot(settings.HOT_URL)
        await self.hot.start()

    def lanes(self) -> LaneWorker:
        """The lanes of this process. From the first call on it also takes lanes that nobody holds."""
        with self._lock:
            if self._lanes is None:
                self._lanes = self.run(self._open_lanes(), timeout=10)
            return self._lanes

    def leave_lanes(self) -> None:
        """Give the lanes back, for others to go on; the process is about to end."""
        if self._lanes is not None:
            self._lanes.leave()

    def close(self) -> None:
        """End what it has open, within a few seconds; the process is about to end, and its tasks have."""
        with contextlib.suppress(Exception):
            self.run(self._close(), timeout=CLOSE_S)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(1)

    async def _close(self) -> None:
        for close in self.closing:
            with contextlib.suppress(Exception):
                await close()
        if self._lanes is not None:
            self._orphans.cancel()
            self._lanes.tracing.stop()
            if self._lanes.absent is not None:
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(1):
                        await self._lanes.absent.drained()
            await self._bus.stop()
        await self.hot.stop()
        await self._log.close()
        await self._pool.close(timeout=1)
        rest = asyncio.all_tasks() - {asyncio.current_task()}
        for task in rest:
            task.cancel()
        await asyncio.gather(*rest, return_exceptions=True)

    async def _open_lanes(self) -> LaneWorker:
        bus = self._bus = Bus(settings.HOT_URL, str(uuid.uuid4()))
        lanes = LaneWorker(self.store, bus)
        if absent.make is not None:
            lanes.absent = absent.make(bus, self._pool)
            bus.subscribe(DEVICES, lanes.absent.forget)
        await bus.start()
        lanes.tracing.start()
        self._orphans = self._loop.create_task(lanes.look_for_orphans())
        return lanes

    def run(self, work: Coroutine[Any, Any, Result], *, timeout: float | None) -> Result:
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


def opened() -> Runtime | None:
    """The runtime, if this process has one."""
    return _runtime
