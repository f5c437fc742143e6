"""A log that was on PostgreSQL, written here as it was: same seqs, ordinals, positions and receipts.

May be repeated while the log goes on over there: a later copy of a conversation has later timestamps, and writes what has become
empty as empty. Nobody uses the conversation here meanwhile.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import Any, Final

from delivery.store import door, move
from delivery.store.cassandra import flags, roster, rows
from delivery.store.cassandra.document import Block, Claim, Document, Shown
from delivery.store.cassandra.documents import Documents
from delivery.store.cassandra.positions import acked, expired
from delivery.store.cassandra.receipts import written
from delivery.store.cassandra.session import Cassandra, Statement
from delivery.store.move import Log, Row, Source
from delivery.store.moving import Prints
from delivery.store.values import ReceiptWrite

#: Of a document: what is its own, however it came to be.
KEPT: Final = ("recent", "lock", "stamp", "life")
ABOUT: Final = ("edit", "reaction", "vote")
SAME = ("seq", "ordinal", "sent_at", "at", "seq_num", "kind", "content", "extra", "envelopes", "sender", "device",
         "message_id", "edited", "until", "withheld", "superseded", "replaced", "target")  # fmt: skip


_LINKED: Final = (
    "UPDATE $.linked SET member = ?, link = ?, linked_at = ?, ready = true, ended = false WHERE device = ? "
)


def plain(value: Any) -> Any:
    return bytes(value) if isinstance(value, memoryview) else value


def document_of(log: Log, stamp: int) -> Document:
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

    async def conversation(
        self, source: Source, conversation: str, prints: Prints | None = None, known: Prints | None = None
    ) -> int:
        """Copy one, in a snapshot; returns of how many buckets the events had to be copied too. ``prints``: of the source;
        ``known``: those of the copy that is here. Without the two all of it is copied. Raises :class:`WrongRegion`."""
        door.check(conversation)
        async with source.snapshot():
            log = await move.log(source, conversation)
            if log is None:
                return 0
            found = await self._documents.read([conversation])
            before = found.get(conversation)
            stamp = max(time.time_ns() // 1_000, before.stamp + 1 if before else 0)
            document = document_of(log, stamp)
            there = prints["log"] if prints else {}
            here = known["log"] if known and before is not None else {}
            buckets = range(document.floor // rows.BUCKET, document.head // rows.BUCKET + 1)
            changed = [one for one in buckets if prints is None or there.get(str(one)) != here.get(str(one))]
            again = before is not None or await self._began(conversation, buckets)
            await self._db.write(self._members(conversation, log, stamp))
            if again and (known is None or before is None or before.floor != document.floor):
                await self._expired(conversation, document.floor, stamp)
            for bucket in changed:
                if again and not here:  # whatever an earlier copy has left
                    cql = "DELETE FROM $.event USING TIMESTAMP ? WHERE conversation = ? AND bucket = ?"
                    await self._db.run(cql, stamp - 1, conversation, bucket)
                day = await self._bucket(source, conversation, bucket, stamp, again=again)
                document.day = max(document.day, day)
            if before is not None:
                document.day = max(document.day, before.day)
            mentions = [
                rows.of("mention", conversation=conversation, member=one.member, seq=one.seq, stamp=stamp)
                for one in log.mentions
            ]
            await self._db.write(mentions)
            # Last: who is interrupted before begins this conversation anew.
            await self._write(conversation, document, before)
            return len(changed)

    async def _began(self, conversation: str, buckets: Iterable[int]) -> bool:
        """Whether a pass that was interrupted has left rows."""
        cql = "SELECT seq FROM $.event WHERE conversation = ? AND bucket = ? LIMIT 1"
        return any(await self._db.each(cql, [(conversation, bucket) for bucket in buckets]))

    async def _write(self, conversation: str, document: Document, before: Document | None) -> None:
        if before is None:
            await self._documents.create(conversation, document)
            return

        def replace(there: Document) -> None:
            for name in Document.__struct_fields__:
                if name not in KEPT:
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

    async def _expired(self, conversation: str, floor: int, stamp: int) -> None:
        cql = "DELETE FROM $.event USING TIMESTAMP ? WHERE conversation = ? AND bucket = ? AND seq <= ?"
        if floor:
            buckets = range(floor // rows.BUCKET + 1)
            await self._db.write([(cql, (stamp - 1, conversation, bucket, floor)) for bucket in buckets])

    async def _bucket(
        self, source: Source, conversation: str, bucket: int, stamp: int, *, again: bool
    ) -> int:
        """The rows of one partition of its log, and those that lead to them. Returns the day of the last one."""
        last = 0
        first = bucket * rows.BUCKET
        targets: set[int] = set()
        async for page in move.events(source, conversation, first, first + rows.BUCKET - 1):
            targets |= {one.seq for one in page if rows.is_message(one.kind)}
            targets |= {one.target for one in page if one.target}
            beside: list[Statement] = []
            for one in page:
                beside += _beside(conversation, one, stamp)
            await self._db.write([_event(conversation, one, stamp, again) for one in page])
            await self._db.write(beside)
            for day in sorted({one.at // rows.DAY_MS for one in page}):
                await self._db.write(rows.activity(conversation, day * rows.DAY_MS))
                last = max(last, day)
        if again:
            await self._forget_about(conversation, targets, stamp - 1)
        # Those in other buckets too: what was forgotten of a target is written again.
        in_force = [
            one for one in await move.about(source, conversation, sorted(targets)) if one.kind in ABOUT
        ]
        await self._db.write([_about(conversation, one, stamp) for one in in_force])
        return last

    async def _forget_about(self, conversation: str, targets: Iterable[int], stamp: int) -> None:
        cql = "DELETE FROM $.about USING TIMESTAMP ? WHERE conversation = ? AND target = ?"
        await self._db.write([(cql, (stamp, conversation, target)) for target in sorted(targets)])

    async def device(self, source: Source, id_: str) -> None:
        """A device with its positions and numbers."""
        async with source.snapshot():
            device, positions, numbers = await move.device(source, id_)
        if device is None:
            return
        link = max(1, device.linked_at * 1_000)
        applied, there = await self._db.swap(
            _LINKED + "IF link = null", device.member, link, device.linked_at, id_
        )
        if not applied and there is not None and there[0] != link:  # linked anew since an earlier pass
            await self._db.swap(_LINKED + "IF link = ?", device.member, link, device.linked_at, id_, there[0])
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
                        member, one.conversation, one.muted_until, one.pinned, one.archived, plain(one.draft),
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
        "body_hash": plain(one.body_hash),
    }
    for name in SAME:
        value = plain(getattr(one, name))
        # A null costs a tombstone; it is written where an earlier copy may have left something.
        if value is not None or again:
            values[name] = value
    return rows.of("event", **values, stamp=stamp)


def _beside(conversation: str, one: Row, stamp: int) -> list[Statement]:
    """What leads to an event, or says what is in force about a message."""
    claim = Claim(
        one.sender, one.message_id, plain(one.body_hash), one.seq, one.ordinal, stamp, one.at, one.at,
        withheld=bool(one.withheld), until=one.until or 0,
    )  # fmt: skip
    statements = [rows.message(claim, conversation)]
    if one.until and one.content is not None and one.target is None:
        statements += rows.vanishing(claim, conversation)
    return statements


def _about(conversation: str, one: Row, stamp: int) -> Statement:
    values: dict[str, Any] = {
        "conversation": conversation,
        "target": one.target,
        "seq": one.seq,
        "message_id": one.message_id,
        "sender": one.sender,
        "kind": one.kind,
        "content": plain(one.content),
    }
    if one.withheld:
        values["withheld"] = True
    return rows.of("about", **values, stamp=stamp)
