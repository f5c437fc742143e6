"""Whose turn it is among the passes of one worker: large ones a few at a time, small ones at once.

All lanes of a worker share its loop, its connections and its questions to the store. A message forwarded into a hundred large
groups made sixty passes of a thousand members each at the same time, and a group of three waited in every queue behind all of
them. A large pass is not slower for waiting: what it would have waited for inside is the same.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

SMALL = 256  # members of all groups of a pass; up to here it waits for nobody
AT_ONCE = 2  # one computes while the other is answered


class Turns:
    def __init__(self) -> None:
        self._large = asyncio.Semaphore(AT_ONCE)  # first come, first served

    @asynccontextmanager
    async def of(self, members: int, limit: asyncio.Timeout | None, seconds: float) -> AsyncIterator[None]:
        """The turn of a pass over so many members. The wait does not count: ``limit`` begins anew, with ``seconds``."""
        if members <= SMALL:
            yield
            return
        if limit is not None:
            limit.reschedule(None)
        async with self._large:
            if limit is not None:
                limit.reschedule(asyncio.get_running_loop().time() + seconds)
            yield
