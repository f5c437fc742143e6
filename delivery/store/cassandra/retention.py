"""The end of events by age.

Rows have a time to live; what is done here is the rest: the floor of each conversation, what devices have missed, and the rows
of a retention that is shorter. Conversations are found by the days on which they got an event. Of a day that has passed
altogether a cursor is kept, and in the end nothing; a day that is passing is looked through anew each time.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

from delivery.store.cassandra import members
from delivery.store.cassandra.document import Document
from delivery.store.cassandra.documents import Documents, Keep
from delivery.store.cassandra.positions import acked, expired
from delivery.store.cassandra.rows import BUCKET, DAY_MS, HOUR_MS, is_message
from delivery.store.cassandra.session import Cassandra, Statement, gather

#: In a cursor, behind every conversation of a part.
_DONE: Final = "~"
PARTS: Final = range(16)
#: Conversations that are looked at together.
_TOGETHER: Final = 16
_TARGETED: Final = frozenset({"edit", "delete", "reaction", "vote"})

_DAYS = "SELECT at, cursor FROM $.pending WHERE kind = 'activity' AND at <= ?"
_OF_DAY = "SELECT conversation FROM $.activity WHERE day = ? AND part = ? LIMIT ?"
_OF_DAY_AFTER = "SELECT conversation FROM $.activity WHERE day = ? AND part = ? AND conversation > ? LIMIT ?"
_LOG = """SELECT seq, message_id, at, ordinal, kind, withheld, target FROM $.event
WHERE conversation = ? AND bucket = ? AND seq > ? LIMIT ?"""
_DELETE = "DELETE FROM $.event USING TIMESTAMP ? WHERE conversation = ? AND bucket = ? AND seq <= ?"
_DELETE_ABOUT = "DELETE FROM $.about USING TIMESTAMP ? WHERE conversation = ? AND target = ? AND seq = ?"
_ACKED = "SELECT acked FROM $.position WHERE device = ? AND link = ? AND conversation = ?"


_HOURS = "SELECT at FROM $.pending WHERE kind = 'vanishing' AND at <= ?"
_LEFT_OF_HOUR = "SELECT at FROM $.vanishing WHERE hour = ? AND at < ? LIMIT ?"


async def overdue(db: Cassandra, kind: str, before: int, limit: int) -> int:
    """See :meth:`Store.overdue`. Rows that have a time to live are ended by it, and nobody need look for them."""
    if kind in ("mentions", "outbox"):
        return 0
    if kind == "messages":
        # A day that has passed altogether is forgotten when its conversations have their floors.
        return min(len(await db.rows(_DAYS, before // DAY_MS - 1)), limit)
    if kind != "vanishing":
        raise KeyError(kind)
    left = 0
    for (hour,) in await db.rows(_HOURS, before // HOUR_MS):
        left += len(await db.rows(_LEFT_OF_HOUR, hour, before, limit - left))
        if left >= limit:
            break
    return left


class _Row(NamedTuple):
    seq: int
    message_id: str
    at: int
    ordinal: int
    kind: str
    withheld: bool | None
    target: int | None


async def expire(db: Cassandra, documents: Documents, now: int, retention_ms: int, limit: int) -> int:
    """See :meth:`Store.expire`."""
    sweep = _Sweep(db, documents, now, now - retention_ms, limit)
    for day, cursor in await db.rows(_DAYS, sweep.before // DAY_MS):
        await sweep.day(day, cursor or "")
        if not sweep.left:
            break
    return limit - sweep.left


class _Sweep:
    """One call. ``left``: events that it may still delete."""

    def __init__(self, db: Cassandra, documents: Documents, now: int, before: int, limit: int) -> None:
        self.before = before
        self.left = limit
        self._db = db
        self._documents = documents
        self._now = now

    async def day(self, day: int, cursor: str) -> None:
        """``cursor``: the part, and the last conversation of it that is done."""
        passed = (day + 1) * DAY_MS <= self.before
        # The last moment of the day: an event of it is not later, one of a later day is not hidden by it.
        stamp = (day + 1) * DAY_MS * 1000 - 1
        first, _, after = cursor.partition("/") if passed else ("", "", "")
        for part in PARTS[int(first or "0", 16) :]:
            while after != _DONE:
                sql, place = (_OF_DAY_AFTER, (day, part, after)) if after else (_OF_DAY, (day, part))
                found = [row[0] for row in await self._db.rows(sql, *place, _TOGETHER)]
                await self._conversations(found)
                if not self.left:
                    return
                after = found[-1] if len(found) == _TOGETHER else _DONE
                if passed and found:
                    await self._keep(day, f"{part:x}/{after}", stamp)
            after = ""
        if passed:
            forget = "DELETE FROM $.activity USING TIMESTAMP ? WHERE day = ? AND part IN ?"
            await self._db.run(forget, stamp, day, list(PARTS))
            await self._db.run(
                "DELETE FROM $.pending USING TIMESTAMP ? WHERE kind = 'activity' AND at = ?", stamp, day
            )

    async def _keep(self, day: int, cursor: str, stamp: int) -> None:
        await self._db.run(
            "UPDATE $.pending USING TIMESTAMP ? SET cursor = ? WHERE kind = 'activity' AND at = ?",
            stamp,
            cursor,
            day,
        )

    async def _conversations(self, conversations: Sequence[str]) -> None:
        found = await self._documents.read(conversations)
        await gather(
            _Log(self, self._db, self._documents, conversation).expire(self._now)
            for conversation, document in found.items()
            if 0 < document.oldest_at < self.before
        )


class _Log:
    """One conversation's log in a sweep."""

    def __init__(self, sweep: _Sweep, db: Cassandra, documents: Documents, conversation: str) -> None:
        self._sweep = sweep
        self._db = db
        self._documents = documents
        self._conversation = conversation
        self._old: list[_Row] = []
        self._next: _Row | None = None
        self._floor = 0

    async def expire(self, now: int) -> None:
        stamp = await self._documents.change(self._conversation, self._decide, now, self._look)
        if not self._old or not stamp:
            return
        buckets = range(self._old[0].seq // BUCKET, self._floor // BUCKET + 1)
        await self._db.write(
            [(_DELETE, (stamp, self._conversation, bucket, self._floor)) for bucket in buckets]
            + [
                (_DELETE_ABOUT, (stamp, self._conversation, row.target, row.seq))
                for row in self._old
                if row.target and row.kind in _TARGETED
            ]
        )

    async def _look(self, document: Document) -> None:
        """What expires is the part of the log before its first younger event, so that a floor says it all."""
        sweep = self._sweep
        sweep.left += len(self._old)  # an attempt before this one has lost
        self._old, self._next, self._floor = [], None, document.floor
        if not 0 < document.oldest_at < sweep.before:
            return
        # Another of this sweep may take what is left meanwhile.
        seen = await self._read(document, sweep.left + 1)
        room = sweep.left
        older = next((i for i, row in enumerate(seen) if row.at >= sweep.before), len(seen))
        self._old = seen[: min(older, room)]
        sweep.left -= len(self._old)
        self._next = seen[len(self._old)] if len(self._old) < len(seen) else None
        if self._next is not None:
            # Between the two there is nothing, or only what never will be.
            self._floor = (
                self._next.seq - 1
                if len(self._old) == older
                else self._old[-1].seq
                if self._old
                else document.floor
            )
        else:
            self._floor = _settled_up_to(document, {row.seq for row in self._old})
        if self._floor > document.floor:
            await self._tell_devices(document, self._floor)

    async def _read(self, document: Document, limit: int) -> list[_Row]:
        """The oldest rows, until one is younger."""
        found: list[_Row] = []
        for bucket in range((document.floor + 1) // BUCKET, document.head // BUCKET + 1):
            after = document.floor
            while len(found) < limit:
                size = min(limit - len(found), 1_000)
                rows = [
                    _Row(*row) for row in await self._db.rows(_LOG, self._conversation, bucket, after, size)
                ]
                # A row without a time is what is left of one that was void.
                found += [row for row in rows if row.at is not None]
                if len(rows) < size or (found and found[-1].at >= self._sweep.before):
                    break
                after = rows[-1].seq
            if len(found) >= limit or (found and found[-1].at >= self._sweep.before):
                break
        return found

    def _decide(self, document: Document) -> int:
        if self._floor <= document.floor:
            if self._next is None or self._next.at == document.oldest_at:
                raise Keep(0)
            document.oldest_at = self._next.at  # it was the time of one that never came
            return document.stamp
        document.floor = self._floor
        if self._next is not None and self._next.seq == self._floor + 1:
            message = is_message(self._next.kind) and not self._next.withheld
            document.floor_ordinal = self._next.ordinal - message
        elif self._floor == document.head:
            document.floor_ordinal = document.ordinal
        elif self._old:
            document.floor_ordinal = self._old[-1].ordinal
        if self._next is not None:
            document.oldest_at = self._next.at
        else:
            document.oldest_at = min(
                (claim.at for claim in document.claims if claim.seq > self._floor), default=0
            )
        return document.stamp

    async def _tell_devices(self, document: Document, floor: int) -> None:
        """Of every device that has not read all that was owed to its user: that it expired."""
        of_users: dict[str, list[members.Membership]] = {}
        everybody = await members.of_conversations(self._db, {self._conversation: document})
        for one in everybody[self._conversation]:
            if one.joined <= floor:
                of_users.setdefault(one.user, []).append(one)
        linked = await self._db.each(
            "SELECT device, link FROM $.device WHERE member = ?", [(user,) for user in of_users]
        )
        asked: list[
            tuple[str, int, int]
        ] = []  # device, link, what it must have acknowledged to have missed nothing
        for intervals, rows in zip(of_users.values(), linked, strict=True):
            start = min(one.joined for one in intervals) - 1
            last = max(min(floor, one.left or floor) for one in intervals)
            if last > start:
                asked += [(device, link, last) for device, link in rows]
        found = await self._db.each(_ACKED, [(device, link, self._conversation) for device, link, _ in asked])
        statements: list[Statement] = []
        for (device, link, last), rows in zip(asked, found, strict=True):
            if last > ((rows[0][0] if rows else 0) or 0):
                statements += [
                    acked(device, link, self._conversation, floor),
                    expired(device, link, self._conversation, floor),
                ]
        await self._db.write(statements)


def _settled_up_to(document: Document, seen: set[int]) -> int:
    """How far a log without a younger row goes: to its end, or below the first number that may still get its row."""
    coming = [claim.seq for claim in document.claims]
    if document.intent is not None:
        coming += [step.seq for step in document.intent.steps]
    return min((seq - 1 for seq in coming if seq not in seen and seq > document.floor), default=document.head)
