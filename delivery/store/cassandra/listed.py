"""A user's conversations, as the list shows them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from delivery.store.cassandra import flags, members, owed, unread
from delivery.store.cassandra.document import Document
from delivery.store.cassandra.documents import Documents
from delivery.store.cassandra.owed import Owed
from delivery.store.cassandra.receipts import Mark, marks_of
from delivery.store.cassandra.rows import BUCKET
from delivery.store.cassandra.session import Cassandra, gather
from delivery.store.interface import Flags, ListedConversation, Logged

_IDS = "SELECT conversation FROM $.roster WHERE member = ?"
_LAST = """SELECT seq, ordinal, sender, device, message_id, kind, content, sent_at, at, seq_num, extra, envelopes, edited, until,
    withheld FROM $.event WHERE conversation = ? AND bucket = ? AND seq <= ? ORDER BY seq DESC LIMIT 16"""


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
    seq, floor = of.last, of.document.floor
    while seq > floor:
        bucket = seq // BUCKET
        rows = await db.rows(_LAST, conversation, bucket, seq)
        for row in rows:
            if row[0] <= floor:
                return None
            if members.is_owed(of.intervals, row[0]) and (not row[14] or row[2] == user):
                return _logged(conversation, row, of.last)
        seq = rows[-1][0] - 1 if rows else bucket * BUCKET - 1
    return None


def _logged(conversation: str, row: Sequence[Any], owed_up_to: int) -> Logged:
    (
        seq,
        ordinal,
        sender,
        device,
        message_id,
        kind,
        content,
        sent_at,
        at,
        seq_num,
        extra,
        envelopes,
        edited,
        until,
        _,
    ) = row
    return Logged(
        conversation, seq, ordinal, sender, device, message_id, kind,
        None if (edited or 0) > owed_up_to else content, sent_at, at, seq_num or 0, extra, envelopes,
        0 < (edited or 0) <= owed_up_to, until or 0,
    )  # fmt: skip
