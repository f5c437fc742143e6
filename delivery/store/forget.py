"""A user who is gone for good leaves no trace in the engine."""

from __future__ import annotations

from collections.abc import Sequence

from delivery.store.operation import Operation, Query, uuids
from delivery.store.values import Forgotten

# Nothing of theirs may be there any more that somebody is owed: of a direct conversation, what the two wrote before the end; of a
# group, everything up to the event with which they left. Ages end it (``delivery_expire``).
_READY = """
SELECT m.conversation::text, h.kind FROM delivery_member m JOIN delivery_head h ON h.conversation = m.conversation
WHERE m.member = %(user)s::uuid
GROUP BY m.conversation, h.kind, h.oldest_at, h.floor
HAVING CASE WHEN h.kind = 'direct' THEN coalesce(h.oldest_at > %(ended)s::bigint, true)
            ELSE bool_and(m.left_seq BETWEEN 1 AND h.floor) END
ORDER BY m.conversation LIMIT %(limit)s::bigint"""
# In their order, as whoever appends locks them.
_LOCK = "SELECT 1 FROM delivery_head WHERE conversation = ANY (%s::uuid[]) ORDER BY conversation FOR UPDATE"

_PEOPLE = "SELECT DISTINCT member::text FROM delivery_member WHERE conversation = ANY (%s::uuid[])"
_DIRECT = """
DELETE FROM delivery_direct d USING (
    SELECT array_agg(member ORDER BY member) AS pair FROM delivery_member WHERE conversation = ANY (%s::uuid[])
    GROUP BY conversation) p
WHERE d.low = p.pair[1] AND d.high = p.pair[array_upper(p.pair, 1)]"""
_OF_CONVERSATION = (
    "delivery_event", "delivery_mention", "delivery_receipt", "delivery_withheld", "delivery_member", "delivery_head",
)  # fmt: skip
_OF_DEVICES = ("delivery_position", "delivery_seqnum")

_OF_MEMBER = ("delivery_mention", "delivery_receipt", "delivery_member")
_EMPTY = """
SELECT h.conversation::text FROM delivery_head h
WHERE h.conversation = ANY (%s::uuid[]) AND h.floor = h.head
  AND NOT EXISTS (SELECT FROM delivery_member m WHERE m.conversation = h.conversation)"""
_ALONE = (
    "DELETE FROM delivery_flags WHERE member = %(user)s::uuid",
    "DELETE FROM delivery_moved_copy WHERE kind = 'flags' AND key = %(user)s::uuid",
    "DELETE FROM delivery_moved_copy WHERE kind = 'device' AND key = ANY (%(devices)s::uuid[])",
    "DELETE FROM delivery_device WHERE member = %(user)s::uuid",
    "DELETE FROM delivery_position WHERE device = ANY (%(devices)s::uuid[])",
    "DELETE FROM delivery_seqnum WHERE device = ANY (%(devices)s::uuid[])",
)
_LEFT = "SELECT count(DISTINCT conversation) FROM delivery_member WHERE member = %s::uuid"


def forget_user(user: str, devices: Sequence[str], ended_at: int, limit: int) -> Operation[Forgotten]:
    """See :meth:`Store.forget_user`. Runs in a transaction."""
    rows = yield Query(_READY, {"user": user, "ended": ended_at, "limit": limit})
    direct = [conversation for conversation, kind in rows if kind == "direct"]
    groups = [conversation for conversation, kind in rows if kind != "direct"]
    yield Query(_LOCK, (uuids(sorted(direct + groups)),))
    if direct:
        people = [person for (person,) in (yield Query(_PEOPLE, (uuids(direct),)))]
        yield Query(_DIRECT, (uuids(direct),))
        yield from _delete_flags(people, direct)
        yield from _delete_wholly(direct, people)
    if groups:
        for table in _OF_MEMBER:
            yield Query(
                f"DELETE FROM {table} WHERE conversation = ANY (%s::uuid[]) AND member = %s::uuid",
                (uuids(groups), user),
            )
        empty = [conversation for (conversation,) in (yield Query(_EMPTY, (uuids(groups),)))]
        if empty:
            yield from _delete_wholly(empty, [])
    for statement in _ALONE:
        yield Query(statement, {"user": user, "devices": uuids(devices)})
    ((left,),) = yield Query(_LEFT, (user,))
    return Forgotten(len(rows), left)


def _delete_flags(people: Sequence[str], conversations: Sequence[str]) -> Operation[None]:
    yield Query(
        "DELETE FROM delivery_flags WHERE member = ANY (%s::uuid[]) AND conversation = ANY (%s::uuid[])",
        (uuids(people), uuids(conversations)),
    )


def _delete_wholly(conversations: Sequence[str], people: Sequence[str]) -> Operation[None]:
    """``people``: whose devices have places in them."""
    for table in _OF_DEVICES:
        if people:
            yield Query(
                f"DELETE FROM {table} WHERE conversation = ANY (%s::uuid[])"
                " AND device IN (SELECT device FROM delivery_device WHERE member = ANY (%s::uuid[]))",
                (uuids(conversations), uuids(people)),
            )
    for table in _OF_CONVERSATION:
        yield Query(f"DELETE FROM {table} WHERE conversation = ANY (%s::uuid[])", (uuids(conversations),))
