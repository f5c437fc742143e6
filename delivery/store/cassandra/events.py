"""Rows of the log, read by range."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from delivery.store.cassandra.rows import BUCKET
from delivery.store.cassandra.session import Cassandra

#: All of an event. A read mends only the columns it asks for where a node has missed the write, so what is shown to somebody, or
#: is to count from now on, whoever wrote it, is read whole.
_COLUMNS = """seq, ordinal, sender, device, message_id, kind, content, sent_at, at, seq_num, extra, envelopes, edited, until,
    withheld, superseded, replaced, target, allocated_at, base, body_hash"""
_UP = (
    f"SELECT {_COLUMNS} FROM $.event WHERE conversation = ? AND bucket = ? AND seq >= ? AND seq <= ? LIMIT ?"
)
_DOWN = f"""SELECT {_COLUMNS} FROM $.event WHERE conversation = ? AND bucket = ? AND seq >= ? AND seq <= ?
    ORDER BY seq DESC, message_id DESC LIMIT ?"""
_WHOLE = f"""SELECT {_COLUMNS} FROM $.event
    WHERE conversation = ? AND bucket = ? AND seq = ? AND message_id = ?"""
_ONE = f"SELECT {_COLUMNS} FROM $.event WHERE conversation = ? AND bucket = ? AND seq = ?"


class EventRow(NamedTuple):
    seq: int
    ordinal: int
    sender: str
    device: str
    message_id: str
    kind: str
    content: bytes | None
    sent_at: int
    at: int
    seq_num: int
    extra: bytes | None
    envelopes: bytes | None
    edited: int | None
    until: int | None
    withheld: bool | None
    superseded: bool | None
    replaced: int | None
    target: int | None
    allocated_at: int
    base: int | None
    body_hash: bytes

    @property
    def is_rest(self) -> bool:
        """Whether it is only what a change has left of a row whose time to live has ended, or that never came; or what reads of
        some of its columns have given to other nodes, of a row that no node has any more."""
        return (
            self.kind is None or self.sent_at is None or self.allocated_at is None or self.body_hash is None
        )

    @property
    def size(self) -> int:
        """Bytes that a page counts."""
        return len(self.content or b"") + len(self.extra or b"") + len(self.envelopes or b"")


async def upwards(session: Cassandra, conversation: str, low: int, high: int, limit: int) -> list[EventRow]:
    """At most ``limit`` rows with ``low <= seq <= high``, the lowest ones, ascending."""
    found: list[EventRow] = []
    while low <= high and limit > 0:
        bucket = low // BUCKET
        end = min(high, (bucket + 1) * BUCKET - 1)
        rows = await session.rows(_UP, conversation, bucket, low, end, limit)
        found += [EventRow(*row) for row in rows]
        limit -= len(rows)
        low = end + 1
    return found


async def downwards(session: Cassandra, conversation: str, low: int, high: int, limit: int) -> list[EventRow]:
    """At most ``limit`` rows with ``low <= seq <= high``, the highest ones, descending."""
    found: list[EventRow] = []
    while low <= high and limit > 0:
        bucket = high // BUCKET
        start = max(low, bucket * BUCKET)
        rows = await session.rows(_DOWN, conversation, bucket, start, high, limit)
        found += [EventRow(*row) for row in rows]
        limit -= len(rows)
        high = start - 1
    return found


async def some(session: Cassandra, conversation: str, seqs: Sequence[int]) -> dict[int, EventRow]:
    """By seq; what is not there is absent, but for what is left of it."""
    wanted = list(dict.fromkeys(seqs))
    found = await session.each(_ONE, [(conversation, seq // BUCKET, seq) for seq in wanted])
    return {seq: EventRow(*rows[0]) for seq, rows in zip(wanted, found, strict=True) if rows}


async def there(session: Cassandra, conversation: str, asked: Sequence[tuple[int, str]]) -> set[int]:
    """Those of these (seq, message id) that a quorum has, from now on if not before."""
    found = await session.each(
        _WHOLE, [(conversation, seq // BUCKET, seq, message_id) for seq, message_id in asked]
    )
    return {
        seq for (seq, _), rows in zip(asked, found, strict=True) if rows and not EventRow(*rows[0]).is_rest
    }
