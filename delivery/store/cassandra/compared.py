"""A copy that :mod:`delivery.store.cassandra.moved` has made, read back and held against what it was made of.

Everything that this store answers from: documents, members, every column of every event, what leads to them and what is in force
about them, receipts, mentions, devices with positions and counts, flags.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from typing import Any

from delivery.store import move
from delivery.store.cassandra import flags, receipts, rows
from delivery.store.cassandra.document import Document
from delivery.store.cassandra.documents import Documents
from delivery.store.cassandra.events import upwards
from delivery.store.cassandra.moved import ABOUT, KEPT, SAME, document_of, plain
from delivery.store.cassandra.positions import stored
from delivery.store.cassandra.session import Cassandra
from delivery.store.move import Log, Row, Source

_ROSTER = "SELECT joined_seq, left_seq FROM $.roster WHERE member = ? AND conversation = ?"
_MENTION = "SELECT seq FROM $.mention WHERE conversation = ? AND member = ?"
_MESSAGE = "SELECT conversation, seq, body_hash FROM $.message WHERE message_id = ? AND sender = ?"
_ABOUT = "SELECT seq, message_id, kind, content, withheld FROM $.about WHERE conversation = ? AND target = ?"
_VANISHES = "SELECT seq FROM $.vanishing WHERE hour = ? AND at = ? AND conversation = ? AND seq = ?"


class Differs(Exception):
    """What was written is not what was read. ``key``: of the conversation, device or user."""

    def __init__(self, key: str, what: str) -> None:
        super().__init__(f"{key}: {what}")
        self.key = key


def _digest(events: Iterable[Any]) -> tuple[int, str]:
    """Of rows of a log, whichever store they come from."""
    digest, number = hashlib.blake2b(digest_size=16), 0
    for row in events:
        values = [plain(getattr(row, name)) for name in SAME]
        # False and null are the same to every reader.
        digest.update(repr([None if value is False else value for value in values]).encode())
        number += 1
    return number, digest.hexdigest()


class Comparison:
    """Of the store with ``source``. Every method raises :class:`Differs`; what is compared is of one moment over there."""

    def __init__(self, db: Cassandra) -> None:
        self._db = db
        self._documents = Documents(db)

    async def conversation(self, source: Source, conversation: str) -> None:
        async with source.snapshot():
            log = await move.log(source, conversation)
            document = (await self._documents.read([conversation])).get(conversation)
            if log is None or document is None:
                raise Differs(conversation, "it is on one side only")
            wanted = document_of(log, document.stamp)
            for name in Document.__struct_fields__:
                if name not in (*KEPT, "day") and getattr(wanted, name) != getattr(document, name):
                    raise Differs(conversation, f"{name} differs")
            await self._people(conversation, log)
            for bucket in range(document.floor // rows.BUCKET, document.head // rows.BUCKET + 1):
                await self._bucket(source, conversation, bucket, document)

    async def _people(self, conversation: str, log: Log) -> None:
        intervals = {(one.member, one.joined_seq, one.left_seq, one.speaker) for one in log.members}
        if log.head.kind == "direct":
            low, *rest = sorted({one.member for one in log.members})
            cql = "SELECT conversation FROM $.direct WHERE low = ? AND high = ?"
            if await self._db.rows(cql, low, rest[0] if rest else low) != [(conversation,)]:
                raise Differs(conversation, "it is not the conversation of its two users")
        else:
            cql = "SELECT member, joined_seq, left_seq, speaker FROM $.member WHERE conversation = ?"
            found = await self._db.rows(cql, conversation)
            if {(m, joined, left or 0, bool(speaker)) for m, joined, left, speaker in found} != intervals:
                raise Differs(conversation, "members differ")
        members = sorted({one.member for one in log.members})
        for member, there in zip(
            members, await self._db.each(_ROSTER, [(one, conversation) for one in members]), strict=True
        ):
            here = {(joined, left) for who, joined, left, _ in intervals if who == member}
            if {(joined, left or 0) for joined, left in there} != here:
                raise Differs(conversation, "it is not listed for its members")
        marks = (await receipts.marks(self._db, [conversation]))[conversation]
        for one in log.receipts:
            mark = marks.get(one.member, receipts.Mark(one.member))
            if (mark.delivered, mark.read, mark.sent) != (one.delivered, one.read, one.sent):
                raise Differs(conversation, "receipts differ")
        mentioned: dict[str, set[int]] = {}
        for one in log.mentions:
            mentioned.setdefault(one.member, set()).add(one.seq)
        looks = [(conversation, member) for member in mentioned]
        for wanted, found in zip(mentioned.values(), await self._db.each(_MENTION, looks), strict=True):
            if not wanted <= {seq for (seq,) in found}:
                raise Differs(conversation, "mentions differ")

    async def _bucket(self, source: Source, conversation: str, bucket: int, document: Document) -> None:
        first = bucket * rows.BUCKET
        last = first + rows.BUCKET - 1
        there = [one async for page in move.events(source, conversation, first, last) for one in page]
        here = await upwards(self._db, conversation, max(first, document.floor + 1), last, rows.BUCKET * 2)
        if _digest(there) != _digest(here):
            raise Differs(
                conversation,
                f"{len(there)} events there, {len(here)} here, or other ones, from seq {first} on",
            )
        await self._beside(conversation, there)
        await self._in_force(source, conversation, there)

    async def _beside(self, conversation: str, events: Sequence[Row]) -> None:
        found = await self._db.each(_MESSAGE, [(one.message_id, one.sender) for one in events])
        for one, place in zip(events, found, strict=True):
            if place != [(conversation, one.seq, plain(one.body_hash))]:
                raise Differs(conversation, f"seq {one.seq} is not found by its message id")
        goes = [
            (one.until // rows.HOUR_MS, one.until, conversation, one.seq)
            for one in events
            if one.until and one.content is not None and one.target is None
        ]
        if not all(await self._db.each(_VANISHES, goes)):
            raise Differs(conversation, "what is to vanish would stay")

    async def _in_force(self, source: Source, conversation: str, events: Sequence[Row]) -> None:
        targets = {one.seq for one in events if rows.is_message(one.kind)}
        wanted: dict[int, set[tuple[Any, ...]]] = {}
        for one in await move.about(source, conversation, sorted(targets)):
            if one.kind in ABOUT:
                row = (one.seq, one.message_id, one.kind, plain(one.content), bool(one.withheld))
                wanted.setdefault(one.target, set()).add(row)
        # Of the others a deleted one could have kept something.
        asked = sorted(wanted.keys() | {one.seq for one in events if one.edited})
        found = await self._db.each(_ABOUT, [(conversation, target) for target in asked])
        for target, there in zip(asked, found, strict=True):
            if {(*row[:4], bool(row[4])) for row in there} != wanted.get(target, set()):
                raise Differs(conversation, f"what is in force about seq {target} differs")

    async def device(self, source: Source, id_: str) -> None:
        async with source.snapshot():
            device, positions, numbers = await move.device(source, id_)
            if device is None:
                raise Differs(id_, "the device is on one side only")
        cql = "SELECT link, linked_at FROM $.device WHERE member = ? AND device = ?"
        cql_of_life = "SELECT member, link, linked_at, ready, ended FROM $.linked WHERE device = ?"
        linked = await self._db.rows(cql, device.member, id_)
        life = await self._db.rows(cql_of_life, id_)
        if not linked or linked[0][1] != device.linked_at:
            raise Differs(id_, "the device is not linked")
        if life != [(device.member, *linked[0], True, False)]:
            raise Differs(id_, "the life of the device differs")
        here = await stored(self._db, id_, linked[0][0])
        wanted = {one.conversation: (one.acked, one.expired) for one in positions if one.acked or one.expired}
        if here != wanted:
            raise Differs(id_, "positions of the device differ")
        counts = await self._db.rows("SELECT conversation, last FROM $.seqnum WHERE device = ?", id_)
        if dict(counts) != {one.conversation: one.last for one in numbers}:
            raise Differs(id_, "counts of the device differ")

    async def flags(self, source: Source, member: str) -> None:
        async with source.snapshot():
            found = await move.flags(source, member)
        here = await flags.all_of(self._db, member)
        if {one.conversation: tuple(map(plain, one[1:])) for one in found} != {
            conversation: tuple(one) for conversation, one in here.items()
        }:
            raise Differs(member, "what the user has set differs")
