"""What a user has not read: the parts of it that several statements share, and the number on the badge.

Unread is counted in each interval of a membership for itself: what was said while the user was away is not owed. In all of the
SQL here ``i`` is an interval with ``last``, the end of it as of now, ``h`` the head of its conversation, and ``p.start`` what
is read.
"""

from __future__ import annotations

from collections.abc import Sequence

from delivery.store.operation import Operation, Query, uuids


def ordinal(seq: str) -> str:
    """SQL: messages up to ``seq`` of the conversation whose head row is ``h``. Events below the floor are gone."""
    return f"""CASE WHEN {seq} <= h.floor THEN h.floor_ordinal WHEN {seq} >= h.head THEN h.ordinal
        ELSE (SELECT v.ordinal FROM delivery_event v WHERE v.conversation = h.conversation AND v.seq = {seq}) END"""


#: The end of an interval ``m`` as of now.
LAST = """least(CASE WHEN h.withholds THEN delivery_owed(m.conversation, m.member, h.head) ELSE h.head END,
    CASE m.left_seq WHEN 0 THEN h.head ELSE m.left_seq END)"""

#: Where the unread part of an interval begins; ``r``: one's own receipt.
START = "greatest(r.read, r.sent, i.joined_seq - 1)"


def messages(user: str) -> str:
    """SQL: unread messages of an interval. What is withheld from the other has no ordinal; as long as one's own messages are not
    known to be read, those count too, or the number would tell of the block."""
    return f"""greatest(0, ({ordinal("i.last")}) - ({ordinal("p.start")})) + CASE WHEN h.withholds THEN (
        SELECT count(*) FROM delivery_event v WHERE v.conversation = i.conversation AND v.seq > p.start AND v.seq <= i.last
          AND v.withheld AND v.sender = {user}
          AND v.kind <> ALL ('{{edit,delete,reaction,member_added,member_removed,role,info,timer,vote}}')) ELSE 0 END"""


def mentioning(user: str) -> str:
    """SQL: those of them that mention ``user``, if their content is still there."""
    return f"""(SELECT count(*) FROM delivery_mention n
    WHERE n.conversation = i.conversation AND n.member = {user} AND n.seq > greatest(p.start, h.floor)
      AND n.seq <= i.last AND EXISTS (
        SELECT FROM delivery_event v WHERE v.conversation = n.conversation AND v.seq = n.seq AND v.content IS NOT NULL
        AND (v.withheld IS NULL OR v.sender = n.member)))"""


# Of what is read up to its end nothing is looked up: most conversations of most people.
_BADGES = f"""
SELECT i.member::text, sum(CASE WHEN f.archived OR f.muted_until > %(now)s::bigint
                                THEN {mentioning("i.member")} ELSE {messages("i.member")} END)::bigint
FROM (
    SELECT m.member, m.conversation, m.joined_seq, {LAST} AS last
    FROM delivery_member m JOIN delivery_head h ON h.conversation = m.conversation
    WHERE m.member = ANY (%(users)s::uuid[]) AND NOT m.unaccepted
) i
JOIN delivery_head h ON h.conversation = i.conversation
LEFT JOIN delivery_receipt r ON r.conversation = i.conversation AND r.member = i.member
LEFT JOIN delivery_flags f ON f.member = i.member AND f.conversation = i.conversation
CROSS JOIN LATERAL (SELECT {START} AS start) p
WHERE p.start < i.last
GROUP BY i.member"""


def badges(users: Sequence[str], now: int) -> Operation[dict[str, int]]:
    """See :meth:`Store.badges`."""
    if not users:
        return {}
    rows = yield Query(_BADGES, {"users": uuids(users), "now": now})
    return {**dict.fromkeys(users, 0), **dict(rows)}
