"""What fsck asks of the rows by message id: there are more of them than of anything else."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

from delivery.store.cassandra import rows
from delivery.store.cassandra.documents import Documents
from delivery.store.cassandra.fsck_walk import Row
from delivery.store.cassandra.session import Cassandra
from whatsapp.infra import clock

#: Events go by their time to live a day before rows about them.
_EVENTS_MS: Final = 29 * rows.DAY_MS

#: They are read as the walk found them, by their place in the cluster; those that are missing then, or were few, by id.
_MESSAGE = "SELECT message_id, sender, conversation, seq, at, WRITETIME(seq) FROM $.message WHERE"
_BETWEEN = f"{_MESSAGE} token(message_id) >= token(?) AND token(message_id) <= token(?) LIMIT ?"
_BY_IDS = f"{_MESSAGE} message_id IN ?"
_EVENTS = "SELECT seq, message_id, at FROM $.event WHERE conversation = ? AND bucket = ? AND seq IN ?"
#: Ids, and numbers of one part of a log, in one read.
_IDS_AT_ONCE: Final = 16
_SEQS_AT_ONCE: Final = 100
#: Rows that may have come in between, for each that is asked for.
_MORE: Final = 4


async def _rows_of(db: Cassandra, ids: Sequence[str]) -> list[tuple[str, str, str, int, int, int]]:
    """The rows of these messages: id, sender, conversation, seq, at, when it was written (microseconds)."""
    many = len(ids) > _IDS_AT_ONCE
    found = await db.rows(_BETWEEN, ids[0], ids[-1], _MORE * len(ids)) if many else []
    wanted, there = set(ids), {row[0] for row in found}
    missing = [id_ for id_ in ids if id_ not in there]
    parts = [(missing[start : start + _IDS_AT_ONCE],) for start in range(0, len(missing), _IDS_AT_ONCE)]
    for some in await db.each(_BY_IDS, parts):
        found += some
    return [row for row in found if row[0] in wanted]  # type: ignore[misc]  # as the statement says


async def _have_events(db: Cassandra, asked: Iterable[tuple[str, int, str]]) -> set[tuple[str, int, str]]:
    """Those of these (conversation, seq, message id) that have an event."""
    seqs: dict[tuple[str, int], set[int]] = {}
    for c, seq, _ in asked:
        seqs.setdefault((c, seq // rows.BUCKET), set()).add(seq)
    reads = [
        (c, bucket, sorted(some)[start : start + _SEQS_AT_ONCE])
        for (c, bucket), some in seqs.items()
        for start in range(0, len(some), _SEQS_AT_ONCE)
    ]
    return {
        (c, seq, id_)
        for (c, _, _), found in zip(reads, await db.each(_EVENTS, reads), strict=True)
        for seq, id_, at in found
        if at is not None
    }


async def messages(db: Cassandra, documents: Documents, keys: Sequence[str]) -> list[Row]:
    """Its event is durable before such a row is written; so who sends it again would be told ✓, and it is nowhere."""
    old = clock.now_ms() - _EVENTS_MS
    asked = [row for row in await _rows_of(db, keys) if None not in row[2:5] and row[4] > old]
    there = await _have_events(db, [(c, seq, key) for key, _, c, seq, _, _ in asked])
    lost = [row for row in asked if (row[2], row[3], row[0]) not in there]
    known = await documents.read(one[2] for one in lost)
    return [
        Row("message.nowhere", key, {"sender": sender, "conversation": c, "seq": seq, "written": written})
        for key, sender, c, seq, _, written in lost
        if c in known and seq > known[c].floor
    ]


async def forget_message(db: Cassandra, documents: Documents, row: Row) -> None:
    await db.run(
        "DELETE FROM $.message USING TIMESTAMP ? WHERE message_id = ? AND sender = ?",
        row.facts["written"], row.key, row.facts["sender"],
    )  # fmt: skip
