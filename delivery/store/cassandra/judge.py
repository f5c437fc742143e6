"""What becomes of the sends to one conversation: decided on its document, in the order of the list."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from delivery.store.cassandra import clocks, life, rows
from delivery.store.cassandra.document import MAX_LASTS, Block, Claim, Document, Hot, State
from delivery.store.cassandra.messages import Known
from delivery.store.values import Appended, Outcome, Send

#: What was sent behind a message may follow it, when that is sent again, until its claim is this old: then its rows are there, or
#: nobody is told anything, before its time is over (CLAIM_MS of :mod:`.claims`), whatever two requests take. Later it may be
#: declared void, and would come behind what followed.
FOLLOWED_MS = 4_000


@dataclass
class Judged:
    """Per send either what is answered at once, or its claim; neither: an earlier send of its device has an unknown outcome."""

    document: Document
    answers: list[Appended | None]
    claims: list[Claim | None]
    #: Places of claims that an earlier attempt was given: it may be alive.
    again: list[int] = field(default_factory=list)
    #: The numbers are of this copy alone: they count only while its lease does.
    mark: Hot | None = None


class About(NamedTuple):
    """Of the message that a send is about."""

    withheld: bool = False
    until: int = 0


class Full(Exception):
    """The document has no room for more devices: the last numbers of these have to be written elsewhere first. ``stamp``: the
    document's when it had them. A higher number of a device is given out under a later stamp, whatever clocks say, so the
    highest one wins."""

    def __init__(self, lasts: dict[str, int], stamp: int) -> None:
        super().__init__(len(lasts))
        self.lasts, self.stamp = lasts, stamp


def judge(
    document: Document,
    sends: Sequence[Send],
    known: Known,
    lasts: dict[str, int],
    written: dict[str, int],
    now: int,
    about: Callable[[Send], Appended | About] | None = None,
    done: Callable[[Send, Claim], None] | None = None,
) -> Judged:
    """Number what is new, on ``document`` itself. ``known``: messages that are durable, read after the document. ``lasts``: of
    devices that the document does not know. ``written``: last numbers that are durable outside the document. ``about``: judges
    amendments; ``done`` is told of each number before the next send is judged."""
    judged = Judged(document, [None] * len(sends), [None] * len(sends))
    ours: set[int] = set()
    allocated_at = clocks.latest_ms()
    stamp = document.stamp
    for i, send in enumerate(sends):
        first = known.get((send.sender, send.message_id))
        if first is not None and (first[0] != send.conversation or first[1] > document.floor):
            judged.answers[i] = repeated(first, send)
            continue
        claim = _claimed(document.claims, send)
        if claim is not None:
            if claim.body_hash != send.body_hash:
                judged.answers[i] = Appended(Outcome.CONFLICT)
                continue
            if is_behind(document.claims, claim, judged.claims):
                continue
            judged.claims[i] = claim
            judged.again.append(i)
            if claim.allocated_at >= allocated_at - FOLLOWED_MS:
                ours.add(claim.seq)
            if done is not None:
                done(send, claim)
            continue
        if send.seq_num:
            if waits(document.claims, send.device, ours):
                continue
            refused = out_of_order(document, send, lasts)
            if refused is not None:
                judged.answers[i] = refused
                continue
        of = About()
        if about is not None:
            found = about(send)
            if isinstance(found, Appended):
                judged.answers[i] = found
                continue
            of = found
        claim = take(document, send, now, allocated_at, of, amends=about is not None)
        if send.seq_num:
            document.lasts.pop(send.device, None)
            document.lasts[send.device] = send.seq_num
        document.claims.append(claim)
        judged.claims[i] = claim
        ours.add(claim.seq)
        if done is not None:
            done(send, claim)
    make_room(document, written, stamp)
    return judged


def repeated(first: tuple[str, int, int, bytes, bool], send: Send) -> Appended:
    """The answer to a message that is stored."""
    conversation, seq, at, body_hash, _ = first
    if conversation == send.conversation and body_hash == send.body_hash:
        return Appended(Outcome.DUPLICATE, seq, at)
    return Appended(Outcome.CONFLICT)


def waits(claims: Iterable[Claim], device: str, ours: set[int]) -> bool:
    """Whether an earlier counted send of the device has an unknown outcome: what comes behind would overtake it (R21)."""
    return any(one.seq_num and one.device == device and one.seq not in ours for one in claims)


def is_behind(claims: Iterable[Claim], claim: Claim, ours: Sequence[Claim | None]) -> bool:
    """The same for one that has its number already. Its row alone must not be there: the earlier one may be declared void."""
    here = {one.seq for one in ours if one is not None}
    return claim.seq_num > 0 and any(
        one.seq_num and one.device == claim.device and one.seq < claim.seq and one.seq not in here
        for one in claims
    )


def out_of_order(document: Document, send: Send, lasts: dict[str, int]) -> Appended | None:
    last = document.lasts.get(send.device, lasts.get(send.device, 0))
    if send.seq_num == last + 1:
        return None
    return Appended(Outcome.OUT_OF_ORDER, expected=last + 1)


def make_room(document: Document, written: dict[str, int], stamp: int) -> None:
    """The devices heard of last stay in the document. :class:`Full`: the others' numbers are not written elsewhere yet.
    ``stamp``: the document's before anything of this was given out."""
    excess = len(document.lasts) - MAX_LASTS
    if excess <= 0:
        return
    # Not one whose latest send may turn out void: its number would have to go back.
    claimed = {claim.device for claim in document.claims}
    out = [(device, last) for device, last in document.lasts.items() if device not in claimed][:excess]
    missing = {device: last for device, last in out if written.get(device) != last}
    if missing:
        raise Full(missing, stamp)
    for device, _ in out:
        del document.lasts[device]


