"""Who is in which conversation."""

from __future__ import annotations

from collections.abc import Sequence

from delivery.store import door, flags, unread
from delivery.store.log import logged
from delivery.store.operation import Operation, Query, uuids
from delivery.store.values import Conversation, Interval, ListedConversation

_DIRECT = "SELECT conversation::text FROM delivery_direct WHERE low = %s::uuid AND high = %s::uuid"

_MAKE_DIRECT = """
WITH made AS (
    INSERT INTO delivery_direct (low, high, conversation) VALUES (%(low)s::uuid, %(high)s::uuid, %(id)s::uuid)
    ON CONFLICT DO NOTHING RETURNING low, high, conversation
), head AS (
    INSERT INTO delivery_head (conversation, kind, created_at) SELECT conversation, 'direct', %(now)s::bigint FROM made
), members AS (
    INSERT INTO delivery_member (conversation, member, joined_seq)
    SELECT conversation, low, 1 FROM made UNION SELECT conversation, high, 1 FROM made
)
SELECT conversation::text FROM made"""


def ensure_direct(a: str, b: str, new_id: str, now: int) -> Operation[str]:
    """See :meth:`Store.ensure_direct`. Of several at once one makes it; the others wait for its commit and read it."""
    low, high = sorted((a, b))
    while True:
        rows = yield Query(_DIRECT, (low, high))
        if rows:
            return rows[0][0]
        door.check(new_id)
        rows = yield Query(_MAKE_DIRECT, {"low": low, "high": high, "id": new_id, "now": now})
        if rows:
            return rows[0][0]


# One statement is one snapshot: the intervals are as of this head (R17).
_CONVERSATIONS = """
SELECT h.conversation::text, h.kind, h.head, m.member::text, m.joined_seq, m.left_seq,
       h.restricted, m.speaker AND m.left_seq = 0, m.unaccepted
FROM delivery_head h LEFT JOIN delivery_member m ON m.conversation = h.conversation
WHERE h.conversation = ANY (%s::uuid[])
ORDER BY h.conversation, m.member, m.joined_seq"""


def conversations(ids: Sequence[str]) -> Operation[dict[str, Conversation]]:
    """See :meth:`Store.conversations`."""
    if not ids:
        return {}
    heads: dict[str, tuple[str, int]] = {}
    members: dict[str, list[Interval]] = {}
    speakers: dict[str, set[str]] = {}
    unaccepted: dict[str, frozenset[str]] = {}
    rows = yield Query(_CONVERSATIONS, (uuids(ids),))
    for conversation, kind, head, user, joined, left, restricted, speaks, stranger in rows:
        if stranger:
            unaccepted[conversation] = unaccepted.get(conversation, frozenset()) | {user}
        heads[conversation] = (kind, head)
        if restricted:
            speaking = speakers.setdefault(conversation, set())
            if speaks:
                speaking.add(user)
        intervals = members.setdefault(conversation, [])
        if user is not None:
            intervals.append(Interval(user, joined, left))
    return {
        conversation: Conversation(
            conversation,
            kind,
            head,
            tuple(members[conversation]),
            frozenset(speakers[conversation]) if conversation in speakers else None,
            unaccepted.get(conversation, frozenset()),
        )
        for conversation, (kind, head) in heads.items()
    }


_LISTED = f"""
WITH mine AS (
    SELECT m.conversation, m.joined_seq, m.left_seq, m.unaccepted, {unread.LAST} AS last
    FROM delivery_member m JOIN delivery_head h ON h.conversation = m.conversation
    WHERE m.member = %(user)s::uuid AND m.conversation IN (
        SELECT DISTINCT conversation FROM delivery_member
        WHERE member = %(user)s::uuid AND (%(after)s::uuid IS NULL OR conversation > %(after)s::uuid)
        ORDER BY conversation LIMIT %(limit)s::bigint)
), listed AS (
    SELECT i.conversation, coalesce(max(i.last) FILTER (WHERE i.joined_seq <= h.head), 0) AS owed,
           sum({unread.messages("%(user)s::uuid")}) AS unread, sum({unread.mentioning("%(user)s::uuid")}) AS mentioned,
           coalesce(max(r.delivered), 0) AS delivered, coalesce(max(r.read), 0) AS read,
           coalesce(max(r.changed_at), 0) AS receipt_at, bool_or(i.left_seq = 0) AS member,
           bool_or(i.unaccepted) AS unaccepted
    FROM mine i JOIN delivery_head h ON h.conversation = i.conversation
    LEFT JOIN delivery_receipt r ON r.conversation = i.conversation AND r.member = %(user)s::uuid
    CROSS JOIN LATERAL (SELECT {unread.START} AS start) p
    GROUP BY i.conversation
)
SELECT l.conversation::text, h.kind, l.owed, l.unread::bigint, l.delivered, l.read, l.receipt_at, l.mentioned::bigint,
       CASE WHEN l.member THEN coalesce((
           SELECT w.timer FROM delivery_withheld w
           WHERE h.withholds AND w.conversation = l.conversation AND w.sender = %(user)s::uuid), h.timer, 0) ELSE 0 END,
       l.unaccepted AND l.owed > 0, {flags.COLUMNS},
       (SELECT array_agg(DISTINCT o.member::text) FROM delivery_member o
        WHERE h.kind = 'direct' AND o.conversation = l.conversation AND o.member <> %(user)s::uuid),
       e.seq, e.ordinal, e.sender::text, e.device::text, e.message_id::text, e.kind,
       CASE WHEN e.edited > l.owed THEN NULL ELSE e.content END, e.sent_at, e.at,
       e.seq_num, e.extra, e.envelopes, coalesce(e.edited <= l.owed, false), coalesce(e.until, 0)
FROM listed l JOIN delivery_head h ON h.conversation = l.conversation
LEFT JOIN delivery_flags f ON f.member = %(user)s::uuid AND f.conversation = l.conversation
LEFT JOIN delivery_event e ON e.conversation = l.conversation AND e.seq = l.owed
ORDER BY l.conversation"""


def listed(user: str, limit: int, after: str) -> Operation[list[ListedConversation]]:
    """See :meth:`Store.listed`."""
    rows = yield Query(_LISTED, {"user": user, "after": after or None, "limit": limit})
    found = []
    for (
        conversation,
        kind,
        head,
        count,
        delivered,
        read,
        receipt_at,
        mentioned,
        timer,
        request,
        *rest,
    ) in rows:
        own, peers, event = rest[:6], rest[6], rest[7:]
        last = logged(conversation, event) if event[0] is not None else None
        found.append(
            ListedConversation(
                conversation,
                kind,
                head,
                count,
                last,
                tuple(peers or ()),
                delivered,
                read,
                receipt_at,
                mentioned,
                timer,
                flags.read(own),
                request,
            )
        )
    return found


_PEERS = """
SELECT DISTINCT o.member::text FROM delivery_member m
JOIN delivery_head h ON h.conversation = m.conversation AND h.kind = 'direct'
JOIN delivery_member o ON o.conversation = m.conversation
WHERE m.member = %(user)s::uuid AND o.member <> m.member AND o.member > %(after)s::uuid
ORDER BY 1 LIMIT %(limit)s::bigint"""


def direct_peers(user: str, limit: int, after: str) -> Operation[list[str]]:
    """See :meth:`Store.direct_peers`."""
    rows = yield Query(_PEERS, {"user": user, "after": after, "limit": limit})
    return [row[0] for row in rows]
