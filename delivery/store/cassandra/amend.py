"""Appends of lists with edits, deletes, reactions and votes: a conversation at a time, under its document's lock, because they
read the rows that they change."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from delivery.store.cassandra import events, rows
from delivery.store.cassandra.append import (
    NOTHING,
    Accept,
    Taken,
    Written,
    is_active,
    nowhere,
    numbers,
    push_out,
    store,
)
from delivery.store.cassandra.claims import drop_ended, overdue
from delivery.store.cassandra.document import Claim, Document
from delivery.store.cassandra.documents import Documents, Keep
from delivery.store.cassandra.judge import About, Full, Judged, judge
from delivery.store.cassandra.lock import Held, exclusive
from delivery.store.cassandra.members import Membership, of_members
from delivery.store.cassandra.messages import Known, known
from delivery.store.cassandra.rows import OutboxRows
from delivery.store.cassandra.session import Cassandra, Statement, cut
from delivery.store.cassandra.settling import change_settled, end_claims
from delivery.store.cassandra.targets import ABOUT, Target, fresh, target_of
from delivery.store.errors import Busy
from delivery.store.values import Amendment, Appended, Outcome, Send

#: Statements of one logged batch; what a delete supersedes beyond that is written ahead of it.
_LOGGED = 64


async def append_amending(
    session: Cassandra,
    documents: Documents,
    outbox: OutboxRows,
    accept: Accept,
    writer: str,
    sends: Sequence[Send],
    now: int,
) -> tuple[list[Appended | None], Written]:
    """Append sends to one conversation, some of which are amendments, as if each were a call of its own; as
    :func:`.append.append_messages`."""
    conversation = sends[0].conversation
    resumes = {(send.sender, send.message_id) for send in sends}
    results: list[Appended | None] = [None] * len(sends)

    async def settled(document: Document) -> None:
        if overdue(document):
            raise _Overdue

    for _ in range(4):
        try:
            async with exclusive(documents, conversation, now, settled, resumes) as held:
                if held is None:
                    found = await known(session, [send.message_id for send in sends])
                    return [nowhere(send, found) for send in sends], NOTHING
                work = _Work(session, documents, held, conversation, sends, now)
                judged = await work.judge()
                taken = []
                for i, send in enumerate(sends):
                    claim = judged.claims[i]
                    if claim is None:
                        results[i] = judged.answers[i]
                    else:
                        taken.append(Taken(i, send, claim, judged.document, work.targets.get(claim.seq, 0)))
                written = await store(
                    session,
                    documents,
                    outbox,
                    accept,
                    writer,
                    {conversation: taken} if taken else {},
                    results,
                    now,
                    work.write,
                )
                return results, written
        except _Overdue:
            await end_claims(session, documents, conversation, now)
    raise Busy("what others left behind could not be settled")


class _Overdue(Exception):
    """Somebody has died over a change of rows, and it has to be settled first."""


class _Work:
    """One list of sends to one conversation, while its lock is held."""

    def __init__(
        self,
        session: Cassandra,
        documents: Documents,
        held: Held,
        conversation: str,
        sends: Sequence[Send],
        now: int,
    ) -> None:
        self._session = session
        self._documents = documents
        self._held = held
        self._conversation = conversation
        self._sends = sends
        self._now = now
        self._document: Document
        self._known: Known = {}
        self._lasts: dict[str, int] = {}
        self._written: dict[str, int] = {}
        self._rows: dict[str, tuple[events.EventRow, list[tuple[object, ...]]]] = {}
        self._members: dict[str, list[Membership]] = {}
        self._messages: dict[str, Target] = {}  # by message id, as they are after what was judged so far
        self._writes: dict[int, list[Statement]] = {}  # by seq of the amendment
        self.targets: dict[int, int] = {}  # seq of the amendment → seq of the message

    async def judge(self) -> Judged:
        for _ in range(8):
            try:
                return await change_settled(  # type: ignore[return-value]  # there is a document
                    self._session,
                    self._documents,
                    self._conversation,
                    self._decide,
                    self._now,
                    self._look,
                    self._change,
                )
            except Full as full:
                await push_out(self._session, self._conversation, full)
                self._written |= full.lasts
        raise Busy("too many devices at once")

    async def _change(self, _conversation: str, decide, _now: int, before):  # type: ignore[no-untyped-def]
        return await self._held.change(decide, before)

    async def _look(self, document: Document) -> None:
        """Read all that is judged by, for the document as it is."""
        session, conversation, sends = self._session, self._conversation, self._sends
        amends = [send for send in sends if type(send) is Amendment]
        asked = [
            *(send.message_id for send in sends),
            *(send.target for send in amends),
            *(claim.message_id for claim in document.claims),
        ]
        users = list(dict.fromkeys(send.sender for send in amends))
        self._known, self._lasts, members, _ = await asyncio.gather(
            known(session, asked),
            numbers(session, document, sends),
            of_members(session, {conversation: document}, [(conversation, user) for user in users]),
            is_active(session, document, conversation, self._now),
        )
        self._members = dict(zip(users, members, strict=True))
        first: dict[str, int] = {}
        for (_, message_id), (of, seq, *_rest) in self._known.items():
            if of == conversation and seq > document.floor:
                first[message_id] = min(seq, first.get(message_id, seq))
        wanted = {send.target: first[send.target] for send in amends if send.target in first}
        there, about = await asyncio.gather(
            events.some(session, conversation, list(wanted.values())),
            session.each(ABOUT, [(conversation, seq) for seq in wanted.values()]),
        )
        self._rows = {
            target: (there[seq], things)
            for (target, seq), things in zip(wanted.items(), about, strict=True)
            if seq in there and not there[seq].is_rest
        }

    def _decide(self, document: Document) -> Judged:
        self._document = document
        self._messages = {
            message_id: target_of(self._conversation, row, things)
            for message_id, (row, things) in self._rows.items()
        }
        self._writes = {}
        self.targets = {}
        head, claims = document.head, len(document.claims)
        drop_ended(document, self._conversation, self._known)
        judged = judge(
            document, self._sends, self._known, self._lasts, self._written, self._now, self._about, self._done
        )
        if document.head == head and claims == len(document.claims):
            raise Keep(judged)
        document.day = max(document.day, self._now // rows.DAY_MS)
        return judged

    def _about(self, send: Send) -> Appended | About:
        if type(send) is not Amendment:
            return About()
        target = self._messages.get(send.target)
        if target is None:
            return Appended(Outcome.NO_TARGET)
        refused = target.refuses(send, self._document, self._members[send.sender], self._now)
        return target.about if refused is None else Appended(refused)

    def _done(self, send: Send, claim: Claim) -> None:
        if type(send) is not Amendment:
            self._messages.setdefault(send.message_id, fresh(self._conversation, send, claim))
            return
        target = self._messages.get(send.target)
        if target is None:  # gone since an earlier attempt: the event alone is written
            self._writes[claim.seq] = []
            return
        self.targets[claim.seq] = target.seq
        self._writes[claim.seq] = target.amend(send, claim)

    async def write(self, conversation: str, items: Sequence[Taken]) -> None:
        """In the order of their numbers; all rows of an amendment happen if one does."""
        plain: list[Statement] = []
        for one in items:
            event = rows.event(one.claim, conversation, one.send, one.target)
            if type(one.send) is not Amendment:
                plain.append(event)
                continue
            for part in cut(plain):
                await self._session.batch(part)
            plain = []
            writes = self._writes[one.claim.seq]
            while len(writes) >= _LOGGED:
                await self._session.batch(writes[-_LOGGED:], logged=True)
                writes = writes[:-_LOGGED]
            await self._session.batch([event, *writes], logged=True)
        for part in cut(plain):
            await self._session.batch(part)
