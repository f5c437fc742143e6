"""Events that change who is in a conversation, or say what changed about it.

All of such a change is decided by the compare and set of the conversation's document: the seqs, the members, the timer. What is
then still to be written, the rows, stands in the document as its *intent* until they are durable. Readers count it as done; the
seqs of an intent are never void. Whoever meets one that its own process has not finished writes the same rows again, with the
same timestamps, so nothing depends on the process that began it.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Final
from uuid import uuid4

from delivery.store.cassandra import clocks, life, members
from delivery.store.cassandra.document import Document, Intent, Step
from delivery.store.cassandra.documents import Documents, Keep
from delivery.store.cassandra.members import Membership
from delivery.store.cassandra.rows import BUCKET, OutboxRows, activity, announced, insert
from delivery.store.cassandra.session import Cassandra, Statement
from delivery.store.changes import NO_DEVICE
from delivery.store.errors import Busy
from delivery.store.interface import Unavailable
from delivery.store.outbox import REPLAY_MS
from delivery.store.values import Change, Changed, RosterHead, TimerSet
from whatsapp.infra import clock

#: An intent so old (ms) is finished by whoever meets it.
ABANDONED_MS: Final = 2_000
_NO_HASH: Final = bytes(16)
#: Changes of others that one call finishes before it gives up.
_ATTEMPTS: Final = 50

_MEMBER = ("conversation", "member", "joined_seq", "left_seq", "speaker")
_ROSTER = ("member", "conversation", "joined_seq", "left_seq", "kind")
_MESSAGE = ("message_id", "sender", "conversation", "seq", "at", "body_hash")
#: All columns: a read gives the nodes that lack the row what was asked for and no more, and what is found is not written again.
_STORED = (
    """SELECT conversation, seq, at, body_hash, withheld FROM $.message WHERE message_id = ? AND sender = ?"""
)


async def create_group(documents: Documents, conversation: str, now: int) -> None:
    """See :meth:`Store.create_group`."""
    await documents.create(conversation, Document("group", now))


async def change(
    db: Cassandra,
    documents: Documents,
    outbox: OutboxRows,
    writer: str,
    conversation: str,
    sender: str,
    changes: Sequence[Change],
    now: int,
) -> Changed:
    """See :meth:`Store.change`."""
    if not changes:
        return Changed([], 0)
    touched = {user for one in changes for user in (*one.joins, *one.leaves, *one.speak, *one.listen)}
    ids = [one.message_id for one in changes]
    stored: list[int] = []
    rows: list[Membership] = []

    async def look(document: Document) -> None:
        nonlocal stored, rows
        stored = await _stored(db, conversation, sender, ids)
        if document.intent is None and not stored:
            known = await members.of_conversations(db, {conversation: document}) if touched else {}
            rows = known.get(conversation, [])

    def decide(document: Document) -> Intent:
        if document.intent is not None:
            raise Keep(document.intent)
        if stored:
            raise Keep
        return _decide(document, writer, outbox.next(now), sender, changes, rows, now)

    for _ in range(_ATTEMPTS):
        intent = await documents.change(conversation, decide, now, before=look)
        if intent is None:
            return Changed(stored, 0)  # there is no such conversation, or it was stored before
        await finish(db, documents, conversation, intent)
        if [step.message_id for step in intent.steps] == ids and intent.sender == sender:
            return Changed([step.seq for step in intent.steps], intent.row)
    raise Busy("the conversation is changed by too many at once")


async def _stored(db: Cassandra, conversation: str, sender: str, ids: Sequence[str]) -> list[int]:
    found = await db.each(_STORED, [(message_id, sender) for message_id in ids])
    return [seq for rows in found for where, seq, *_ in rows if where == conversation and seq is not None]


def _decide(
    document: Document,
    writer: str,
    row: int,
    sender: str,
    changes: Sequence[Change],
    rows: Sequence[Membership],
    now: int,
) -> Intent:
    """The change and its seqs; ``rows``: who is and was a member."""
    current = {one.user: one for one in rows if not one.left}
    before = dict(current)
    moved: dict[tuple[str, int], Membership] = {}
    steps: list[Step] = []
    of_members = 0
    life.begin(document)
    for seq, one in enumerate(changes, document.given + 1):
        steps.append(Step(seq, one.message_id, one.kind, one.extra))
        for user in one.joins:
            if user not in before:
                current[user] = moved[user, seq] = Membership(user, seq)
        if one.joins or one.leaves or one.speak or one.listen or one.restricted is not None:
            of_members = seq
        if one.restricted is not None:
            document.restricted = one.restricted
    for step, one in zip(steps, changes, strict=True):
        for user in one.leaves:
            old = current.pop(user, None)
            if old is not None:
                moved[user, old.joined] = old._replace(left=step.seq)
    # Joined first, so that who comes as a speaker is one.
    for one in changes:
        for speaker, users in ((True, one.speak), (False, one.listen)):
            for user in users:
                if user in current:
                    current[user] = moved[user, current[user].joined] = current[user]._replace(
                        speaker=speaker
                    )
    document.members += len(current) - len(before)
    document.roster_seq = max(document.roster_seq, of_members)
    intent = _intent(document, writer, row, sender, steps, now)
    intent.members = [(one.user, one.joined, one.left, one.speaker) for one in moved.values()]
    return intent


def _intent(document: Document, writer: str, row: int, sender: str, steps: list[Step], now: int) -> Intent:
    document.head = steps[-1].seq
    document.oldest_at = document.oldest_at or now
    document.intent = Intent(
        writer,
        row,
        sender,
        now,
        document.ordinal,
        document.next_stamp(now),
        clocks.latest_ms(),
        steps,
    )
    return document.intent


async def finish(db: Cassandra, documents: Documents, conversation: str, intent: Intent) -> None:
    """Write the rows of an intent, then take it out of the document. Any number of processes may, at any time."""
    stamp, at = intent.stamp, intent.at
    statements: list[Statement] = [_event(conversation, intent, step) for step in intent.steps]
    for user, joined, left, speaker in intent.members:
        statements += [
            (insert("member", _MEMBER), (conversation, user, joined, left, speaker, stamp)),
            (insert("roster", _ROSTER), (user, conversation, joined, left, "group", stamp)),
        ]
    await db.write([*statements, *activity(conversation, at)])
    # From here on it is told to those whom the rows above name.
    await db.write(_announced(conversation, intent))
    # Before the intent goes: a repetition finds one or the other.
    await db.write([_message(conversation, intent, step) for step in intent.steps])

    def take(document: Document) -> None:
        if document.intent is None or document.intent.stamp != stamp:
            raise Keep
        document.intent = None

    with contextlib.suppress(Unavailable):  # then the next one takes it
        await documents.change(conversation, take, at)


def _announced(conversation: str, intent: Intent) -> list[Statement]:
    writer, row, at = intent.writer, intent.row, intent.at
    now = clock.now_ms()
    if now - intent.began_at > REPLAY_MS:
        # Nobody looks for so old a row (after an outage, say): it is told as by somebody else.
        writer, row, at = str(uuid4()), now * 1000, now
    return announced(writer, row, [(conversation, intent.steps[-1].seq)], at)


def _event(conversation: str, intent: Intent, step: Step) -> Statement:
    values = {
        "conversation": conversation,
        "bucket": step.seq // BUCKET,
        "seq": step.seq,
        "message_id": step.message_id,
        "ordinal": intent.ordinal,
        "at": intent.at,
        "allocated_at": intent.began_at,
        "sent_at": intent.at,
        "seq_num": 0,
        "sender": intent.sender,
        "device": NO_DEVICE,
        "kind": step.kind,
        "body_hash": _NO_HASH,
        "content": b"",
    }
    if step.extra is not None:
        values["extra"] = step.extra
    if step.withheld:
        values["withheld"] = True
    return insert("event", tuple(values)), (*values.values(), intent.stamp)


def _message(conversation: str, intent: Intent, step: Step) -> Statement:
    values = (step.message_id, intent.sender, conversation, step.seq, intent.at, _NO_HASH)
    if step.withheld:
        return insert("message", (*_MESSAGE, "withheld")), (*values, True, intent.stamp)
    return insert("message", _MESSAGE), (*values, intent.stamp)


async def finish_abandoned(
    db: Cassandra, documents: Documents, found: Mapping[str, Document]
) -> Collection[str]:
    """Finish what those who began it have left in these documents; the conversations of which something was."""
    before = clocks.earliest_ms() - ABANDONED_MS
    left = {
        conversation: document.intent
        for conversation, document in found.items()
        if document.intent is not None and document.intent.began_at < before
    }
    for conversation, intent in left.items():
        await finish(db, documents, conversation, intent)
    return left


async def set_timer(
    db: Cassandra,
    documents: Documents,
    outbox: OutboxRows,
    writer: str,
    conversation: str,
    sender: str,
    message_id: str,
    seconds: int,
    extra: bytes,
    now: int,
) -> TimerSet | None:
    """See :meth:`Store.set_timer`."""
    stored: list[int] = []
    mine: list[Membership] = []

    async def look(document: Document) -> None:
        nonlocal stored, mine
        stored = await _stored(db, conversation, sender, [message_id])
        (mine,) = await members.of_members(db, {conversation: document}, [(conversation, sender)])

    decide = _timer(outbox, writer, sender, message_id, seconds, extra, now, lambda: stored, lambda: mine)
    for _ in range(_ATTEMPTS):
        result = await documents.change(conversation, decide, now, before=look)
        if result is None or isinstance(result, TimerSet):
            return result
        await finish(db, documents, conversation, result)
        first = result.steps[0]
        if first.message_id == message_id and result.sender == sender:
            return TimerSet(first.seq, result.row, first.withheld)
    raise Busy("the conversation is changed by too many at once")


def _timer(
    outbox: OutboxRows,
    writer: str,
    sender: str,
    message_id: str,
    seconds: int,
    extra: bytes,
    now: int,
    stored: Callable[[], list[int]],
    mine: Callable[[], list[Membership]],
) -> Callable[[Document], Intent | TimerSet | None]:
    def decide(document: Document) -> Intent:
        if document.intent is not None:
            raise Keep(document.intent)
        if all(one.left for one in mine()):
            raise Keep(None)
        block = next((block for block in document.blocks.values() if block.sender == sender), None)
        withheld = block is not None and block.active
        if stored():
            raise Keep(TimerSet(stored()[0], 0, withheld))
        if withheld:
            assert block is not None
            known = block.timer if block.timer >= 0 else document.timer
            as_before = seconds == known
        else:
            # And nobody believes something else since a block that is over.
            believed = [one.timer for one in document.blocks.values() if not one.active and one.timer >= 0]
            as_before = seconds == document.timer and all(timer == seconds for timer in believed)
        if as_before:
            raise Keep(TimerSet(0, 0, withheld))
        life.begin(document)
        seq = document.given + 1
        if withheld:
            assert block is not None
            block.timer = seconds
            block.owed = block.owed if block.through == seq - 1 else seq - 1
            block.through = seq
        else:
            document.timer = seconds
            for one in document.blocks.values():
                one.timer = -1
        step = Step(seq, message_id, "timer", extra, withheld)
        return _intent(document, writer, outbox.next(now), sender, [step], now)

    return decide


async def roster_heads(documents: Documents, ids: Sequence[str]) -> dict[str, RosterHead]:
    """See :meth:`Store.roster_heads`."""
    return {
        conversation: RosterHead(document.head, document.roster_seq, document.members)
        for conversation, document in (await documents.read(ids)).items()
    }
