"""What a user has not read, counted as :mod:`delivery.store.unread` does: in each interval of a membership for itself."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from delivery.store.cassandra import flags, members, owed
from delivery.store.cassandra.document import Document
from delivery.store.cassandra.documents import Documents
from delivery.store.cassandra.members import Membership
from delivery.store.cassandra.owed import Owed
from delivery.store.cassandra.receipts import Mark, marks_of
from delivery.store.cassandra.rows import BUCKET, EVENT_KINDS
from delivery.store.cassandra.session import Cassandra, gather

_ORDINAL = """SELECT seq, ordinal FROM $.event WHERE conversation = ? AND bucket = ? AND seq <= ? AND seq > ?
ORDER BY seq DESC LIMIT 1"""
_OWN = """SELECT seq, sender, withheld, kind FROM $.event WHERE conversation = ? AND bucket = ? AND seq > ? AND seq <= ?"""
_MENTIONS = "SELECT seq FROM $.mention WHERE conversation = ? AND member = ? AND seq > ? AND seq <= ?"
_MENTIONED = (
    "SELECT content, withheld, sender, kind FROM $.event WHERE conversation = ? AND bucket = ? AND seq = ?"
)


async def ordinal(db: Cassandra, conversation: str, document: Document, seq: int) -> int:
    """Messages up to ``seq``. What is void is passed over."""
    if seq >= document.head:
        return document.ordinal
    while seq > document.floor:
        bucket = seq // BUCKET
        rows = await db.rows(_ORDINAL, conversation, bucket, seq, document.floor)
        if rows and rows[0][1] is not None:
            return int(rows[0][1])
        seq = rows[0][0] - 1 if rows else bucket * BUCKET - 1  # or what is left of one that has expired
    return document.floor_ordinal


def start(mark: Mark, one: Membership) -> int:
    """Where the unread part of an interval begins."""
    return max(mark.read, mark.sent, one.joined - 1)


async def messages(db: Cassandra, conversation: str, document: Document, one: Membership, mark: Mark) -> int:
    """Unread messages of an interval. What is withheld from the other has no ordinal; as long as one's own messages are not
    known to be read, those count too, or the number would tell of the block."""
    first, last = start(mark, one), members.last(document, one)
    if first >= last:
        return 0
    upper, lower = await gather(ordinal(db, conversation, document, seq) for seq in (last, first))
    count = max(0, upper - lower)
    if document.blocks:
        for bucket in range((first + 1) // BUCKET, last // BUCKET + 1):
            for _, sender, withheld, kind in await db.rows(_OWN, conversation, bucket, first, last):
                count += bool(withheld) and sender == one.user and kind not in EVENT_KINDS
    return count


async def mentioning(
    db: Cassandra, conversation: str, document: Document, one: Membership, mark: Mark
) -> int:
    """Those of them that mention the user, if their content is still there."""
    first, last = max(start(mark, one), document.floor), members.last(document, one)
    if first >= last:
        return 0
    found = await db.rows(_MENTIONS, conversation, one.user, first, last)
    rows = await db.each(_MENTIONED, [(conversation, seq // BUCKET, seq) for (seq,) in found])
    return sum(
        any(
            content is not None and kind is not None and (not withheld or sender == one.user)
            for content, withheld, sender, kind in those
        )
        for those in rows
    )


async def total(db: Cassandra, conversation: str, of: Owed, mark: Mark, *, mentions: bool) -> int:
    """Over all intervals: the unread messages, or those that mention the user."""
    count = mentioning if mentions else messages
    return sum(await gather(count(db, conversation, of.document, one, mark) for one in of.intervals))


async def badges(db: Cassandra, documents: Documents, users: Sequence[str], now: int) -> dict[str, int]:
    """See :meth:`Store.badges`. Of what is read up to its end nothing is looked up: most conversations of most people."""
    asked = list(dict.fromkeys(users))
    return dict(zip(asked, await gather(_badge(db, documents, user, now) for user in asked), strict=True))


async def _badge(db: Cassandra, documents: Documents, user: str, now: int) -> int:
    mine, own = await owed.owed(db, documents, user), await flags.all_of(db, user)
    counted = {
        conversation: of
        for conversation, of in mine.items()
        if user not in of.document.unaccepted and of.last
    }
    marks = await marks_of(db, [(conversation, user) for conversation in counted])

    async def one(conversation: str, of: Owed, mark: Mark) -> int:
        if not _unread(of, mark):
            return 0
        set_ = own.get(conversation, flags.NONE)
        quiet = set_.archived or set_.muted_until > now
        return await total(db, conversation, of, mark, mentions=quiet)

    numbers: Iterable[int] = await gather(
        one(conversation, of, mark) for (conversation, of), mark in zip(counted.items(), marks, strict=True)
    )
    return sum(numbers)


def _unread(of: Owed, mark: Mark) -> bool:
    return any(start(mark, one) < members.last(of.document, one) for one in of.intervals)
