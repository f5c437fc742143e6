"""A user's conversations, as the list shows them."""

from __future__ import annotations

from delivery.store.cassandra import events, flags, members, owed, unread
from delivery.store.cassandra.document import Document, State
from delivery.store.cassandra.documents import Documents
from delivery.store.cassandra.events import EventRow
from delivery.store.cassandra.lost import is_void
from delivery.store.cassandra.owed import Owed
from delivery.store.cassandra.receipts import Mark, marks_of
from delivery.store.cassandra.session import Cassandra, gather
from delivery.store.values import Flags, ListedConversation, Logged

_IDS = "SELECT conversation FROM $.roster WHERE member = ?"
#: Of these the last one is mostly owed.
_AT_ONCE = 16


async def listed(
    db: Cassandra, documents: Documents, user: str, limit: int, after: str
) -> list[ListedConversation]:
    """See :meth:`Store.listed`. The order of ids in Cassandra is another one than that of their text, so all are looked at."""
    ids = sorted({row[0] for row in await db.rows(_IDS, user) if row[0] > after})[:limit]
    mine = await owed.owed(db, documents, user, ids)
    found = [(conversation, mine[conversation]) for conversation in ids if conversation in mine]
    own = await flags.all_of(db, user)
    marks = await marks_of(db, [(conversation, user) for conversation, _ in found])
    return await gather(
        _listed(db, user, conversation, of, mark, own.get(conversation, flags.NONE))
        for (conversation, of), mark in zip(found, marks, strict=True)
    )


async def _listed(
    db: Cassandra, user: str, conversation: str, of: Owed, mark: Mark, own: Flags
) -> ListedConversation:
    document, last = of.document, of.last
    count, mentioned = await gather(
        unread.total(db, conversation, of, mark, mentions=mentions) for mentions in (False, True)
    )
    event = await _last(db, user, conversation, of)
    return ListedConversation(
        conversation,
        document.kind,
        last,
        count,
        event,
        tuple(one for one in document.people if one != user),
        mark.delivered,
        mark.read,
        mark.changed_at,
        mentioned,
        _timer(document, user) if of.current else 0,
        own,
        bool(last) and user in document.unaccepted,
    )


def _timer(document: Document, user: str) -> int:
    """As the user knows it."""
    block = next((block for block in document.blocks.values() if block.sender == user), None)
    return block.timer if block is not None and block.timer >= 0 else document.timer


async def _last(db: Cassandra, user: str, conversation: str, of: Owed) -> Logged | None:
    """The last event that the user is owed, unless it has expired."""
    document = of.document
    seq, floor = of.last, document.floor
    void = {claim.seq for claim in document.claims if claim.state is State.VOID}
    while seq > floor:
        rows = await events.downwards(db, conversation, floor + 1, seq, _AT_ONCE)
        for row in rows:
            if row.is_rest or row.seq in void or is_void(document.lost, row.seq):
                continue
            if members.is_owed(of.intervals, row.seq) and (not row.withheld or row.sender == user):
                return _logged(conversation, row, of.last)
        if len(rows) < _AT_ONCE:
            break
        seq = rows[-1].seq - 1
    return None


def _logged(conversation: str, row: EventRow, owed_up_to: int) -> Logged:
    edited = row.edited or 0
    return Logged(
        conversation, row.seq, row.ordinal, row.sender, row.device, row.message_id, row.kind,
        None if edited > owed_up_to else row.content, row.sent_at, row.at, row.seq_num or 0, row.extra, row.envelopes,
        0 < edited <= owed_up_to, row.until or 0,
    )  # fmt: skip
