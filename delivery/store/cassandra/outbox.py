"""What writers have stored and not yet told anybody, and how far they are under each epoch (R2-R4).

A row's number is the time of its batch in microseconds, or one more than its writer's row before: numbers of one writer ascend,
and none is below its time. So an age is a range of numbers. Rows go by their time to live; a read never begins below it, where
it would count what is dead.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from delivery.store.cassandra.session import Cassandra, Row, gather
from delivery.store.outbox import KEEP_MS, REPLAY_MS
from delivery.store.values import OutboxRow

#: Partitions of the table ``writer``: the first hex digit of an id.
PARTS: Final = list(range(16))

_ROWS = "SELECT row, at, conversations, seqs FROM $.outbox WHERE writer = ? AND row > ? LIMIT ?"
_MARKS = "SELECT epoch, row FROM $.progress WHERE writer = ?"
_MARKS_OF = "SELECT writer, epoch, row FROM $.progress WHERE writer IN ?"
#: Writers of one read.
_AT_ONCE: Final = 32


def part(writer: str) -> int:
    return int(writer[0], 16)


async def outbox(db: Cassandra, writer: str, epoch: str, now: int, limit: int) -> list[OutboxRow]:
    """See :meth:`Store.outbox`."""
    marks = dict(await db.rows(_MARKS, writer))
    window = (now - REPLAY_MS) * 1000 - 1
    highest = max(marks.values(), default=0)
    done = marks.get(epoch)
    above = done if done is not None else min(highest, window)
    above = max(above, (now - KEEP_MS) * 1000 - 1)
    found: list[OutboxRow] = []
    while len(found) < limit:
        rows = await db.rows(_ROWS, writer, above, limit)
        for row, at, conversations, seqs in rows:
            # Behind a clock that was set back a number is above its time.
            open_ = done is not None or row > highest or at >= now - REPLAY_MS
            if open_ and at >= now - KEEP_MS:
                found.append(OutboxRow(writer, row, at, tuple(zip(conversations, seqs, strict=True))))
        if len(rows) < limit:
            break
        above = rows[-1][0]
    return found[:limit]


async def done(db: Cassandra, writer: str, epoch: str, row: int, now: int) -> None:
    """See :meth:`Store.outbox_done`."""
    await db.run(
        "UPDATE $.progress USING TIMESTAMP ? SET row = ?, at = ? WHERE writer = ? AND epoch = ?",
        row, row, now, writer, epoch,
    )  # fmt: skip


class Newest(NamedTuple):
    """A writer and its newest row."""

    writer: str
    row: int
    at: int
    trimmed: int | None  # rows up to here were looked at by :func:`trim`


async def everybody(db: Cassandra) -> list[Newest]:
    """Every writer that had a row in the last hours."""
    rows = await db.rows("SELECT writer, row, at, trimmed FROM $.writer WHERE part IN ?", PARTS)
    # A row that only says how far it was trimmed has no writer behind it any more.
    return [Newest(*row) for row in rows if row[1] is not None]


async def writers(db: Cassandra, now: int, epoch: str | None) -> list[str]:
    """See :meth:`Store.outbox_writers`."""
    living = [one for one in await everybody(db) if one.at >= now - KEEP_MS]
    if epoch is None:
        return [one.writer for one in living]
    marks: dict[str, dict[str, int]] = {one.writer: {} for one in living}
    asked = list(marks)
    parts = [asked[i : i + _AT_ONCE] for i in range(0, len(asked), _AT_ONCE)]
    for rows in await db.each(_MARKS_OF, [(part,) for part in parts]):
        for writer, known, row in rows:
            marks[writer][known] = row
    return [one.writer for one in living if _open(one, marks[one.writer], epoch, now)]


def _open(newest: Newest, marks: dict[str, int], epoch: str, now: int) -> bool:
    """The same question as :func:`outbox`'s, of the newest row."""
    if epoch in marks:
        return newest.row > marks[epoch]
    return newest.at >= now - REPLAY_MS or newest.row > max(marks.values(), default=0)


_TRIM_ROWS = 5_000


async def trim(db: Cassandra, now: int) -> int:
    """See :meth:`Store.trim_outbox`. In a running system the time to live has come first, and nothing is found."""
    before = now - KEEP_MS
    return sum(await gather(_trim(db, one, before) for one in await everybody(db)))


async def _trim(db: Cassandra, writer: Newest, before: int) -> int:
    start = writer.trimmed or 0
    sql = "SELECT row, at FROM $.outbox WHERE writer = ? AND row > ? AND row < ? LIMIT ?"
    gone: list[Row] = await db.rows(sql, writer.writer, start, before * 1000, _TRIM_ROWS)
    # A number is not below its time, so a younger row is not among them; one that is older may come with the next trim.
    if gone:
        delete = "DELETE FROM $.outbox USING TIMESTAMP ? WHERE writer = ? AND row > ? AND row <= ?"
        await db.run(delete, gone[-1][0], writer.writer, start, gone[-1][0])
    marks = await db.rows("SELECT epoch, row, at FROM $.progress WHERE writer = ?", writer.writer)
    for epoch, row, at in marks:
        if at < before:
            forget = "DELETE FROM $.progress USING TIMESTAMP ? WHERE writer = ? AND epoch = ?"
            await db.run(forget, row, writer.writer, epoch)
    place = (part(writer.writer), writer.writer)
    if writer.at < before and len(gone) < _TRIM_ROWS:
        await db.run(
            "DELETE FROM $.writer USING TIMESTAMP ? WHERE part = ? AND writer = ?", writer.row, *place
        )
    elif gone:
        mark = gone[-1][0]
        await db.run(
            "UPDATE $.writer USING TIMESTAMP ? SET trimmed = ? WHERE part = ? AND writer = ?",
            mark,
            mark,
            *place,
        )
    return len(gone)
