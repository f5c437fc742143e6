"""Appends: numbers first, by a conditional write a conversation, then rows, then the rows by message id, then the answer.

Between the first and the last of these steps a message is a claim of its conversation's document (:mod:`.claims`), so whoever
dies, or does not know what became of a write, leaves behind what a retry over any gateway needs to end in the same place.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Any, Final, NamedTuple, TypeVar

from delivery.store.cassandra import clocks, hot, rows
from delivery.store.cassandra.claims import CLAIM_MS, drop_ended, ends, looked_up
from delivery.store.cassandra.document import Claim, Document
from delivery.store.cassandra.document import Hot as Mark
from delivery.store.cassandra.documents import Documents, IsHot, Keep
from delivery.store.cassandra.judge import FOLLOWED_MS, Full, Judged, judge
from delivery.store.cassandra.members import is_owed, of_members
from delivery.store.cassandra.messages import Known, known
from delivery.store.cassandra.patience import most
from delivery.store.cassandra.rows import OutboxRows
from delivery.store.cassandra.session import Cassandra, Statement, cut, gather
from delivery.store.cassandra.settling import change_settled
from delivery.store.errors import Busy
from delivery.store.interface import Unavailable
from delivery.store.values import Appended, Outcome, Send

T = TypeVar("T")

#: An attempt that gave out a number this long ago may still be at work: a retry waits for it before it does the work itself.
_ALIVE_MS = 2_000
_WAIT_S = 0.5

#: Turns between copies and durable documents in one append.
_TURNS = 4

_NONE = Document("", 0)
IS_HOT: Final = object()

_SEQNUM = "SELECT last FROM $.seqnum WHERE device = ? AND conversation = ?"

#: Accept the other users of these (conversation, user): :mod:`delivery.store.cassandra.requests`.
Accept = Callable[[Sequence[tuple[str, str]], int], Awaitable[None]]


class Taken(NamedTuple):
    """A send and the number it has."""

    place: int  # in the list of sends
    send: Send
    claim: Claim
    document: Document  # as it was when the number was given out or found
    target: int = 0
    mark: Mark | None = None  # of the copy whose number it is, not durable yet


class Written(NamedTuple):
    """The outbox row, 0 when nothing was stored. ``unsure``: it is also that of a message of which nobody knows whether it is
    found by its id by now, and would be a duplicate."""

    row: int
    unsure: bool


NOTHING: Final = Written(0, unsure=False)


async def append_messages(
    session: Cassandra,
    documents: Documents,
    outbox: OutboxRows,
    accept: Accept,
    writer: str,
    sends: Sequence[Send],
    now: int,
) -> tuple[list[Appended | None], Written]:
    """Append sends none of which is an amendment, and none of which has the (sender, message_id) of another. Results, None where
    the outcome is unknown, and what was written."""
    by_conversation: dict[str, list[int]] = {}
    for i, send in enumerate(sends):
        by_conversation.setdefault(send.conversation, []).append(i)
    results: list[Appended | None] = [None] * len(sends)
    judged = await _numbers_of(
        session, documents, {c: [sends[i] for i in places] for c, places in by_conversation.items()}, now
    )
    taken: dict[str, list[Taken]] = {}
    again: list[Taken] = []
    over: list[Taken] = []
    late = clocks.latest_ms() - CLAIM_MS
    for conversation, places in by_conversation.items():
        one = judged[conversation]
        if one is None:
            continue
        repeats = set(one.again)
        for k, place in enumerate(places):
            claim = one.claims[k]
            if claim is None:
                results[place] = one.answers[k]
                continue
            found = Taken(place, sends[place], claim, one.document, mark=one.mark)
            if claim.allocated_at < late:
                over.append(found)  # somebody will find out whether it is there, and until then nobody knows
                continue
            (again if k in repeats else taken.setdefault(conversation, [])).append(found)
    again = await _still_open(session, again, results)
    for one_again in again:
        taken.setdefault(one_again.send.conversation, []).append(one_again)
    _not_ahead(taken, [*over, *again])
    return results, await store(session, documents, outbox, accept, writer, taken, results, now)


async def _numbers_of(
    session: Cassandra, documents: Documents, asked: dict[str, list[Send]], now: int
) -> dict[str, Judged | None]:
    """What became of the sends by conversation, None where that is unknown: from copies on the hot node where there are some,
    else by a conditional write of the document."""
    done: dict[str, Judged | None] = {}
    cold: set[str] = set()
    left = asked
    for _ in range(_TURNS):
        tried = [
            conversation
            for conversation in left
            if documents.hot is not None and conversation in documents.hot.known
        ]
        if tried:
            try:
                numbered, stuck = await hot.number(session, documents, {c: left[c] for c in tried}, now)
                done |= numbered
                cold |= stuck
            except Unavailable:
                done |= dict.fromkeys(tried)
        durable = [conversation for conversation in left if conversation not in done]
        requests = {
            c: _known_only(_allocate(session, documents, c, left[c], now, cold=c in cold)) for c in durable
        }
        if documents.hot is not None and len(asked) > 1:
            judged = await most(requests, lambda: hot.stuck(documents), others=any(done.values()))
        else:
            judged = dict(zip(durable, await gather(requests.values()), strict=True))
        left = {}
        for conversation, one in judged.items():
            if one is IS_HOT:
                left[conversation] = asked[conversation]
            else:
                done[conversation] = one  # type: ignore[assignment]
        if not left:
            return done
    return done | dict.fromkeys(left)


async def store(
    session: Cassandra,
    documents: Documents,
    outbox: OutboxRows,
    accept: Accept,
    writer: str,
    taken: dict[str, list[Taken]],
    results: list[Appended | None],
    now: int,
    write: Callable[[str, Sequence[Taken]], Awaitable[None]] | None = None,
) -> Written:
    """Write the rows of numbers that were given out, and note in ``results`` what was stored. ``write``: how the rows of one
    conversation are written, if not as those of messages are."""
    if not taken:
        return NOTHING
    plain = write is None
    heads = sorted((c, max(one.claim.seq for one in items)) for c, items in taken.items())
    row, announced = outbox.add(writer, heads, now)
    for items in taken.values():
        items.sort(key=lambda one: one.claim.seq)
    write = write or _writing(session)
    # Single rows of many conversations go together.
    together = {c: items for c, items in taken.items() if _is_plain(items)} if plain else {}
    alone = {c: items for c, items in taken.items() if c not in together}
    events = [rows.event(items[0].claim, c, items[0].send) for c, items in together.items()]
    (told,), shared, durable = await asyncio.gather(
        gather([_done(_all(session, announced))]),
        _each_done(session, events),
        gather(_done(_rows(session, accept, write, c, items, now)) for c, items in alone.items()),
    )
    if not told:
        raise Unavailable("the outbox row may not be there")
    latest = clocks.latest_ms() - CLAIM_MS
    over: set[int] = set()
    if documents.hot is not None:
        over = await documents.hot.over(one.mark for items in taken.values() for one in items)
    stored: list[Taken] = []
    for items, done in zip((*together.values(), *alone.values()), (*shared, *durable), strict=True):
        if done:
            # Only what was durable in time counts: later, somebody may have decided that it is void (R23); and a copy only while
            # its lease is known to be open: later, somebody may have read what is there without it.
            stored += [
                one
                for one in items
                if one.claim.allocated_at >= latest and (one.mark is None or one.mark.token not in over)
            ]
    ended = await _each_done(session, [rows.message(one.claim, one.send.conversation) for one in stored])
    for one, done in zip(stored, ended, strict=True):
        if done:
            claim = one.claim
            documents.settled(one.send.conversation, [claim.seq])
            results[one.place] = Appended(
                Outcome.STORED, claim.seq, claim.at, withheld=claim.withheld, until=claim.until
            )
    return Written(row if any(ended) else 0, unsure=not all(ended))


async def numbers(session: Cassandra, document: Document, sends: Iterable[Send]) -> dict[str, int]:
    """The last numbers of counting devices that the document does not know (R22)."""
    missing = {send.device: send.conversation for send in sends if send.seq_num}
    asked = [(d, c) for d, c in missing.items() if d not in document.lasts]
    found = await session.each(_SEQNUM, asked)
    return {device: one[0][0] or 0 for (device, _), one in zip(asked, found, strict=True) if one}


async def push_out(session: Cassandra, conversation: str, full: Full) -> None:
    """Keep the last numbers of devices where the document has no room for them."""
    await _all(
        session,
        [
            rows.of("seqnum", device=device, conversation=conversation, last=last, stamp=full.stamp)
            for device, last in full.lasts.items()
        ],
    )


async def is_active(session: Cassandra, document: Document, conversation: str, now: int) -> None:
    """Before the first number of a day: retention finds the conversation."""
    if document.day < now // rows.DAY_MS or not document.oldest_at:
        await _all(session, rows.activity(conversation, now))


async def _allocate(
    session: Cassandra,
    documents: Documents,
    conversation: str,
    sends: Sequence[Send],
    now: int,
    *,
    cold: bool,
) -> Judged | object:
    """:data:`IS_HOT`: there is a copy that gives out their numbers; not if they are to be given out ``cold``."""
    found: Known = {}
    lasts: dict[str, int] = {}
    written: dict[str, int] = {}
    message_ids = [send.message_id for send in sends]

    async def look(document: Document) -> None:
        asked = [*message_ids, *looked_up(document, sends)]
        there, counted, _ = await asyncio.gather(
            known(session, asked),
            numbers(session, document, sends),
            is_active(session, document, conversation, now),
        )
        found.clear()
        found.update(there)
        lasts.clear()
        lasts.update(counted)

    def decide(document: Document) -> Judged:
        head = document.head
        ended = len(document.claims)
        drop_ended(document, conversation, found)
        judged = judge(document, sends, found, lasts, written, now)
        if document.head == head and ended == len(document.claims) and not _of_copy(document, judged):
            raise Keep(judged)
        document.day = max(document.day, now // rows.DAY_MS)
        return judged

    def change(*args: Any) -> Awaitable[Judged | None]:
        return documents.change(*args, plain=plain)

    def plain(document: Document) -> bool:
        return not cold and hot.is_plain(document, len(sends), now)

    for _ in range(8):
        try:
            judged = await change_settled(session, documents, conversation, decide, now, look, change)
        except IsHot:
            return IS_HOT
        except Full as full:
            await push_out(session, conversation, full)
            written |= full.lasts
            continue
        if judged is not None:
            return judged
        found = await known(session, message_ids)
        return Judged(_NONE, [nowhere(send, found) for send in sends], [None] * len(sends))
    raise Busy("too many devices at once")


def _of_copy(document: Document, judged: Judged) -> bool:
    """Whether an earlier attempt was given these numbers by a copy, of which this one knows no more than that: they count when
    the durable document has them."""
    return document.hot is not None and bool(judged.again)


def nowhere(send: Send, found: Known) -> Appended:
    """The answer to a send to no conversation."""
    used = (send.sender, send.message_id) in found
    return Appended(Outcome.CONFLICT if used else Outcome.NO_CONVERSATION)


def _not_ahead(taken: dict[str, list[Taken]], again: Sequence[Taken]) -> None:
    """Take out what was numbered behind a message that is sent again, if too much time has passed to follow it. What was numbered
    together with it has its fate."""
    latest = clocks.latest_ms() - FOLLOWED_MS
    first: dict[tuple[str, str], Claim] = {}
    for one in again:
        if one.claim.seq_num and one.claim.allocated_at < latest:
            at = (one.send.conversation, one.claim.device)
            first[at] = min(one.claim, first.get(at, one.claim), key=lambda claim: claim.seq)
    for conversation in {conversation for conversation, _ in first}:
        kept = [
            one
            for one in taken.pop(conversation, [])
            if not one.claim.seq_num
            or (before := first.get((conversation, one.claim.device))) is None
            or one.claim.seq <= before.seq
            or one.claim.allocated_at <= before.allocated_at
        ]
        if kept:
            taken[conversation] = kept


async def _still_open(session: Cassandra, again: list[Taken], results: list[Appended | None]) -> list[Taken]:
    """Of claims that an earlier attempt was given, those that it does not end while a retry may wait for it."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + _WAIT_S
    pause = 0.01
    while again:
        found = await known(session, [one.send.message_id for one in again])
        left = []
        for one in again:
            if ends(one.claim, one.send.conversation, found):
                results[one.place] = Appended(Outcome.DUPLICATE, one.claim.seq, one.claim.at)
            else:
                left.append(one)
        again = left
        dead = clocks.latest_ms() - _ALIVE_MS
        if loop.time() >= deadline or all(one.claim.allocated_at < dead for one in again):
            return again
        await asyncio.sleep(pause)
        pause = min(pause * 2, 0.1)
    return again


