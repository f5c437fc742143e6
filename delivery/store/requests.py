"""Message requests: who has not accepted the other user of a direct conversation yet."""

from __future__ import annotations

from collections.abc import Sequence

from delivery.store.operation import Operation, Query, uuids

_REQUEST = """UPDATE delivery_member SET unaccepted = true
WHERE conversation = %s::uuid AND member = ANY (%s::uuid[]) AND left_seq = 0"""


def request(conversation: str, members: Sequence[str]) -> Operation[None]:
    """See :meth:`Store.request`."""
    if members:
        yield Query(_REQUEST, (conversation, uuids(members)))


_WAITING = """
SELECT m.conversation::text, o.member::text
FROM (
    SELECT unnest(%(conversations)s::uuid[]) AS conversation
    UNION
    SELECT d.conversation FROM unnest(%(others)s::uuid[]) u (id)
    JOIN delivery_direct d ON d.low = least(u.id, %(user)s::uuid) AND d.high = greatest(u.id, %(user)s::uuid)
) c
JOIN delivery_member m ON m.conversation = c.conversation AND m.member = %(user)s::uuid AND m.unaccepted
JOIN delivery_member o ON o.conversation = c.conversation AND o.member <> %(user)s::uuid"""

_ACCEPT = "SELECT delivery_accept(%s::uuid[], %s::uuid[], %s::bigint)::text[]"


def accept(
    user: str, now: int, conversations: Sequence[str], others: Sequence[str]
) -> Operation[list[tuple[str, str]]]:
    """See :meth:`Store.accept`."""
    waiting = dict(
        (
            yield Query(
                _WAITING, {"user": user, "conversations": uuids(conversations), "others": uuids(others)}
            )
        )
    )
    if not waiting:
        return []
    rows = yield Query(_ACCEPT, (uuids(waiting), uuids([user] * len(waiting)), now))
    return [(conversation, waiting[conversation]) for conversation in rows[0][0] or ()]