def take(
    document: Document,
    send: Send,
    now: int,
    allocated_at: int,
    about: About = About(),
    *,
    amends: bool = False,
) -> Claim:
    """The next number."""
    message = rows.is_message(send.kind)
    block = block_of(document, send.sender)
    withheld = about.withheld or (block is not None and block.active)
    life.begin(document)
    document.head = document.given + 1
    if message and not withheld:
        document.ordinal += 1
    if withheld and block is not None:
        if block.through != document.head - 1:
            block.owed = document.head - 1
        block.through = document.head
    document.oldest_at = document.oldest_at or now
    return Claim(
        sender=send.sender,
        message_id=send.message_id,
        body_hash=send.body_hash,
        seq=document.head,
        ordinal=document.ordinal,
        stamp=document.next_stamp(_bounded(document, now)),
        at=now,
        allocated_at=allocated_at,
        device=send.device,
        seq_num=send.seq_num,
        withheld=withheld,
        until=_ends(document, send, block, now) if message else 0 if send.kind == "delete" else about.until,
        amends=amends,
    )


def _bounded(document: Document, now: int) -> int:
    """The time for a timestamp: on a copy, whoever has to do without it must know one that is above (:mod:`.lost`), though the
    caller's clock be ahead."""
    return now if document.hot is None else min(now, clocks.earliest_ms())


def block_of(document: Document, sender: str) -> Block | None:
    """The block of the other user of a direct conversation against ``sender``, in force or past."""
    for block in document.blocks.values():
        if block.sender == sender:
            return block
    return None


def _ends(document: Document, send: Send, block: Block | None, now: int) -> int:
    """When a message's content goes, 0: never."""
    timer = block.timer if block is not None and block.timer >= 0 else document.timer
    ends = [now + lasts for lasts in (send.lasts, 1000 * timer) if lasts]
    return min(ends, default=0)


def _claimed(claims: Iterable[Claim], send: Send) -> Claim | None:
    for claim in claims:
        if claim.message_id == send.message_id and claim.sender == send.sender and claim.state is State.OPEN:
            return claim
    return None
