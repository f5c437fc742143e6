"""A copy of a state document was lost: what it said is found in the rows behind the durable document.

Its lease is dead when this is done (:mod:`.leases`), so every number of it that was told to a sender has its row, which a quorum
read finds. Rows that are there count, whoever wrote them. What is not there never will be: the seqs up to the end of the block
are not given out again (R24), the document says so in one conditional write, for everybody (:class:`Lost`), and afterwards they
are deleted by a timestamp above all that the lost copy has given out, so that a late row is never seen.
"""

from __future__ import annotations

from collections.abc import Container, Sequence
from itertools import pairwise

from delivery.store.cassandra import clocks, events, rows
from delivery.store.cassandra.document import MAX_LASTS, Claim, Document, Lost, State, pack, unpack
from delivery.store.cassandra.judge import block_of
from delivery.store.cassandra.messages import known
from delivery.store.cassandra.session import Cassandra, Row, Statement

#: The timestamps of the lost copy's numbers are of clocks that may go before ours, and were given out before its lease was dead.
_ABOVE_MS = 10_000

_BEHIND = """SELECT seq, message_id, sender, device, seq_num, ordinal, at, allocated_at, body_hash, withheld, until,
    WRITETIME(kind) FROM $.event WHERE conversation = ? AND bucket = ? AND seq > ? AND seq <= ?"""
_NEVER = "DELETE FROM $.event USING TIMESTAMP ? WHERE conversation = ? AND bucket = ? AND seq > ? AND seq < ?"


async def without_copy(session: Cassandra, conversation: str, document: Document) -> Document:
    """The durable document as it has to be after the loss of its copy."""
    assert document.hot is not None
    low, high = document.head, document.hot.limit
    behind = await _behind(session, conversation, low, high)
    highest = max((row[-1] or 0 for row in behind), default=0)
    there = await known(session, [row[1] for row in behind])
    # Of those that nobody was told of, which are there for good.
    untold = {row[0]: row[1] for row in behind if not _is(there.get((row[2], row[1])), conversation, row[0])}
    if untold:
        kept = await events.there(session, conversation, list(untold.items()))
        # Again: now a quorum has them whole.
        behind = await _behind(session, conversation, low, high)
        told = {(row[0], row[1]) for row in behind if _is(there.get((row[2], row[1])), conversation, row[0])}
        behind = [row for row in behind if row[0] in kept or (row[0], row[1]) in told]
        behind = _in_order(document, behind, untold)
    new = unpack(pack(document))
    new.hot = None
    new.stamp = max(new.stamp, highest)
    new.base = max(new.base, high)
    for row in behind:
        _replay(new, row, found=_is(there.get((row[2], row[1])), conversation, row[0]))
    # And each number may have been given the next one only, as time had been ahead before (:func:`.judge.take`).
    new.stamp = max(new.stamp, document.stamp + high - low)
    new.lost = Lost(low, high, new.next_stamp(clocks.latest_ms() + _ABOVE_MS), [row[0] for row in behind])
    return new


async def _behind(session: Cassandra, conversation: str, low: int, high: int) -> list[Row]:
    found: list[Row] = []
    for bucket in range(low // rows.BUCKET, high // rows.BUCKET + 1):
        found += await session.rows(_BEHIND, conversation, bucket, low, high)
    return found


def _in_order(document: Document, behind: Sequence[Row], untold: Container[int]) -> list[Row]:
    """Without what a device has sent behind a message that is not there (:func:`.claims.settle`)."""
    lasts = dict(document.lasts)
    some_elsewhere = len(lasts) >= MAX_LASTS
    kept = []
    for row in behind:
        seq, device, seq_num = row[0], row[3], row[4]
        if seq_num and device:
            last = lasts.get(device, seq_num - 1 if some_elsewhere else 0)
            if seq in untold and seq_num > last + 1:
                continue
            lasts[device] = max(last, seq_num)
        kept.append(row)
    return kept


def _is(found: tuple[str, int, int, bytes, bool] | None, conversation: str, seq: int) -> bool:
    return found is not None and found[:2] == (conversation, seq)


def _replay(document: Document, row: Row, *, found: bool) -> None:
    """What giving out the number of this row has changed. ``found``: its message is found by its id, else that is to be done."""
    (
        seq,
        message_id,
        sender,
        device,
        seq_num,
        ordinal,
        at,
        allocated_at,
        body_hash,
        withheld,
        until,
        stamp,
    ) = row
    document.head = seq
    document.ordinal = max(document.ordinal, ordinal or 0)
    document.oldest_at = document.oldest_at or at
    document.day = max(document.day, at // rows.DAY_MS)
    document.stamp = max(document.stamp, stamp or 0)
    if seq_num and device:
        last = max(seq_num, document.lasts.pop(device, 0))
        document.lasts[device] = last
    block = block_of(document, sender)
    if withheld and block is not None:
        if block.through != seq - 1:
            block.owed = seq - 1
        block.through = seq
    if not found:
        document.claims.append(
            Claim(
                sender, message_id, body_hash, seq, ordinal or 0, stamp, at, allocated_at or at, device or "", seq_num or 0,
                bool(withheld), until or 0, state=State.THERE,
            )
        )  # fmt: skip


def never(conversation: str, lost: Lost) -> list[Statement]:
    """What deletes all that must not come any more."""
    statements: list[Statement] = []
    edges = [lost.low, *lost.there, lost.high + 1]
    for above, below in pairwise(edges):
        if below - above <= 1:
            continue
        for bucket in range((above + 1) // rows.BUCKET, (below - 1) // rows.BUCKET + 1):
            statements.append((_NEVER, (lost.stamp, conversation, bucket, above, below)))
    return statements


def is_void(lost: Lost | None, seq: int) -> bool:
    """Whether a row with this seq must not be seen."""
    return lost is not None and lost.low < seq <= lost.high and seq not in lost.there