def _is_plain(items: Sequence[Taken]) -> bool:
    """Whether one row is all that is written of these before they are found by their ids."""
    if len(items) != 1:
        return False
    send = items[0].send
    return not (items[0].claim.until or send.mentions or send.answers)


def _writing(session: Cassandra) -> Callable[[str, Sequence[Taken]], Awaitable[None]]:
    async def write(conversation: str, items: Sequence[Taken]) -> None:
        """In the order of their numbers, a partition after the other, so that none is there whose predecessor is not (R21)."""
        start = 0
        while start < len(items):
            bucket = items[start].claim.seq // rows.BUCKET
            end = start + 1
            while end < len(items) and items[end].claim.seq // rows.BUCKET == bucket:
                end += 1
            events = [rows.event(one.claim, conversation, one.send, one.target) for one in items[start:end]]
            for part in cut(events):
                await session.batch(part)
            start = end

    return write


async def _rows(
    session: Cassandra,
    accept: Accept,
    write: Callable[[str, Sequence[Taken]], Awaitable[None]],
    conversation: str,
    items: Sequence[Taken],
    now: int,
) -> None:
    """Everything that a reader, the sweep and the list of conversations find of these."""
    beside: list[Statement] = []
    for one in items:
        if one.claim.until and rows.is_message(one.send.kind):
            beside += rows.vanishing(one.claim, conversation)
        mentioned = [user for user in dict.fromkeys(one.send.mentions) if user != one.send.sender]
        if mentioned:
            owed = await of_members(
                session, {conversation: one.document}, [(conversation, user) for user in mentioned]
            )
            beside += rows.mentions(
                one.claim,
                conversation,
                [
                    user
                    for user, intervals in zip(mentioned, owed, strict=True)
                    if is_owed(intervals, one.claim.seq)
                ],
            )
    await _all(session, beside)
    await write(conversation, items)
    answered = dict.fromkeys((conversation, one.send.sender) for one in items if one.send.answers)
    if answered:
        await accept(list(answered), now)


async def _all(session: Cassandra, statements: Sequence[Statement]) -> None:
    await gather(session.run(cql, *params) for cql, params in statements)


async def _known_only(request: Awaitable[T]) -> T | None:
    """None where the outcome is unknown."""
    try:
        return await request
    except Unavailable:
        return None


async def _done(request: Awaitable[None]) -> bool:
    """False where the outcome is unknown."""
    try:
        await request
    except Unavailable:
        return False
    return True


async def _each_done(session: Cassandra, statements: Sequence[Statement]) -> list[bool]:
    """Which of these writes happened. They go together, but one that fails costs the others a second try, not their outcome."""

    async def one(part: Sequence[Statement]) -> list[bool]:
        if await _done(session.batch(part)):
            return [True] * len(part)
        if len(part) == 1:
            return [False]
        return await gather(_done(session.batch([statement])) for statement in part)

    return [done for part in await gather(map(one, cut(statements))) for done in part]
