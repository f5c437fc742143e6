"""Numbers for plain messages from copies of state documents (:mod:`.copies`): of all conversations of a batch at once, by one
read of messages by their ids and one pipeline.

What is judged is the same as on a durable document, on the copy as this process has seen it last; a copy that somebody has
changed meanwhile comes back with the answer, and is judged again. Whatever is not plain (claims that nobody has ended, a block
of numbers that is used up, something that is called back) is left to the conditional write of the document.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from delivery.store.cassandra import life, rows
from delivery.store.cassandra.claims import drop_ended, looked_up, overdue
from delivery.store.cassandra.copied import Copied, HotDocuments, is_exceptional
from delivery.store.cassandra.copies import Copy, Swap
from delivery.store.cassandra.document import Document, State
from delivery.store.cassandra.document import Hot as Mark
from delivery.store.cassandra.documents import Documents
from delivery.store.cassandra.judge import Full, Judged, judge
from delivery.store.cassandra.messages import Known, known
from delivery.store.cassandra.session import Cassandra
from delivery.store.values import Send

#: Lost races of one batch before what is left of it goes the durable way.
_ROUNDS = 6
_SEQNUM = "SELECT last FROM $.seqnum WHERE device = ? AND conversation = ?"


async def number(
    session: Cassandra,
    documents: Documents,
    asked: Mapping[str, Sequence[Send]],
    now: int,
) -> tuple[dict[str, Judged | None], set[str]]:
    """What became of the sends, by conversation. Others are absent: their copies are not there any more, or do not answer, or,
    those in the set, cannot give out these numbers. Raises :class:`Unavailable`."""
    there = documents.hot
    if there is None:
        return {}, set()
    open_ = {c: one for c in asked if (one := there.known.pop(c, None)) is not None}
    done: dict[str, Judged | None] = {}
    stuck: set[str] = set()
    if not open_:
        return done, stuck
    await there.leases.confirm([one.mark for one in open_.values()])
    for _ in range(_ROUNDS):
        open_ = await _with_documents(there, open_)
        read = {c: one.document for c, one in open_.items() if one.document is not None}
        settled = {c: documents.drop_settled(c, document) for c, document in read.items()}
        found, lasts = await _read(session, read, asked)
        for conversation, document in read.items():
            drop_ended(document, conversation, found)
            if overdue(document) or not is_plain(document, len(asked[conversation]), now):
                stuck.add(conversation)
                del open_[conversation]
        if not open_:
            return done, stuck
        tries: list[_Try] = []
        for conversation, one in open_.items():
            try:
                change, judged = _judge(conversation, one, asked[conversation], found, lasts, now)
                tries.append(_Try(one, change, judged, settled[conversation]))
            except Full:
                stuck.add(conversation)  # numbers of some devices have to be written elsewhere first
        open_ = await _swap(documents, there, tries, done)
        if not open_:
            return done, stuck
    return done, stuck | open_.keys()


class _Try(NamedTuple):
    """A change of a copy, and what it would mean."""

    one: Copied
    change: Swap
    judged: Judged
    settled: set[int]


def _judge(
    conversation: str,
    one: Copied,
    sends: Sequence[Send],
    found: Known,
    lasts: Mapping[str, dict[str, int]],
    now: int,
) -> tuple[Swap, Judged]:
    """Raises :class:`Full`."""
    document = one.document
    assert document is not None
    judged = judge(document, sends, found, lasts.get(conversation, {}), {}, now)
    judged.mark = one.mark
    document.day = max(document.day, now // rows.DAY_MS)
    return Swap(conversation, one.version, document), judged


async def _swap(
    documents: Documents, there: HotDocuments, tries: Sequence[_Try], done: dict[str, Judged | None]
) -> dict[str, Copied]:
    """Change copies; ``done`` is told what that has settled. The copies that somebody has changed meanwhile, as they are now."""
    leases = there.leases
    # The lease is known to be open, and the node is the one of the copy, at the moment in which the numbers are asked for.
    tries = [one for one in tries if leases.holds(one.change.conversation, one.one.mark)]
    again: dict[str, Copied] = {}
    refused: Mark | None = None
    outcomes = await there.copies.swap([one.change for one in tries])
    for (one, change, judged, settled), outcome in zip(tries, outcomes, strict=True):
        conversation = change.conversation
        if not leases.reachable(conversation, one.mark):
            # Perhaps another node has answered in place of the one that is away: what it knows of the copy may be old. Whether
            # there are numbers is found out the durable way, where a claim is known again.
            continue
        if isinstance(outcome, bytes):
            there.remember(conversation, one.mark, outcome, change.document)
            documents.dropped(conversation, settled)
            done[conversation] = judged
        elif isinstance(outcome, Copy):
            if not outcome.frozen:
                again[conversation] = Copied(one.mark, outcome.version, outcome.document)
        elif outcome is not None:
            refused = one.mark
    if refused is not None:
        await leases.close(refused)  # the node is there and takes nothing (out of memory, a replica by now)
    return again


async def _with_documents(there: HotDocuments, open_: Mapping[str, Copied]) -> dict[str, Copied]:
    """The same, with the copies that were not read yet; without those that are not there."""
    unread = [(c, one.mark) for c, one in open_.items() if one.document is None]
    found = dict(open_)
    for (conversation, _), copy in zip(unread, await there.copies.read(unread), strict=True):
        one = found.pop(conversation)
        if isinstance(copy, Copy) and not copy.frozen:
            found[conversation] = Copied(one.mark, copy.version, copy.document)
    return found


def is_plain(document: Document, sends: int, now: int) -> bool:
    """Whether the sends can be numbered on this copy, unless it has claims that are overdue and have not ended either."""
    return (
        document.hot is not None
        and document.given + sends <= document.hot.limit
        and not life.begins(document)
        and document.day >= now // rows.DAY_MS
        and document.oldest_at > 0
        and not is_exceptional(document)
        and all(claim.state is State.OPEN for claim in document.claims)
    )


async def _read(
    session: Cassandra, there: Mapping[str, Document], asked: Mapping[str, Sequence[Send]]
) -> tuple[Known, dict[str, dict[str, int]]]:
    """The messages that are durable, read after the documents; and the last numbers of devices that these do not know (R22), by
    conversation."""
    ids: list[str] = []
    strangers: dict[tuple[str, str], None] = {}
    for conversation, document in there.items():
        known_devices = document.lasts
        for send in asked[conversation]:
            ids.append(send.message_id)
            if send.seq_num and send.device not in known_devices:
                strangers[send.device, conversation] = None
        ids += looked_up(document, asked[conversation])
    if not strangers:
        return await known(session, ids), {}
    return await asyncio.gather(known(session, ids), counted(session, list(strangers)))


async def counted(session: Cassandra, strangers: Sequence[tuple[str, str]]) -> dict[str, dict[str, int]]:
    """The last numbers of these (device, conversation), by conversation."""
    lasts = await session.each(_SEQNUM, strangers)
    found: dict[str, dict[str, int]] = {}
    for (device, conversation), there in zip(strangers, lasts, strict=True):
        if there:
            found.setdefault(conversation, {})[device] = there[0][0] or 0
    return found


def stuck(documents: Documents) -> set[str]:
    """The conversations that wait until the lease of a lost copy is dead."""
    return documents.hot.leases.stuck if documents.hot is not None else set()
