"""What decides whether a user wants to hear of something in a conversation, as :mod:`delivery.store.attention` reads it."""

from __future__ import annotations

from collections.abc import Sequence

from delivery.store.cassandra import flags
from delivery.store.cassandra.receipts import marks_of
from delivery.store.cassandra.rows import BUCKET
from delivery.store.cassandra.session import Cassandra, gather
from delivery.store.values import Attention

_MENTION = """SELECT seq FROM $.mention WHERE conversation = ? AND member = ? AND seq <= ?
ORDER BY seq DESC LIMIT 1"""
_AT = "SELECT at FROM $.event WHERE conversation = ? AND bucket = ? AND seq = ?"


async def attention(db: Cassandra, asked: Sequence[tuple[str, str, int]]) -> list[Attention]:
    """See :meth:`Store.attention`."""
    if not asked:
        return []
    users = list(dict.fromkeys(user for user, _, _ in asked))
    own = dict(zip(users, await gather(flags.all_of(db, user) for user in users), strict=True))
    marks = await marks_of(db, [(conversation, user) for user, conversation, _ in asked])
    mentions = await db.each(_MENTION, [(conversation, user, seq) for user, conversation, seq in asked])
    times = await db.each(_AT, [(conversation, seq // BUCKET, seq) for _, conversation, seq in asked])
    return [
        Attention(
            max(mark.read, mark.sent),
            set_.muted_until,
            set_.archived,
            mention[0][0] if mention else 0,
            max((at or 0 for (at,) in time), default=0),
        )
        for mark, set_, mention, time in zip(
            marks,
            (own[user].get(conversation, flags.NONE) for user, conversation, _ in asked),
            mentions,
            times,
            strict=True,
        )
    ]
