"""Leases: whether the copies of state documents on a hot node count (R23, R24).

A row for each epoch of a hot node. Whoever uses a copy has confirmed by a quorum read that its lease was open at most CONFIRMED_S
ago: before a number is given out, again when its rows are durable and before anybody is told, and when a reader has read it.
Whoever cannot reach a copy that must be there closes its lease, for everybody; whoever then takes the conversation over waits
DEAD_S from when it saw the lease closed. So nobody tells a sender of a number of the old copy any more when the rows behind the
document are read. A closed lease counts for all conversations of its node: they go on by conditional writes (LWT mode), until the
node has another epoch, or REOPEN_S later, when somebody opens it again under a higher number.

Ages are counted by a clock that goes on while the process stands still, and by the clock of the wall: the greater one counts.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Collection
from typing import NamedTuple

from delivery.store.cassandra import clocks
from delivery.store.cassandra.document import Hot as Mark
from delivery.store.cassandra.session import Cassandra
from delivery.store.errors import Busy
from whatsapp.infra import clock
from whatsapp.infra.hot import Hot

#: A lease that was seen open so long ago is not known to be open any more.
CONFIRMED_S = 2.0
#: It is read again when it was seen longer ago than this.
_AGAIN_S = 1.0
#: From when a lease was seen closed until nobody acts on having seen it open: more than CONFIRMED_S, as clocks differ in pace.
DEAD_S = 2.25
#: A hot node that is out of reach for so long has its lease closed.
AWAY_S = 1.0
#: The same of a node that this process has not reached yet: it may be the process that has only just begun.
FIRST_S = 3.0
#: A lease that was closed may be opened again after this, by the time of two processes (:mod:`.clocks`): they differ by less than
#: the 5 s that claims allow for. So one that was opened again, or was closed so long ago, has been dead for a while.
REOPEN_S = 10.0
_PAUSE_S = 0.05

_READ = "SELECT epoch, number, open, moved_at FROM $.hot_lease WHERE epoch IN ?"
_OPEN = "INSERT INTO $.hot_lease (epoch, number, open, moved_at) VALUES (?, ?, true, ?) IF NOT EXISTS"
_MOVE = "UPDATE $.hot_lease SET number = ?, open = ?, moved_at = ? WHERE epoch = ? IF number = ? AND open = ?"


class _Seen(NamedTuple):
    number: int  # 0: there is no row
    open: bool
    moved_at: int
    at: float  # before the read
    wall: int

    def age_s(self) -> float:
        return max(_elapsed() - self.at, (clock.now_ms() - self.wall) / 1000)


def _elapsed() -> float:
    """Seconds; goes on while the machine sleeps."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


