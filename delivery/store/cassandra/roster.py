"""Conversations as such: direct ones by their two users, and who is in each."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Sequence

from delivery.store.cassandra import members
from delivery.store.cassandra.changes import finish_abandoned
from delivery.store.cassandra.document import Block, Document, Shown
from delivery.store.cassandra.documents import Documents
from delivery.store.cassandra.session import Cassandra, Statement
from delivery.store.interface import Unavailable
from delivery.store.values import Conversation, Interval

_DIRECT = "SELECT conversation FROM $.direct WHERE low = ? AND high = ?"
_CLAIM = "INSERT INTO $.direct (low, high, conversation) VALUES (?, ?, ?) IF NOT EXISTS"
_LISTED = "SELECT joined_seq FROM $.roster WHERE member = ? AND conversation = ?"
_MEMBER = (
    "INSERT INTO $.member (conversation, member, joined_seq, left_seq, speaker) VALUES (?, ?, 1, 0, false)"
)
_ROSTER = "INSERT INTO $.roster (member, conversation, joined_seq, left_seq, kind, peer) VALUES (?, ?, 1, 0, 'direct', ?)"
_PEERS = "SELECT kind, peer FROM $.roster WHERE member = ?"


async def directs(db: Cassandra, pairs: Iterable[tuple[str, str]]) -> list[str]:
    """The direct conversation of each pair, "" where there is none."""
    found = await db.each(_DIRECT, [sorted(pair) for pair in pairs])
    return [rows[0][0] if rows else "" for rows in found]


async def open_direct(
    db: Cassandra,
    documents: Documents,
    a: str,
    b: str,
    new_id: str,
    now: int,
    unaccepted: Sequence[str] = (),
    blocked: Sequence[str] = (),
) -> str:
    """See :meth:`Store.ensure_direct`; ``unaccepted``, ``blocked``: see :class:`delivery.store.pending.Elsewhere`.

    The document comes first, so a conversation is never found before it is all that it begins with; then one of those who are at
    it at once has it for the pair. The rows by user are written by whoever finds that they are not there.
    """
    low, high = sorted((a, b))
    rows = await db.rows(_DIRECT, low, high)
    if not rows:
        rows = [(await _claim(db, documents, low, high, new_id, now, unaccepted, blocked),)]
    conversation: str = rows[0][0]
    if not await db.rows(_LISTED, low, conversation):
        await db.batch(_rows(conversation, low, high), logged=True)
    return conversation


async def _claim(
    db: Cassandra,
    documents: Documents,
    low: str,
    high: str,
    new_id: str,
    now: int,
    unaccepted: Sequence[str],
    blocked: Sequence[str],
) -> str:
    document = Document("direct", now, people=sorted({low, high}), unaccepted=sorted(unaccepted))
    if blocked:
        document.blocks = {user: Block(high if user == low else low, active=True) for user in blocked}
        document.shown = {user: Shown() for user in document.people}
        await db.write(silent_rows(new_id, document.people))
    await documents.create(new_id, document)
    try:
        mine, there = await db.swap(_CLAIM, low, high, new_id)
    except Unavailable:
        rows = await db.rows(_DIRECT, low, high, serial=True)
        if not rows:
            raise
        mine, there = rows[0][0] == new_id, None
        conversation: str = rows[0][0]
    else:
        conversation = new_id if mine or there is None else there[-1]
    if conversation != new_id:
        await db.swap("DELETE FROM $.conversation WHERE conversation = ? IF EXISTS", new_id)
    return conversation


def silent_rows(conversation: str, people: Iterable[str]) -> list[Statement]:
    """What makes :func:`delivery.store.cassandra.blocks.silent` look at a conversation, for its two users."""
    return [
        ("INSERT INTO $.silent (member, conversation) VALUES (?, ?)", (user, conversation)) for user in people
    ]


def _rows(conversation: str, low: str, high: str) -> list[Statement]:
    statements: list[Statement] = []
    for user, peer in {low: high, high: low}.items():
        statements += [(_MEMBER, (conversation, user)), (_ROSTER, (user, conversation, peer))]
    return statements


async def conversations(db: Cassandra, documents: Documents, ids: Sequence[str]) -> dict[str, Conversation]:
    """See :meth:`Store.conversations`."""
    found = await documents.read(ids)
    rows = await members.of_conversations(db, found)
    with contextlib.suppress(Unavailable):  # what was read has the unfinished change in it
        await finish_abandoned(db, documents, found)
    return {
        conversation: Conversation(
            conversation,
            document.kind,
            document.head,
            tuple(Interval(one.user, one.joined, one.left) for one in rows[conversation]),
            frozenset(one.user for one in rows[conversation] if one.speaker and not one.left)
            if document.restricted
            else None,
            frozenset(document.unaccepted),
        )
        for conversation, document in found.items()
    }


async def direct_peers(db: Cassandra, user: str, limit: int, after: str) -> list[str]:
    """See :meth:`Store.direct_peers`."""
    rows = await db.rows(_PEERS, user)
    peers = {peer for kind, peer in rows if kind == "direct" and peer != user and peer > after}
    return sorted(peers)[:limit]
