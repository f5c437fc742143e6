"""Claims: numbers that were given out, and what became of them.

A claim ends in one of three ways. Who gave it out writes its rows in time, then the row by message id, and drops it. Or somebody
else finds the row by message id, and drops it. Or nobody has for SETTLE_MS: then one conditional write decides, for everybody
and for good, whether its event is there or void; what was decided is done afterwards, by whoever meets the claim, as often as
it takes.

What a device has sent in an order is decided together: what came behind one that is void is void too, and none is decided while a
later one is too young to be. Else the number of the first could not go back, and it would come last, if at all.

Times: a writer tells its sender only of rows that were durable within CLAIM_MS of the allocation, and a claim is decided no
earlier than SETTLE_MS behind it; so clocks that differ by less than the 5 s between do no harm (rules R23 and R25), and those
that differ by more only where the nodes' clocks do as well (:mod:`.clocks`).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from uuid import uuid4

from delivery.store.cassandra import clocks, events, rows
from delivery.store.cassandra.document import Claim, Document, State
from delivery.store.cassandra.documents import Documents, Keep
from delivery.store.cassandra.messages import Known, known
from delivery.store.cassandra.session import Cassandra, Statement, gather
from delivery.store.values import Send

CLAIM_MS = 10_000
SETTLE_MS = 15_000

#: A younger claim is left to whoever gave it out, and who mostly drops it itself.
_LEFT_MS = 5_000
#: Claims of a document that may be left.
_MANY = 16

_VOID = "DELETE FROM $.event USING TIMESTAMP ? WHERE conversation = ? AND bucket = ? AND seq = ? AND message_id = ?"


async def under_way(session: Cassandra, documents: Mapping[str, Document]) -> dict[str, int]:
    """Of conversations in which something was given a number and may be acknowledged only from now on, the lowest such seq."""
    claims = [(c, claim) for c, document in documents.items() for claim in document.claims]
    if not claims:
        return {}
    found = await known(session, [claim.message_id for _, claim in claims])
    lowest: dict[str, int] = {}
    for conversation, claim in claims:
        if claim.state is not State.VOID and not ends(claim, conversation, found):
            lowest[conversation] = min(claim.seq, lowest.get(conversation, claim.seq))
    return lowest


def ends(claim: Claim, conversation: str, found: Known) -> bool:
    """Whether the message of a claim is found by its id: then its rows are durable."""
    there = found.get((claim.sender, claim.message_id))
    return there is not None and there[0] == conversation and there[1] == claim.seq


def looked_up(document: Document, sends: Iterable[Send]) -> list[str]:
    """The message ids of the claims of which it matters now whether they have ended: without that, a claim stands in the way of
    later sends of its device, and one that is left for SETTLE_MS has to be settled. Those of the sends themselves are not among
    them: they are looked up anyway."""
    if len(document.claims) > _MANY:
        return [claim.message_id for claim in document.claims]
    latest = clocks.earliest_ms() - _LEFT_MS
    counting = {send.device for send in sends if send.seq_num}
    return [
        claim.message_id
        for claim in document.claims
        if claim.allocated_at <= latest or claim.device in counting
    ]


def drop_ended(document: Document, conversation: str, found: Known) -> None:
    """Take the claims out of a document whose messages are found by their ids."""
    document.claims = [claim for claim in document.claims if not ends(claim, conversation, found)]


def overdue(document: Document) -> bool:
    """Whether somebody has to :func:`settle`."""
    return bool(_late(document, clocks.earliest_ms() - SETTLE_MS))


async def settle(session: Cassandra, documents: Documents, conversation: str, now: int) -> None:
    """Decide every overdue claim of the conversation, and do what was decided."""
    there: set[int] = set()
    told: set[int] = set()
    overdue_at = 0

    async def look(document: Document) -> None:
        nonlocal overdue_at
        # The clock is read before the rows.
        overdue_at = clocks.earliest_ms() - SETTLE_MS
        late = _late(document, overdue_at)
        found = await events.there(session, conversation, [(one.seq, one.message_id) for one in late])
        there.clear()
        there.update(found)
        told.clear()
        if 0 < len(there) < len(late):
            by_id = await known(session, [one.message_id for one in late])
            told.update(one.seq for one in late if ends(one, conversation, by_id))

    def decide(document: Document) -> list[Claim]:
        late = _late(document, overdue_at)
        if not late:
            raise Keep([one for one in document.claims if one.state is not State.OPEN])
        late.sort(key=lambda one: one.seq)
        lost: set[str] = set()  # devices
        for claim in late:
            follows = claim.seq_num and claim.device in lost and claim.seq not in told
            claim.state = State.THERE if claim.seq in there and not follows else State.VOID
            if claim.state is State.VOID and claim.seq_num:
                lost.add(claim.device)
        # The last one first, so that several numbers of a device go back one after the other: they are sent again under these.
        for claim in reversed(late):
            if (
                claim.state is State.VOID
                and claim.seq_num
                and document.lasts.get(claim.device) == claim.seq_num
            ):
                document.lasts[claim.device] = claim.seq_num - 1
        return [one for one in document.claims if one.state is not State.OPEN]

    decided = await documents.change(conversation, decide, now, look)
    if decided:
        await finish(session, documents, conversation, decided, now)


async def finish(
    session: Cassandra, documents: Documents, conversation: str, decided: Sequence[Claim], now: int
) -> None:
    """Do what was decided about claims; the next change of the document drops them.

    What is there is announced under a writer without heartbeat, which the sweep looks after, and found by its message id. What
    is void is deleted by a timestamp above its row's, so that the row is not seen even if it comes yet.
    """
    there = [claim for claim in decided if claim.state is State.THERE]
    void = [claim for claim in decided if claim.state is State.VOID]
    writes: list[Statement] = [
        (
            _VOID,
            (claim.stamp, conversation, claim.seq // rows.BUCKET, claim.seq, claim.message_id),
        )
        for claim in void
    ]
    if there:
        _, announced = rows.OutboxRows().add(
            str(uuid4()), [(conversation, max(claim.seq for claim in there))], now
        )
        await gather(session.run(cql, *params) for cql, params in announced)
        writes += [rows.message(claim, conversation) for claim in there]
    await gather(session.run(cql, *params) for cql, params in writes)
    documents.settled(conversation, [claim.seq for claim in decided])


def _late(document: Document, overdue_at: int) -> list[Claim]:
    open_ = [one for one in document.claims if one.state is State.OPEN]
    young = {one.device for one in open_ if one.seq_num and one.allocated_at > overdue_at}
    return [
        one for one in open_ if one.allocated_at <= overdue_at and not (one.seq_num and one.device in young)
    ]
