"""How far users have received and read conversations.

A receipt is written without a read: each of its values is its own timestamp, so it only rises, whatever comes late or twice.
Beside it stands when it came to that value, as a negative number, because of two writes with one timestamp Cassandra keeps the
greater value: so the first time counts, and a repetition moves nothing. While a block is in force in a direct conversation
the document says what the other user is shown instead.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from typing import Any, Final, NamedTuple

from delivery.store.cassandra import members
from delivery.store.cassandra.document import Document
from delivery.store.cassandra.documents import Documents
from delivery.store.cassandra.owed import Owed, owed
from delivery.store.cassandra.session import Cassandra, Statement
from delivery.store.values import RECEIPTS_EACH, MemberReceipt, Receipt, ReceiptCount, ReceiptWrite

#: Longest answer of :func:`receipts` when no conversation was named.
_NEWEST = 500

_MARK = """SELECT conversation, member, delivered, read, sent, delivered_at, read_at, renewed_at, delivered_renewed_at
FROM $.receipt WHERE conversation IN ?"""
_MARK_OF = _MARK + " AND member = ?"
#: Conversations of one read.
_AT_ONCE: Final = 32

_WRITE = "UPDATE $.receipt USING TIMESTAMP ? SET {0} = ?, {0}_at = ? WHERE conversation = ? AND member = ?"
_DELIVERED = _WRITE.format("delivered")
_READ = _WRITE.format("read")
#: Both at once, when they are the same: one timestamp is right for both.
_BOTH = """UPDATE $.receipt USING TIMESTAMP ? SET delivered = ?, delivered_at = ?, read = ?, read_at = ?
WHERE conversation = ? AND member = ?"""
_SENT = "UPDATE $.receipt USING TIMESTAMP ? SET sent = ? WHERE conversation = ? AND member = ?"
_RENEW = "UPDATE $.receipt USING TIMESTAMP ? SET {0}renewed_at = ? WHERE conversation = ? AND member = ?"


class Mark(NamedTuple):
    """A receipt as it is stored; times are 0 when it never moved."""

    user: str
    delivered: int = 0
    read: int = 0
    sent: int = 0  # highest seq of one's own
    changed_at: int = 0  # when delivered or read last moved, or became known to others
    delivered_at: int = 0


def _mark(row: Sequence[Any]) -> Mark:
    delivered, read, sent, delivered_at, read_at, renewed_at, delivered_renewed_at = (
        one or 0 for one in row[1:]
    )
    changed_at = max(-delivered_at, -read_at, renewed_at) if delivered or read else 0
    came_at = max(-delivered_at, delivered_renewed_at) if delivered else 0
    return Mark(row[0], delivered, read, sent, changed_at, came_at)


async def marks(db: Cassandra, conversations: Collection[str]) -> dict[str, dict[str, Mark]]:
    """By conversation and user all that is stored."""
    found: dict[str, dict[str, Mark]] = {conversation: {} for conversation in conversations}
    for rows in await db.each(_MARK, [(part,) for part in _parts(list(found))]):
        for conversation, *mark in rows:
            found[conversation][mark[0]] = _mark(mark)
    return found


async def marks_of(db: Cassandra, asked: Sequence[tuple[str, str]]) -> list[Mark]:
    """For each (conversation, user) what is stored."""
    of_users: dict[str, list[str]] = {}
    for conversation, user in dict.fromkeys(asked):
        of_users.setdefault(user, []).append(conversation)
    looks = [(part, user) for user, conversations in of_users.items() for part in _parts(conversations)]
    found: dict[tuple[str, str], Mark] = {}
    for rows in await db.each(_MARK_OF, looks):
        for conversation, *mark in rows:
            found[conversation, mark[0]] = _mark(mark)
    return [found.get((conversation, user), Mark(user)) for conversation, user in asked]


def _parts(conversations: list[str]) -> list[list[str]]:
    return [conversations[i : i + _AT_ONCE] for i in range(0, len(conversations), _AT_ONCE)]


def written(writes: Iterable[ReceiptWrite], now: int) -> list[Statement]:
    """The statements that raise receipts (:meth:`Store.save`)."""
    highest: dict[tuple[str, str], tuple[int, int, int]] = {}
    for conversation, user, delivered, read, sent in writes:
        old = highest.get((conversation, user), (0, 0, 0))
        highest[conversation, user] = (max(old[0], delivered), max(old[1], read), max(old[2], sent))
    statements: list[Statement] = []
    # What is of one conversation is one partition: next to each other they are one change of it.
    for key, (delivered, read, sent) in sorted(highest.items()):
        if delivered and delivered == read:
            statements.append((_BOTH, (read, read, -now, read, -now, *key)))
        else:
            if delivered:
                statements.append((_DELIVERED, (delivered, delivered, -now, *key)))
            if read:
                statements.append((_READ, (read, read, -now, *key)))
        if sent:
            statements.append((_SENT, (sent, sent, *key)))
    return statements


def renewed(conversation: str, user: str, now: int, delivered: bool) -> list[Statement]:
    """The statements that make a user's receipt new to the others, who could not know of it until ``now``; ``delivered``: that
    part of it too, not only what was read."""
    names = ("", "delivered_") if delivered else ("",)
    return [(_RENEW.format(name), (now, now, conversation, user)) for name in names]


def shown(document: Document, mark: Mark) -> Mark:
    """What others are shown of it."""
    instead = document.shown.get(mark.user)
    if instead is None:
        return mark
    return Mark(
        mark.user, instead.delivered, instead.read, mark.sent, instead.changed_at, instead.delivered_at
    )  # fmt: skip


async def receipts(
    db: Cassandra, documents: Documents, conversations: Sequence[str], user: str, since: int
) -> list[Receipt]:
    """See :meth:`Store.receipts`. The others' newest first, then one's own."""
    mine = await owed(db, documents, user, conversations or None)
    told = [conversation for conversation, of in mine.items() if _told(of)]
    by_conversation = await marks(db, told)
    alone = [(conversation, user) for conversation in mine if conversation not in by_conversation]
    own = dict(zip((conversation for conversation, _ in alone), await marks_of(db, alone), strict=True))
    others: list[Receipt] = []
    for conversation, found in by_conversation.items():
        own[conversation] = found.get(user, Mark(user))
        document = mine[conversation].document
        for mark in found.values():
            seen = shown(document, mark)
            if (
                mark.user != user
                and mark.user not in document.unaccepted
                and seen.changed_at >= since
                and (seen.delivered or seen.read)
            ):
                others.append(
                    Receipt(conversation, seen.user, seen.delivered, seen.read, seen.changed_at, seen.delivered_at)
                )  # fmt: skip
    # What the user has read on another device. How far the other has come in receiving is nothing to this one.
    read = [
        Receipt(conversation, user, 0, mark.read, mark.changed_at)
        for conversation, mark in own.items()
        if mark.read and mark.changed_at >= since
    ]
    limit = None if conversations else _NEWEST
    return _newest(others)[:limit] + _newest(read)[:limit]


def _told(of: Owed) -> bool:
    """Nothing of the others to who has left: how far they are tells how far the conversation has come."""
    return of.current and of.document.members <= RECEIPTS_EACH


def _newest(found: list[Receipt]) -> list[Receipt]:
    return sorted(found, key=lambda one: (-one.changed_at, one.conversation, one.user))


async def receipt_counts(
    db: Cassandra, documents: Documents, events: Sequence[tuple[str, str, int]]
) -> list[ReceiptCount]:
    """See :meth:`Store.receipt_counts`."""
    found = await documents.read(conversation for conversation, _, _ in events)
    in_them = await members.of_conversations(db, found)
    stored = await marks(db, list(found))
    counts = []
    for conversation, user, seq in events:
        delivered = read = 0
        # A receipt counts for an event only if its user is owed the event: who joined later has receipts above it too.
        for one in in_them.get(conversation, ()):
            if one.user != user and members.is_owed((one,), seq):
                mark = stored[conversation].get(one.user)
                if mark is not None:
                    delivered += mark.delivered >= seq
                    read += mark.read >= seq
        counts.append(ReceiptCount(delivered, read))
    return counts


async def message_receipts(
    db: Cassandra, documents: Documents, conversation: str, user: str, seq: int, after: str, limit: int
) -> list[MemberReceipt]:
    """See :meth:`Store.message_receipts`."""
    found = await documents.read([conversation])
    if not found:
        return []
    document = found[conversation]
    owing = sorted(
        one.user
        for one in (await members.of_conversations(db, found))[conversation]
        if one.user != user and one.user > after and members.is_owed((one,), seq)
    )[:limit]
    stored = (await marks(db, [conversation]))[conversation]
    return [_member_receipt(document, stored.get(one, Mark(one)), seq) for one in owing]


def _member_receipt(document: Document, mark: Mark, seq: int) -> MemberReceipt:
    seen = shown(document, mark)
    hidden = mark.user in document.unaccepted
    return MemberReceipt(mark.user, not hidden and seen.delivered >= seq, not hidden and seen.read >= seq)
