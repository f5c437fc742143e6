"""Who sends next through one app: calls first, then messages, then what is silent; so many at once, so many a second."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from typing import Final

from notifications.senders.interface import Urgency
from whatsapp.infra.limits import Rate

_ORDER: Final = (Urgency.CALL, Urgency.MESSAGE, Urgency.SILENT)


class NoTurn(Exception):
    """Too many came before."""


class Turns:
    """``at_once``: sends under way together. An eighth of them, one at least, is only for calls: a burst of messages delays a
    call by nothing. Calls count in ``per_second`` and do not wait for it. For one event loop."""

    def __init__(self, at_once: int, per_second: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._at_once = at_once + max(1, at_once // 8)
        self._for_others = at_once
        self._per_second = per_second
        self._rate = Rate()
        self._clock = clock
        self._waiting: dict[Urgency, deque[asyncio.Future[None]]] = {urgency: deque() for urgency in _ORDER}
        self._timer: asyncio.TimerHandle | None = None
        self.under_way = 0

    @property
    def waiting(self) -> int:
        return sum(map(len, self._waiting.values()))

    @asynccontextmanager
    async def turn(self, urgency: Urgency, wait_s: float | None = None) -> AsyncIterator[None]:
        """Around one send; waits until it may begin. Raises :class:`NoTurn` after ``wait_s`` seconds."""
        line = self._waiting[urgency]
        mine: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        line.append(mine)
        self._go_on()
        try:
            async with asyncio.timeout(None if mine.done() else wait_s):
                await mine
        except (asyncio.CancelledError, TimeoutError) as error:
            if mine.done() and not mine.cancelled():
                self._end()
            else:
                with suppress(ValueError):  # it was passed over already
                    line.remove(mine)
            if isinstance(error, TimeoutError):
                raise NoTurn from None
            raise
        try:
            yield
        finally:
            self._end()

    def _end(self) -> None:
        self.under_way -= 1
        self._go_on()

    def _go_on(self) -> None:
        """Let those begin who may."""
        for urgency in _ORDER:
            line = self._waiting[urgency]
            while line:
                if not self._may_begin(urgency):
                    return  # nor may one that is less urgent
                mine = line.popleft()
                if not mine.done():  # cancelled, and not yet taken out by its task
                    self.under_way += 1
                    mine.set_result(None)

    def _may_begin(self, urgency: Urgency) -> bool:
        call = urgency is Urgency.CALL
        if self.under_way >= (self._at_once if call else self._for_others):
            return False
        wait_ms = self._rate.take(self._clock() * 1000, self._per_second, 1000)
        if wait_ms > 0 and not call:
            if self._timer is None:
                self._timer = asyncio.get_running_loop().call_later(wait_ms / 1000, self._timed)
            return False
        return True

    def _timed(self) -> None:
        self._timer = None
        self._go_on()
