"""What the store knows of one message, for ``manage.py trace``: the questions of :mod:`delivery.store.trace`, asked here."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from delivery.store.cassandra import members as membership
from delivery.store.cassandra import receipts as marks
from delivery.store.cassandra.documents import Documents
from delivery.store.cassandra.outbox import everybody
from delivery.store.cassandra.positions import stored
from delivery.store.cassandra.rows import BUCKET
from delivery.store.cassandra.session import Cassandra, gather
from delivery.store.trace import (
    MAX_MEMBERS,
    MAX_ROWS,
    DeviceState,
    Head,
    OutboxPlace,
    Place,
    UserState,
    Watermark,
)
from delivery.store.values import Interval

#: Outbox rows of one writer that carry the time of a batch: few writers have several batches in one millisecond.
_SAME_TIME: Final = 200

_MESSAGE = "SELECT conversation, seq FROM $.message WHERE message_id = ? LIMIT ?"
_EVENT = """SELECT conversation, seq, message_id, at, sent_at, sender, device, kind, seq_num, content, withheld FROM $.event
WHERE conversation = ? AND bucket = ? AND seq = ?"""
_OUTBOX = "SELECT row, at, conversations, seqs FROM $.outbox WHERE writer = ? AND row >= ? LIMIT ?"


async def by_message(db: Cassandra, documents: Documents, message_id: str) -> list[Place]:
    places = await db.rows(_MESSAGE, message_id, MAX_ROWS)
    found = await gather(by_seq(db, documents, conversation, seq) for conversation, seq in places)
    there = [place for one in found for place in one if place.message_id == message_id]
    return sorted(there, key=lambda place: (place.at, place.conversation, place.seq))


async def by_seq(db: Cassandra, documents: Documents, conversation: str, seq: int) -> list[Place]:
    document = (await documents.read([conversation])).get(conversation)
    if document is None or seq <= document.floor:
        return []
    rows = await db.rows(_EVENT, conversation, seq // BUCKET, seq)
    found = []
    for *facts, content, withheld in rows:
        if facts[3] is not None:  # a row without a time is what is left of one that never came to be
            found.append(Place(*facts, len(content or b""), content is None, bool(withheld)))  # type: ignore[call-arg]
    return found


async def head(db: Cassandra, documents: Documents, conversation: str) -> Head | None:
    document = (await documents.read([conversation])).get(conversation)
    return Head(document.kind, document.head, document.floor) if document else None


async def members(db: Cassandra, documents: Documents, conversation: str) -> list[Interval]:
    found = await membership.of_conversations(db, await documents.read([conversation]))
    intervals = [Interval(one.user, one.joined, one.left) for one in found.get(conversation, ())]
    return sorted(intervals, key=lambda one: (one.joined, one.user))[:MAX_MEMBERS]


async def outbox(
    db: Cassandra, documents: Documents, conversation: str, seq: int, at: int
) -> OutboxPlace | None:
    """A batch's events and its outbox row carry the same time, and the row's number is not below it."""
    writers = [one.writer for one in await everybody(db) if one.at >= at]
    found = await db.each(_OUTBOX, [(writer, at * 1000, _SAME_TIME) for writer in writers])
    places = [
        OutboxPlace(writer, row, at, up_to)
        for writer, rows in zip(writers, found, strict=True)
        for row, when, conversations, seqs in rows
        if when == at
        for one, up_to in zip(conversations, seqs, strict=True)
        if one == conversation and up_to >= seq
    ]
    return min(places, key=lambda place: place.up_to, default=None)


async def watermarks(db: Cassandra, documents: Documents, writer: str) -> list[Watermark]:
    rows = await db.rows("SELECT epoch, row, at FROM $.progress WHERE writer = ?", writer)
    return sorted((Watermark(*row) for row in rows), key=lambda mark: -mark.at)[:20]


async def devices(
    db: Cassandra, documents: Documents, conversation: str, users: Sequence[str]
) -> list[DeviceState]:
    asked = list(dict.fromkeys(users))
    linked = await db.each(
        "SELECT device, linked_at, link FROM $.device WHERE member = ?", [(user,) for user in asked]
    )
    of_users = [(user, *row) for user, rows in zip(asked, linked, strict=True) for row in rows]
    positions = await gather(stored(db, device, link, [conversation]) for _, device, _, link in of_users)
    found = []
    for (user, device, linked_at, _), there in zip(of_users, positions, strict=True):
        acked, expired = there.get(conversation, (None, 0))
        found.append(DeviceState(user, device, linked_at, acked, expired))
    return sorted(found, key=lambda one: (one.user, one.linked_at, one.device))


async def receipts(
    db: Cassandra, documents: Documents, conversation: str, users: Sequence[str]
) -> dict[str, UserState]:
    found = await marks.marks_of(db, [(conversation, user) for user in dict.fromkeys(users)])
    return {one.user: UserState(one.delivered, one.read, one.changed_at) for one in found if one.changed_at}