class Leases:
    """Of one process."""

    def __init__(self, session: Cassandra, hot: Hot) -> None:
        self._session = session
        self._hot = hot
        self._seen: dict[str, _Seen] = {}
        self._closed: dict[tuple[str, int], float] = {}  # seen closed, at
        self._away: dict[str, float] = {}  # epoch → its node was found out of reach, at
        self._reading: dict[str, asyncio.Task[None]] = {}
        self._stuck: Counter[str] = Counter()

    # -- whether a copy counts

    def reachable(self, conversation: str, mark: Mark) -> bool:
        """Whether what is asked now is the node that has the copy."""
        term, epoch = self._hot.under(conversation)
        return bool(term) and epoch == mark.epoch

    def holds(self, conversation: str, mark: Mark) -> bool:
        """Whether the copy counts at this moment, as far as is known without asking."""
        return self.reachable(conversation, mark) and self._is_open(mark.epoch, mark.number)

    def _is_open(self, epoch: str, number: int) -> bool:
        seen = self._seen.get(epoch)
        return seen is not None and seen.open and seen.number == number and 0 <= seen.age_s() < CONFIRMED_S

    async def confirm(self, marks: Collection[Mark]) -> None:
        """Ask again about those that nobody has asked about for a while. Raises :class:`Unavailable`."""
        old = {
            mark.epoch
            for mark in marks
            if (seen := self._seen.get(mark.epoch)) is None or seen.age_s() > _AGAIN_S or seen.age_s() < 0
        }
        for epoch in old:
            await self._read(epoch)

    async def counts(self, mark: Mark) -> bool:
        """Whether numbers of this copy may be told to their senders: their rows are durable."""
        await self.confirm([mark])
        return self._is_open(mark.epoch, mark.number)

    async def usable(self, conversation: str) -> tuple[str, int] | None:
        """Epoch and number of the lease under which a copy may be made now, if there is one."""
        term, epoch = self._hot.under(conversation)
        if not term or not epoch:
            return None
        seen = self._seen.get(epoch)
        if seen is None or not 0 <= seen.age_s() <= _AGAIN_S:
            await self._read(epoch)
            seen = self._seen[epoch]
            if not seen.open and not await self._reopen(epoch, seen):
                return None
            seen = self._seen[epoch]
        self._away.pop(epoch, None)
        return (epoch, seen.number) if seen.open else None

    async def _read(self, epoch: str) -> None:
        """By one read at a time, begun after this was called."""
        running = self._reading.get(epoch)
        if running is not None:
            await asyncio.wait([running])
        running = self._reading.get(epoch)
        if running is None or running.done():
            running = self._reading[epoch] = asyncio.ensure_future(self._ask(epoch))
        await asyncio.shield(running)

    async def _ask(self, epoch: str, *, serial: bool = False) -> None:
        at, wall = _elapsed(), clock.now_ms()
        rows = await self._session.rows(_READ, [epoch], serial=serial)
        number, is_open, moved_at = (rows[0][1], bool(rows[0][2]), rows[0][3]) if rows else (0, False, 0)
        self._note(epoch, _Seen(number, is_open, moved_at, at, wall))

    def _note(self, epoch: str, seen: _Seen) -> None:
        before = self._seen.get(epoch)
        if before is not None and before.number > seen.number:
            return  # a read that another has overtaken
        if before is not None and before.number == seen.number and not before.open:
            seen = seen._replace(open=False)  # likewise: no number is open again
        self._seen[epoch] = seen
        if seen.open:
            self._closed.pop((epoch, seen.number), None)
        if before is not None and before.open and (not seen.open or seen.number != before.number):
            self._closed.setdefault((epoch, before.number), _elapsed())
        if not seen.open:
            self._closed.setdefault((epoch, seen.number), _elapsed())
        while len(self._seen) > 1_000:
            self._seen.pop(next(iter(self._seen)))
        while len(self._closed) > 1_000:
            self._closed.pop(next(iter(self._closed)))

    @property
    def stuck(self) -> set[str]:
        """Conversations that wait in :meth:`gone` at this moment."""
        self._stuck = +self._stuck
        return set(self._stuck)

    # -- how they change

    async def _reopen(self, epoch: str, seen: _Seen) -> bool:
        """Open the lease of the node's present epoch; whether somebody has."""
        now = clocks.latest_ms()
        if not seen.number:
            await self._session.swap(_OPEN, epoch, now, now)
        elif clocks.earliest_ms() - seen.moved_at < REOPEN_S * 1000:
            return False
        else:
            await self._session.swap(
                _MOVE, max(now, seen.number + 1), True, now, epoch, seen.number, seen.open
            )
        await self._ask(epoch)
        return self._seen[epoch].open

    async def close(self, mark: Mark) -> None:
        """End the lease of this copy, for everybody."""
        try:
            await self._session.swap(
                _MOVE, mark.number, False, clocks.latest_ms(), mark.epoch, mark.number, True
            )
        finally:
            await self._ask(mark.epoch, serial=True)

    async def gone(self, conversation: str, mark: Mark, deadline: float) -> bool:
        """Wait, until the copy can be reached (False), or its lease is dead (True), so that what is stored of it is all that will
        ever count. A lease whose node is out of reach is closed. Raises :class:`Unavailable`; as :class:`Busy` at the
        ``deadline`` (loop time)."""
        loop = asyncio.get_running_loop()
        while True:
            await self.confirm([mark])
            seen = self._seen[mark.epoch]
            if seen.number < mark.number:  # another has opened it behind what we have read
                await self._read(mark.epoch)
                seen = self._seen[mark.epoch]
            if seen.number != mark.number or not seen.open:
                if self._is_dead(mark, seen):
                    return True
            elif self.reachable(conversation, mark):
                self._away.pop(mark.epoch, None)
                if self._is_open(mark.epoch, mark.number):
                    return False
            elif self._is_away(conversation, mark):
                self._away.pop(mark.epoch, None)
                await self.close(mark)
                continue
            if loop.time() >= deadline:
                raise Busy("the hot copy of the conversation is out of reach")
            self._stuck[conversation] += 1
            try:
                await asyncio.sleep(_PAUSE_S)
            finally:
                self._stuck[conversation] -= 1

    def _is_dead(self, mark: Mark, seen: _Seen) -> bool:
        """Whether nobody acts any more on having seen the lease of a copy open, which ``seen`` says is closed."""
        if seen.number > mark.number or (
            seen.number == mark.number and clocks.earliest_ms() - seen.moved_at >= REOPEN_S * 1000
        ):
            return True
        # Or a row that is not there any more, or as it was long ago.
        since = self._closed.setdefault((mark.epoch, mark.number), _elapsed())
        return _elapsed() - since >= DEAD_S

    def _is_away(self, conversation: str, mark: Mark) -> bool:
        """Whether a node that cannot be reached now is not to be waited for any longer."""
        term, epoch = self._hot.under(conversation)
        since = self._away.setdefault(mark.epoch, _elapsed())
        return bool(term and epoch != mark.epoch) or _elapsed() - since >= (AWAY_S if epoch else FIRST_S)
