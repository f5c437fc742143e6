"""What fsck reads of one conversation, in an order in which nothing that is under way looks wrong.

What must not be above the head is read before the document that says the head; what the document's claims explain is read
behind it: so a number up to its head is a row, a claim, a step of its intent, or void for good. Contents are not read: whether
one is there, its write time says.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from delivery.store.cassandra import members, rows
from delivery.store.cassandra.claims import Known, ends, known
from delivery.store.cassandra.document import Claim, Document, State
from delivery.store.cassandra.documents import Documents
from delivery.store.cassandra.members import Membership
from delivery.store.cassandra.receipts import Mark, marks
from delivery.store.cassandra.session import Cassandra
from whatsapp.infra import clock

#: Younger than this (ms) it may be under way, whatever it is.
ON_ITS_WAY_MS = 60_000
#: Rows of one log that are looked at, at most, whatever is asked for: its last ones.
MOST_ROWS = 100_000
_ACTIVE_MS = 28 * rows.DAY_MS
_PART = 2_000

_COLUMNS = """seq, message_id, ordinal, at, sender, device, kind, body_hash, seq_num, target, edited, superseded, withheld,
    replaced, until, WRITETIME(kind), WRITETIME(content), WRITETIME(extra)"""
_DOWN = f"""SELECT {_COLUMNS} FROM $.event WHERE conversation = ? AND bucket = ? AND seq > ? AND seq <= ?
    ORDER BY seq DESC, message_id DESC LIMIT ?"""
_UP = f"""SELECT {_COLUMNS} FROM $.event WHERE conversation = ? AND bucket = ? AND seq > ? AND seq <= ? LIMIT ?"""
_LAST = """SELECT seq, ordinal, WRITETIME(kind) FROM $.event WHERE conversation = ? AND bucket = ? AND seq > ?
    ORDER BY seq DESC LIMIT 1"""
_ABOUT = "SELECT target, seq FROM $.about WHERE conversation = ? AND target = ?"
_VANISHING = "SELECT seq FROM $.vanishing WHERE hour = ? AND at = ? AND conversation = ? AND seq = ?"
_PENDING = "SELECT at FROM $.pending WHERE kind = ? AND at = ?"
_ACTIVITY = "SELECT day FROM $.activity WHERE day = ? AND part = ? AND conversation = ?"
_LINKED = "SELECT linked_at, ended FROM $.linked WHERE device = ?"
_SEQNUM = "SELECT last FROM $.seqnum WHERE device = ? AND conversation = ?"
_MENTION = "SELECT seq FROM $.mention WHERE conversation = ? AND member = ? AND seq > ?"
_ROSTER = (
    """SELECT joined_seq, left_seq, WRITETIME(left_seq) FROM $.roster WHERE member = ? AND conversation = ?"""
)
_MEMBERS = """SELECT member, joined_seq, left_seq, speaker, WRITETIME(left_seq) FROM $.member WHERE conversation = ?"""
_DIRECT = "SELECT conversation FROM $.direct WHERE low = ? AND high = ?"
_SILENT = "SELECT conversation FROM $.silent WHERE member = ? AND conversation = ?"


class LogRow(NamedTuple):
    seq: int
    message_id: str
    ordinal: int
    at: int
    sender: str
    device: str
    kind: str
    body_hash: bytes
    seq_num: int | None
    target: int | None
    edited: int | None
    superseded: bool | None
    withheld: bool | None
    replaced: int | None
    until: int | None
    written: int  # timestamps; None: there is no such value
    content: int | None
    extra: int | None

    @property
    def counts(self) -> int:
        """1 if it takes an ordinal."""
        return int(rows.is_message(self.kind) and not self.withheld)


class Interval(NamedTuple):
    """A row of ``member`` or ``roster``."""

    left: int
    speaker: bool
    written: int


class Last(NamedTuple):
    seq: int
    ordinal: int
    written: int


@dataclass
class Seen:
    """One conversation. ``rows``: settled ones above ``start``, ascending, at most to the document's head."""

    conversation: str
    document: Document
    now: int
    top: int  # a head that was read behind everything that must not be above it
    start: int
    rows: list[LogRow]
    beyond: Last | None = None  # the last row above ``top``
    first: LogRow | None = None  # the lowest settled row above the floor
    busy: set[int] = field(default_factory=set)  # numbers whose rows say nothing yet
    claims: list[Claim] = field(default_factory=list)  # that nobody has ended
    found: Known = field(default_factory=dict)
    about: set[tuple[int, int]] = field(default_factory=set)  # target, seq
    vanishing: set[int] = field(default_factory=set)  # seqs that the sweep finds
    days: set[int] = field(default_factory=set)  # that the retention finds it by
    lasts: dict[str, int] = field(default_factory=dict)  # device → last seqNum, of linked ones that counted
    members: dict[tuple[str, int], Interval] = field(default_factory=dict)
    roster: dict[tuple[str, int], Interval] = field(default_factory=dict)
    receipts: dict[str, Mark] = field(default_factory=dict)
    mentions: list[tuple[str, int]] = field(default_factory=list)  # above ``top``
    direct: str = ""  # of its two users
    silent: set[str] = field(default_factory=set)

    @property
    def whole(self) -> bool:
        """Whether all of the log was read."""
        return self.start <= self.document.floor

    @property
    def young(self) -> bool:
        return self.document.created_at > self.now - ON_ITS_WAY_MS

    @property
    def intervals(self) -> list[Membership]:
        """Of a group, with what an unfinished change makes of them."""
        plain = [
            Membership(user, joined, one.left, one.speaker) for (user, joined), one in self.members.items()
        ]
        return members.overlaid(self.document, plain)

    @property
    def changing(self) -> set[tuple[str, int]]:
        """Intervals whose rows are still being written."""
        intent = self.document.intent
        return {(user, joined) for user, joined, _, _ in intent.members} if intent is not None else set()


