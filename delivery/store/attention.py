"""What decides whether a user wants to hear of something in a conversation: what was read, muted, archived, who was mentioned."""

from __future__ import annotations

from collections.abc import Sequence

from delivery.store.operation import Operation, Query, numbers, uuids
from delivery.store.values import Attention

_ATTENTION = """
SELECT greatest(coalesce(r.read, 0), coalesce(r.sent, 0)), coalesce(f.muted_until, 0), coalesce(f.archived, false),
       coalesce((SELECT max(n.seq) FROM delivery_mention n
                 WHERE n.conversation = a.conversation AND n.member = a.member AND n.seq <= a.seq), 0),
       coalesce(e.at, 0)
FROM unnest(%s::uuid[], %s::uuid[], %s::bigint[]) WITH ORDINALITY AS a (member, conversation, seq, i)
LEFT JOIN delivery_receipt r ON r.conversation = a.conversation AND r.member = a.member
LEFT JOIN delivery_flags f ON f.member = a.member AND f.conversation = a.conversation
LEFT JOIN delivery_event e ON e.conversation = a.conversation AND e.seq = a.seq
ORDER BY a.i"""


def attention(asked: Sequence[tuple[str, str, int]]) -> Operation[list[Attention]]:
    """See :meth:`Store.attention`."""
    if not asked:
        return []
    users, conversations, seqs = zip(*asked, strict=True)
    rows = yield Query(_ATTENTION, (uuids(users), uuids(conversations), numbers(seqs)))
    return [Attention(*row) for row in rows]
