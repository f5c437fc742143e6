"""A store with coroutines for code without a loop: a thread with a loop, and a session of the store's own, in each process.

Opened on first use, so after any fork; a process that was forked later opens its own.
"""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Callable, Coroutine
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeout
from typing import Any, Final

from delivery.store.interface import Unavailable
from delivery.store.pending import Elsewhere
from whatsapp.infra.threads import shown

#: Longest wait for one call, seconds: above what the store itself waits for each of its statements.
PATIENCE_S: Final = 20.0


class Background:
    """``open_store`` is called in the thread's loop; when it raises ``Unavailable`` the next call tries again."""

    def __init__(self, open_store: Callable[[], Coroutine[Any, Any, Elsewhere]]) -> None:
        self._open_store = open_store
        self._lock = threading.Lock()
        self._pid = 0
        self._loop: asyncio.AbstractEventLoop | None = None
        self._store: Elsewhere | None = None
        self._opening: asyncio.Lock | None = None

    def ask(
        self, call: Callable[[Elsewhere], Coroutine[Any, Any, Any]], patience_s: float = PATIENCE_S
    ) -> Any:
        """What the coroutine returns that ``call`` makes of the store. Raises ``Unavailable`` when that takes too long."""
        future = self.begin(call)
        try:
            return future.result(patience_s)
        except FutureTimeout:
            future.cancel()
            raise Unavailable("the store did not answer in time") from None

    def begin(self, call: Callable[[Elsewhere], Coroutine[Any, Any, Any]]) -> Future[Any]:
        """The same without waiting."""
        return asyncio.run_coroutine_threadsafe(self._answer(call), self._started())

    async def _answer(self, call: Callable[[Elsewhere], Coroutine[Any, Any, Any]]) -> Any:
        assert self._opening is not None
        async with self._opening:
            if self._store is None:
                self._store = await self._open_store()
        return await call(self._store)

    def _started(self) -> asyncio.AbstractEventLoop:
        with self._lock:
            if self._loop is None or self._pid != os.getpid():
                # A thread does not come along through a fork, and a session must not.
                self._pid, self._store, self._opening = os.getpid(), None, asyncio.Lock()
                self._loop = asyncio.new_event_loop()
                threading.Thread(target=shown(self._loop.run_forever), name="store", daemon=True).start()
            return self._loop

    def close(self) -> None:
        """For tests: end the session and the thread."""
        loop, store = self._loop, self._store
        if loop is None or self._pid != os.getpid():
            return
        if store is not None:
            asyncio.run_coroutine_threadsafe(store.close(), loop).result(PATIENCE_S)  # type: ignore[attr-defined]
        loop.call_soon_threadsafe(loop.stop)
        self._loop = self._store = None
