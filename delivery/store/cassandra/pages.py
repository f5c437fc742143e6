"""Reads of the log: what is owed to whom, in what pieces.

The document is read before the rows, so each number up to its head is a row, void, or a claim. A reader stops before a claim
whose row is not there: what comes behind it was perhaps told to its sender, but order is what a page promises. It waits for a
moment, because nearly always the row is under way, and then says when to come again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from delivery.store.cassandra import events
from delivery.store.cassandra.changes import finish_abandoned
from delivery.store.cassandra.claims import overdue
from delivery.store.cassandra.document import Document, State
from delivery.store.cassandra.documents import Documents
from delivery.store.cassandra.events import EventRow
from delivery.store.cassandra.lost import is_void
from delivery.store.cassandra.members import Membership, is_owed, last, of_members, owed
from delivery.store.cassandra.messages import known
from delivery.store.cassandra.session import Cassandra, gather
from delivery.store.cassandra.settling import end_claims
from delivery.store.values import First, Logged, Page, PageRequest
from whatsapp.infra import clock

#: Waits of one call for rows that are under way, in seconds, one after the other.
_PATIENCE_S = (0.005, 0.02, 0.06)
#: After that a page says to come again in so many ms.
WAIT_MS = 200

_NO_BYTE_LIMIT = 1 << 62


class _Reader(NamedTuple):
    """What decides what a user is shown of a conversation."""

    session: Cassandra
    conversation: str
    user: str
    document: Document
    intervals: Sequence[Membership]

    @property
    def owed(self) -> int:
        return owed(self.document, self.intervals)

    def ranges(self, low: int, high: int) -> Iterator[tuple[int, int]]:
        """What is owed of ``low … high``, ascending."""
        for one in self.intervals:
            start, end = max(one.joined, low), min(last(self.document, one), high)
            if start <= end:
                yield start, end

    def superseded(self, row: EventRow) -> bool:
        """Whether a later event took the place of an event about a message, for this reader."""
        return bool(row.superseded) or bool(row.replaced and row.target and row.sender == self.user)

    def hidden(self, row: EventRow) -> bool:
        return bool(row.withheld) and row.sender != self.user

    async def shown(self, rows: Sequence[EventRow]) -> list[Logged]:
        """As the reader sees them."""
        own = {
            row.seq: row.replaced
            for row in rows
            if row.replaced and not row.target and row.content is not None and row.sender == self.user
        }
        edits = {
            row.seq: row.edited
            for row in rows
            if row.edited and row.edited <= self.owed and row.content is not None
        } | own
        forms = await self._forms(rows, set(edits.values())) if edits else {}
        shown = []
        for row in rows:
            content, edited = row.content, bool(row.edited and row.edited <= self.owed)
            form = forms.get(edits.get(row.seq, 0))
            if row.edited and not edited:
                content = None  # what it said before is gone, and what it says is not owed
            elif row.seq in own:
                content, edited = (form.content if form is not None else None), True
            shown.append(
                Logged(
                    self.conversation,
                    row.seq,
                    row.ordinal,
                    row.sender,
                    row.device,
                    row.message_id,
                    row.kind,
                    content,
                    row.sent_at,
                    row.at,
                    row.seq_num or 0,
                    row.extra,
                    row.envelopes,
                    edited,
                    row.until or 0,
                    row.sender != self.user and self.user in self.document.unaccepted,
                    form.extra if form is not None else None,
                )
            )
        return shown

    async def _forms(self, rows: Sequence[EventRow], seqs: set[int]) -> dict[int, EventRow]:
        """Rows of edits: those that are on the page too, and the others in one more read."""
        found = {row.seq: row for row in rows if row.seq in seqs}
        missing = seqs - found.keys()
        return found | await events.some(self.session, self.conversation, list(missing)) if missing else found


async def pages(session: Cassandra, documents: Documents, requests: Sequence[PageRequest]) -> list[Page]:
    """See :meth:`Store.pages`."""
    if not requests:
        return []
    there = await documents.read(request.conversation for request in requests)
    members = await of_members(session, there, [(request.conversation, request.user) for request in requests])
    return await gather(
        _page(session, documents, request, there.get(request.conversation), intervals)
        for request, intervals in zip(requests, members, strict=True)
    )


async def _page(
    session: Cassandra,
    documents: Documents,
    request: PageRequest,
    document: Document | None,
    intervals: Sequence[Membership],
) -> Page:
    if document is None or not intervals:
        return Page([], request.after, 0, 0)
    page = await _read(session, request, document, intervals)
    for pause in _PATIENCE_S:
        if not page.wait_ms:
            return page
        if overdue(document):
            await end_claims(session, documents, request.conversation, clock.now_ms())
        elif not await finish_abandoned(session, documents, {request.conversation: document}):
            await asyncio.sleep(pause)
        document = (await documents.read([request.conversation]))[request.conversation]
        (intervals,) = await of_members(
            session, {request.conversation: document}, [(request.conversation, request.user)]
        )
        page = await _read(session, request, document, intervals)
    return page


async def _read(
    session: Cassandra, request: PageRequest, document: Document, intervals: Sequence[Membership]
) -> Page:
    conversation, user, after, limit, max_bytes = request
    reader = _Reader(session, conversation, user, document, intervals)
    end = reader.owed
    open_, void = _claimed(document)
    rows: list[EventRow] = []
    size = 0
    cut = False
    hole: int | None = None
    for low, high in reader.ranges(max(after, document.floor) + 1, end):
        while low <= high:
            room = limit - len(rows)
            found = await events.upwards(session, conversation, low, high, room + 1)
            top = high if len(found) <= room else found[-1].seq
            present = {row.seq for row in found if not row.is_rest}
            hole = next((seq for seq in open_ if low <= seq <= top and seq not in present), None)
            for row in found:
                if hole is not None and row.seq > hole:
                    break
                if row.is_rest or row.seq in void or is_void(document.lost, row.seq) or reader.hidden(row):
                    continue
                size += row.size
                cut = len(rows) == limit or (bool(rows) and size > max_bytes)
                if cut:
                    break
                rows.append(row)
            if cut or hole is not None:
                break
            low = top + 1
        if cut or hole is not None:
            break
    shown = await reader.shown([row for row in rows if not reader.superseded(row)])
    if cut:
        return Page(shown, rows[-1].seq, end, document.floor)
    if hole is not None:
        return Page(shown, max(after, hole - 1), end, document.floor, WAIT_MS)
    return Page(shown, end, end, document.floor)


def _claimed(document: Document) -> tuple[list[int], set[int]]:
    """Seqs that may come yet, ascending, and those that must not be seen."""
    open_ = [one.seq for one in document.claims if one.state is not State.VOID]
    if document.intent is not None:
        open_ += [step.seq for step in document.intent.steps]
    return sorted(open_), {one.seq for one in document.claims if one.state is State.VOID}


async def history(
    session: Cassandra,
    documents: Documents,
    conversation: str,
    user: str,
    after: int,
    before: int,
    limit: int,
) -> Page:
    """See :meth:`Store.history`. With ``before``, ``through`` is the highest seq looked at."""
    if before <= 0:
        request = PageRequest(conversation, user, after, limit, _NO_BYTE_LIMIT)
        return (await pages(session, documents, [request]))[0]
    there = await documents.read([conversation])
    (intervals,) = await of_members(session, there, [(conversation, user)])
    document = there.get(conversation)
    if document is None or not intervals:
        return Page([], before - 1, 0, 0)
    reader = _Reader(session, conversation, user, document, intervals)
    _, void = _claimed(document)
    rows: list[EventRow] = []
    for low, high in reversed(list(reader.ranges(document.floor + 1, before - 1))):
        while low <= high and len(rows) < limit:
            asked = limit - len(rows)
            found = await events.downwards(session, conversation, low, high, asked)
            rows += [
                row
                for row in found
                if not row.is_rest
                and row.seq not in void
                and not is_void(document.lost, row.seq)
                and not reader.hidden(row)
                and not reader.superseded(row)
            ]
            if len(found) < asked:
                break
            high = found[-1].seq - 1
    return Page(await reader.shown(rows[::-1]), min(before - 1, reader.owed), reader.owed, document.floor)


async def find(session: Cassandra, documents: Documents, conversation: str, message_id: str) -> int:
    """See :meth:`Store.find`."""
    there, found = await asyncio.gather(documents.read([conversation]), known(session, [message_id]))
    if conversation not in there:
        return 0
    floor = there[conversation].floor
    return min((one[1] for one in found.values() if one[0] == conversation and one[1] > floor), default=0)


async def knows(
    session: Cassandra, documents: Documents, asked: Sequence[tuple[str, str, str]]
) -> list[bool]:
    """See :meth:`Store.knows`."""
    if not asked:
        return []
    there = await documents.read(conversation for conversation, _, _ in asked)
    found = await known(session, [message_id for _, _, message_id in asked])
    by_id: dict[str, list[tuple[str, str, int, bool]]] = {}
    for (sender, message_id), (conversation, seq, _, _, withheld) in found.items():
        by_id.setdefault(message_id, []).append((conversation, sender, seq, withheld))
    members = await of_members(session, there, [(conversation, user) for conversation, user, _ in asked])
    result = []
    for (conversation, user, message_id), intervals in zip(asked, members, strict=True):
        document = there.get(conversation)
        if document is None:
            result.append(False)
            continue
        seq = min(
            (
                seq
                for of, sender, seq, withheld in by_id.get(message_id, ())
                if of == conversation and seq > document.floor and (not withheld or sender == user)
            ),
            default=0,
        )
        result.append(
            is_owed(intervals, seq)
            if seq
            else document.floor > 0 and any(one.joined <= document.floor for one in intervals)
        )
    return result


async def stored(
    session: Cassandra, documents: Documents, asked: Sequence[tuple[str, str]]
) -> list[First | None]:
    """See :meth:`Store.stored`."""
    found = await known(session, [message_id for _, message_id in asked])
    firsts = {one: First(*found[one][:4]) for one in asked if one in found}
    there = await documents.read({first.conversation for first in firsts.values()})
    # Its row by id lives longer than its event.
    return [
        first
        if (first := firsts.get(one)) is not None
        and first.conversation in there
        and first.seq > there[first.conversation].floor
        else None
        for one in asked
    ]