def under_way(conversation: str, document: Document, found: Known) -> set[int]:
    """Numbers whose rows say nothing yet. A claim whose message is found by its id is one no more; the next change drops it."""
    steps = document.intent.steps if document.intent is not None else []
    claims = [
        claim
        for claim in document.claims
        if claim.state is State.VOID or not ends(claim, conversation, found)
    ]
    void = set()
    if document.lost is not None:
        void = set(range(document.lost.low + 1, document.lost.high + 1)) - set(document.lost.there)
    return {claim.seq for claim in claims} | {step.seq for step in steps} | void


async def load(db: Cassandra, documents: Documents, ids: Sequence[str], tail: int) -> dict[str, Seen]:
    """By conversation; those without a document are absent."""
    now = clock.now_ms()
    receipts = await marks(db, ids)
    documents_ = await documents.read(ids)
    loaded = await asyncio.gather(
        *(
            _load(db, one, document, receipts[one], min(tail, MOST_ROWS), now)
            for one, document in documents_.items()
        )
    )
    above = [seen.conversation for seen in loaded if _above(seen)]
    later = await documents.read(above) if above else {}
    for seen in loaded:
        if seen.conversation in later:
            seen.top = max(seen.top, later[seen.conversation].head)
        if seen.beyond is not None and seen.beyond.seq <= seen.top:
            seen.beyond = None
        seen.mentions = [one for one in seen.mentions if one[1] > seen.top]
    return {seen.conversation: seen for seen in loaded}


def highest(mark: Mark) -> int:
    return max(mark.delivered, mark.read, mark.sent)


def _above(seen: Seen) -> bool:
    return (
        seen.beyond is not None
        or bool(seen.mentions)
        or any(highest(mark) > seen.top for mark in seen.receipts.values())
    )


async def _load(
    db: Cassandra, conversation: str, document: Document, receipts: dict[str, Mark], tail: int, now: int
) -> Seen:
    start = max(document.floor, document.head - tail)
    claimed = await known(db, [claim.message_id for claim in document.claims])
    busy = under_way(conversation, document, claimed)
    all_rows = [row for row in await _log(db, conversation, start, document.head) if row.at is not None]
    settled = [row for row in all_rows if row.seq not in busy]
    seen = Seen(
        conversation,
        document,
        now,
        document.head,
        start,
        settled,
        found=claimed,
        busy=busy,
        receipts=receipts,
    )
    _claims(seen, {row.seq for row in all_rows})
    seen.first = settled[0] if settled and seen.whole else await _first(db, conversation, document, busy)
    seen.beyond = await _beyond(db, conversation, document.head)
    await asyncio.gather(_load_messages(db, seen), _load_beside(db, seen), _load_people(db, seen))
    return seen


