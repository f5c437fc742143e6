"""A log that was on PostgreSQL, written here as it was: same seqs, ordinals, positions and receipts.

May be repeated while the log goes on over there: a later copy of a conversation has later timestamps, and writes what has become
empty as empty. Nobody uses the conversation here meanwhile.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterable, Sequence
from typing import Any, Final

from delivery.store import move
from delivery.store.cassandra import flags, roster, rows
from delivery.store.cassandra.document import Block, Claim, Document, Shown
from delivery.store.cassandra.documents import Documents
from delivery.store.cassandra.events import EventRow, upwards
from delivery.store.cassandra.positions import acked, expired
from delivery.store.cassandra.receipts import written
from delivery.store.cassandra.session import Cassandra, Statement
from delivery.store.interface import ReceiptWrite
from delivery.store.move import Log, Row, Source

_KEPT: Final = ("recent", "lock", "stamp", "life")
_ABOUT: Final = ("edit", "reaction", "vote")
_SAME = ("seq", "ordinal", "sent_at", "at", "seq_num", "kind", "content", "extra", "envelopes", "sender", "device",
         "message_id", "edited", "until", "withheld", "superseded", "replaced", "target")  # fmt: skip


class Differs(Exception):
    """What was written is not what was read."""


def _plain(value: Any) -> Any:
    return bytes(value) if isinstance(value, memoryview) else value


class Digest:
    """Of all rows of a log, whichever store they come from."""

    def __init__(self) -> None:
        self._hash, self.number = hashlib.blake2b(digest_size=16), 0

    def add(self, row: Any) -> None:
        values = [_plain(getattr(row, name)) for name in _SAME]
        # False and null are the same to every reader.
        values = [None if value is False else value for value in values]
        self._hash.update(repr(values).encode())
        self.number += 1

    @property
    def value(self) -> tuple[int, str]:
        return self.number, self._hash.hexdigest()


def _document(log: Log, now: int, stamp: int) -> Document:
    head = log.head
    direct = head.kind == "direct"
    people = sorted({one.member for one in log.members}) if direct else []
    return Document(
        head.kind,
        head.created_at,
        head=head.head,
        ordinal=head.ordinal,
        stamp=stamp,
        floor=head.floor,
        floor_ordinal=head.floor_ordinal,
        oldest_at=head.oldest_at or 0,
        timer=head.timer or 0,
        members=head.members,
        roster_seq=head.roster_seq,
        restricted=head.restricted,
        blocks={
            one.member: Block(one.sender, one.active, -1 if one.timer is None else one.timer, one.owed, one.through)
            for one in log.withheld
        },
        people=people,
        unaccepted=sorted({one.member for one in log.members if one.unaccepted}) if direct else [],
        shown={
            one.member: Shown(
                one.shown_delivered, one.shown_read, one.shown_at, min(one.delivered_at, one.shown_at)
            )
            for one in log.receipts
            if one.shown_at is not None
        },
    )  # fmt: skip


class Target:
    """The store that a log moves to. ``now`` (ms) is the time of this pass: later than that of the pass before."""

    def __init__(self, db: Cassandra, now: int) -> None:
        self._db, self._now = db, now
        self._documents = Documents(db)

    async def conversation(self, source: Source, conversation: str) -> bool:
        """Copy one, in a snapshot; whether its events had to be copied too."""
        async with source.snapshot():
            log = await move.log(source, conversation)
            if log is None:
                return False
            found = await self._documents.read([conversation])
            before = found.get(conversation)
            stamp = max(time.time_ns() // 1_000, before.stamp + 1 if before else 0)
            document = _document(log, self._now, stamp)
            changed = before is None or (before.head, before.floor) != (document.head, document.floor)
            again = before is not None or (changed and await self._began(conversation, document))
            await self._db.write(self._members(conversation, log, stamp))
            if changed:
                document.day = await self._events(source, conversation, log, stamp, again=again)
            elif before is not None:
                document.day = before.day
            # Last: who is interrupted before begins this conversation anew.
            await self._write(conversation, document, before)
            return changed

    async def _began(self, conversation: str, document: Document) -> bool:
        """Whether a pass that was interrupted has left rows."""
        cql = "SELECT seq FROM $.event WHERE conversation = ? AND bucket = ? LIMIT 1"
        buckets = range(document.head // rows.BUCKET + 1)
        return any(await self._db.each(cql, [(conversation, bucket) for bucket in buckets]))

    async def _write(self, conversation: str, document: Document, before: Document | None) -> None:
        if before is None:
            await self._documents.create(conversation, document)
            return

        def replace(there: Document) -> None:
            for name in Document.__struct_fields__:
                if name not in _KEPT:
                    setattr(there, name, getattr(document, name))
            there.stamp = max(there.stamp, document.stamp)

        await self._documents.change(conversation, replace, self._now)

    def _members(self, conversation: str, log: Log, stamp: int) -> list[Statement]:
        statements: list[Statement] = []
        if log.head.kind == "direct":
            low, *rest = sorted({one.member for one in log.members})
            high = rest[0] if rest else low
            claim = "INSERT INTO $.direct (low, high, conversation) VALUES (?, ?, ?)"
            statements += [(claim, (low, high, conversation)), *roster._rows(conversation, low, high)]
            if log.withheld:
                statements += roster.silent_rows(conversation, {low, high})
        else:
            for one in log.members:
                values = {"joined_seq": one.joined_seq, "left_seq": one.left_seq, "stamp": stamp}
                statements += [
                    rows.of("member", conversation=conversation, member=one.member, speaker=one.speaker, **values),
                    rows.of("roster", member=one.member, conversation=conversation, kind="group", **values),
                ]  # fmt: skip
        for one in log.receipts:
            user = one.member
            received = ReceiptWrite(conversation, user, delivered=one.delivered)
            statements += written([received], one.delivered_at or one.changed_at)
            statements += written(
                [ReceiptWrite(conversation, user, read=one.read, sent=one.sent)], one.changed_at
            )
        return statements

    async def _events(self, source: Source, conversation: str, log: Log, stamp: int, *, again: bool) -> int:
        """The rows of its log, and those that lead to them. Returns the day of the last one."""
        last = 0
        if again and log.head.floor:
            await self._db.write(
                [
                    (
                        "DELETE FROM $.event USING TIMESTAMP ? WHERE conversation = ? AND bucket = ? AND seq <= ?",
                        (stamp - 1, conversation, bucket, log.head.floor),
                    )
                    for bucket in range(log.head.floor // rows.BUCKET + 1)
                ]
            )
        async for page in move.events(source, conversation):
            if again:
                await self._forget_about(conversation, page, stamp - 1)
            by_bucket: dict[int, list[Statement]] = {}
            beside: list[Statement] = []
            for one in page:
                by_bucket.setdefault(one.seq // rows.BUCKET, []).append(
                    _event(conversation, one, stamp, again)
                )
                beside += _beside(conversation, one, stamp)
            for statements in by_bucket.values():
                await self._db.write(statements)
            await self._db.write(beside)
            for day in sorted({one.at // rows.DAY_MS for one in page}):
                await self._db.write(rows.activity(conversation, day * rows.DAY_MS))
                last = max(last, day)
        await self._db.write(
            [
                rows.of("mention", conversation=conversation, member=one.member, seq=one.seq, stamp=stamp)
                for one in log.mentions
            ]
        )
        return last

    async def _forget_about(self, conversation: str, page: Sequence[Row], stamp: int) -> None:
        targets = {one.seq for one in page if rows.is_message(one.kind)}
        cql = "DELETE FROM $.about USING TIMESTAMP ? WHERE conversation = ? AND target = ?"
        await self._db.write([(cql, (stamp, conversation, target)) for target in sorted(targets)])

    async def verify(self, source: Source, conversation: str) -> None:
        """Read it back, and compare with what there is over there now. Raises :class:`Differs`."""
        there, here = Digest(), Digest()
        async with source.snapshot():
            log = await move.log(source, conversation)
            document = (await self._documents.read([conversation])).get(conversation)
            if log is None or document is None:
                raise Differs(f"{conversation} is on one side only")
            wanted = _document(log, self._now, document.stamp)
            for name in Document.__struct_fields__:
                if name not in (*_KEPT, "day") and getattr(wanted, name) != getattr(document, name):
                    raise Differs(f"{conversation}: {name} differs")
            async for page in move.events(source, conversation):
                for one in page:
                    there.add(one)
                for row in await upwards(self._db, conversation, page[0].seq, page[-1].seq, len(page) + 1):
                    here.add(row)
        if there.value != here.value:
            raise Differs(f"{conversation}: {there.number} events there, {here.number} here, or other ones")
        await self._verify_members(conversation, log)

    async def _verify_members(self, conversation: str, log: Log) -> None:
        found = await self._db.rows(
            "SELECT member, joined_seq, left_seq, speaker FROM $.member WHERE conversation = ?", conversation
        )
        if log.head.kind == "direct":
            return  # in the document
        wanted = {(one.member, one.joined_seq, one.left_seq, one.speaker) for one in log.members}
        if {(m, joined, left or 0, bool(speaker)) for m, joined, left, speaker in found} != wanted:
            raise Differs(f"{conversation}: members differ")

    async def device(self, source: Source, id_: str) -> None:
        """A device with its positions and numbers."""
        async with source.snapshot():
            device, positions, numbers = await move.device(source, id_)
        if device is None:
            return
        link = max(1, device.linked_at * 1_000)
        await self._db.swap(
            "UPDATE $.linked SET member = ?, link = ?, linked_at = ?, ready = true, ended = false WHERE device = ? "
            "IF link = null",
            device.member, link, device.linked_at, id_,
        )  # fmt: skip
        statements: list[Statement] = [
            rows.of(
                "device", member=device.member, device=id_, linked_at=device.linked_at, link=link, stamp=link
            )
        ]
        for one in positions:
            if one.acked:
                statements.append(acked(id_, link, one.conversation, one.acked))
            if one.expired:
                statements.append(expired(id_, link, one.conversation, one.expired))
        for one in numbers:
            stamp = self._now * 1_000 + one.last
            statements.append(
                rows.of("seqnum", device=id_, conversation=one.conversation, last=one.last, stamp=stamp)
            )
        await self._db.write(statements)

    async def strangers(self, known: Iterable[str]) -> list[tuple[str, str]]:
        """(user, device) of devices that an earlier pass found linked and that are no more."""
        there = set(known)
        found = await self._db.rows("SELECT member, device FROM $.device")
        return [(member, device) for member, device in found if device not in there]

    async def flags(self, source: Source, member: str) -> None:
        async with source.snapshot():
            found = await move.flags(source, member)
        await self._db.write(
            [
                (
                    flags._SET,
                    (
                        member, one.conversation, one.muted_until, one.pinned, one.archived, _plain(one.draft),
                        one.version, one.changed_at, one.changed_at * 1_000 + one.version % 1_000,
                    ),
                )
                for one in found
            ]
        )  # fmt: skip


def _event(conversation: str, one: Row, stamp: int, again: bool) -> Statement:
    values: dict[str, Any] = {
        "conversation": conversation,
        "bucket": one.seq // rows.BUCKET,
        "allocated_at": one.at,
        "body_hash": _plain(one.body_hash),
    }
    for name in _SAME:
        value = _plain(getattr(one, name))
        # A null costs a tombstone; it is written where an earlier copy may have left something.
        if value is not None or again:
            values[name] = value
    return rows.of("event", **values, stamp=stamp)


def _beside(conversation: str, one: Row, stamp: int) -> list[Statement]:
    """What leads to an event, or says what is in force about a message."""
    claim = Claim(
        one.sender, one.message_id, _plain(one.body_hash), one.seq, one.ordinal, stamp, one.at, one.at,
        withheld=bool(one.withheld), until=one.until or 0,
    )  # fmt: skip
    statements = [rows.message(claim, conversation)]
    if one.until and one.content is not None and one.target is None:
        statements += rows.vanishing(claim, conversation)
    if one.target and one.superseded is None and one.kind in _ABOUT:
        about: dict[str, Any] = {
            "conversation": conversation,
            "target": one.target,
            "seq": one.seq,
            "message_id": one.message_id,
            "sender": one.sender,
            "kind": one.kind,
            "content": _plain(one.content),
        }
        if one.withheld:
            about["withheld"] = True
        statements.append(rows.of("about", **about, stamp=stamp))
    return statements


__all__ = ["Differs", "EventRow", "Target"]
