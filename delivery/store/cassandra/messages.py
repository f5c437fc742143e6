"""Messages by their ids: where each is, once its rows are durable."""

from __future__ import annotations

from collections.abc import Iterable

from delivery.store.cassandra.session import Cassandra

_MESSAGES = """SELECT message_id, sender, conversation, seq, at, body_hash, withheld FROM $.message
    WHERE message_id IN ?"""
#: Ids of one read: more partitions cost the node that asks for them more than a second request costs us.
_AT_ONCE = 16

#: (sender, message_id) → conversation, seq, at, body_hash, withheld
Known = dict[tuple[str, str], tuple[str, int, int, bytes, bool]]


async def known(session: Cassandra, message_ids: Iterable[str]) -> Known:
    """The messages with these ids, of whatever sender."""
    ids = list(dict.fromkeys(message_ids))
    found = await session.each(
        _MESSAGES, [(ids[start : start + _AT_ONCE],) for start in range(0, len(ids), _AT_ONCE)]
    )
    return {
        (sender, one): (conversation, seq, at, body_hash, bool(withheld))
        for there in found
        for one, sender, conversation, seq, at, body_hash, withheld in there
        if seq is not None and body_hash is not None  # or reads of some columns have left that much of it
    }