async def _log(db: Cassandra, conversation: str, low: int, high: int) -> list[LogRow]:
    """Rows with ``low < seq <= high``, ascending."""
    found: list[LogRow] = []
    for bucket in range((low + 1) // rows.BUCKET, high // rows.BUCKET + 1 if high > low else 0):
        below = low
        while True:
            some = [LogRow(*row) for row in await db.rows(_UP, conversation, bucket, below, high, _PART)]
            found += some
            if len(some) < _PART:
                break
            below = some[-1].seq
    return found


async def _first(db: Cassandra, conversation: str, document: Document, busy: set[int]) -> LogRow | None:
    for bucket in range((document.floor + 1) // rows.BUCKET, document.head // rows.BUCKET + 1):
        limit = len(busy) + 20
        for row in await db.rows(_UP, conversation, bucket, document.floor, document.head, limit):
            one = LogRow(*row)
            if one.at is not None:
                return one if one.seq not in busy else None
    return None


async def _beyond(db: Cassandra, conversation: str, head: int) -> Last | None:
    """The last row above a head. A number is given out after those below it, so the buckets are in use one after the other."""
    found: Last | None = None
    bucket = (head + 1) // rows.BUCKET
    while True:
        there = await db.rows(_LAST, conversation, bucket, head)
        if not there:
            return found
        if there[0][1] is not None:
            found = Last(*there[0])
        bucket += 1


def _claims(seen: Seen, there: set[int]) -> None:
    """``there``: what has a row."""
    for claim in seen.document.claims:
        if claim.allocated_at > seen.now - ON_ITS_WAY_MS:
            continue
        ended = ends(claim, seen.conversation, seen.found)
        if claim.seq in there if claim.state is State.VOID else not ended:
            seen.claims.append(claim)


async def _load_messages(db: Cassandra, seen: Seen) -> None:
    seen.found = await known(db, [row.message_id for row in seen.rows])


async def _load_beside(db: Cassandra, seen: Seen) -> None:
    """What leads to events, or says what is in force about messages."""
    c = seen.conversation
    targets = sorted({row.target for row in seen.rows if row.target})
    for found in await db.each(_ABOUT, [(c, target) for target in targets]):
        seen.about.update((target, seq) for target, seq in found)
    going = [row for row in seen.rows if row.until and row.target is None and row.content is not None]
    hours = sorted({row.until // rows.HOUR_MS for row in going if row.until})
    listed = dict(zip(hours, await db.each(_PENDING, [("vanishing", hour) for hour in hours]), strict=True))
    looks = [((row.until or 0) // rows.HOUR_MS, row.until, c, row.seq) for row in going]
    for row, there in zip(going, await db.each(_VANISHING, looks), strict=True):
        if there and listed[(row.until or 0) // rows.HOUR_MS]:
            seen.vanishing.add(row.seq)
    days = {row.at // rows.DAY_MS for row in seen.rows if row.at > seen.now - _ACTIVE_MS}
    asked = sorted(days | {day + 1 for day in days})
    part = int(c[0], 16)
    active, kept = await asyncio.gather(
        db.each(_ACTIVITY, [(day, part, c) for day in asked]),
        db.each(_PENDING, [("activity", day) for day in asked]),
    )
    seen.days = {day for day, one, two in zip(asked, active, kept, strict=True) if one and two}
    await _load_lasts(db, seen)


async def _load_lasts(db: Cassandra, seen: Seen) -> None:
    """The document before the table: it forgets a number only when that is there."""
    devices = sorted({row.device for row in seen.rows if row.seq_num})
    lives = await db.each(_LINKED, [(device,) for device in devices])
    since = {
        device: life[0][0] for device, life in zip(devices, lives, strict=True) if life and not life[0][1]
    }
    outside = [device for device in since if device not in seen.document.lasts]
    found = await db.each(_SEQNUM, [(device, seen.conversation) for device in outside])
    elsewhere = {device: one[0][0] or 0 for device, one in zip(outside, found, strict=True) if one}
    seen.lasts = {device: seen.document.lasts.get(device, elsewhere.get(device, 0)) for device in since}
    # What it counted in an earlier life counts no more.
    seen.rows = [
        row._replace(seq_num=0) if row.seq_num and row.at < since.get(row.device, row.at + 1) else row
        for row in seen.rows
    ]


async def _load_people(db: Cassandra, seen: Seen) -> None:
    c, document = seen.conversation, seen.document
    for member, joined, left, speaker, written in await db.rows(_MEMBERS, c):
        seen.members[member, joined] = Interval(left or 0, bool(speaker), written or 0)
    users = sorted({user for user, _ in seen.members} | {*document.people})
    rosters = await db.each(_ROSTER, [(user, c) for user in users])
    for user, found in zip(users, rosters, strict=True):
        for joined, left, written in found:
            seen.roster[user, joined] = Interval(left or 0, False, written or 0)
    mentioned = await db.each(_MENTION, [(c, user, document.head) for user in users])
    seen.mentions = [(user, seq) for user, found in zip(users, mentioned, strict=True) for (seq,) in found]
    if document.people:
        pair = await db.rows(_DIRECT, document.people[0], document.people[-1])
        seen.direct = pair[0][0] if pair else ""
        if document.blocks:
            quiet = await db.each(_SILENT, [(user, c) for user in document.people])
            seen.silent = {user for user, there in zip(document.people, quiet, strict=True) if there}
