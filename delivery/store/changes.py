"""Events that change who is in a conversation, or say what changed about it, in one transaction with the change itself."""

from __future__ import annotations

from collections.abc import Sequence

from delivery.store import door
from delivery.store.operation import Operation, Query, numbers, uuids
from delivery.store.values import Change, Changed, RosterHead, TimerSet

_CREATE = """INSERT INTO delivery_head (conversation, kind, created_at) VALUES (%s::uuid, 'group', %s::bigint)
ON CONFLICT DO NOTHING"""

#: The device of events that no device sent: every device of every member is told.
NO_DEVICE = "00000000-0000-0000-0000-000000000000"


def create_group(conversation: str, now: int) -> Operation[None]:
    """See :meth:`Store.create_group`."""
    door.check(conversation)
    yield Query(_CREATE, (conversation, now))


_LOCK = "SELECT head, ordinal FROM delivery_head WHERE conversation = %s::uuid FOR NO KEY UPDATE"

_STORED = """SELECT c.seq FROM unnest(%s::uuid[]) WITH ORDINALITY r (message_id, i)
JOIN delivery_event c ON c.message_id = r.message_id AND c.sender = %s::uuid AND c.conversation = %s::uuid ORDER BY r.i"""

_EVENTS = """
INSERT INTO delivery_event (seq, ordinal, at, sent_at, seq_num, conversation, sender, device, message_id, kind, body_hash,
                            content, extra)
SELECT c.seq, %(ordinal)s::bigint, %(now)s::bigint, %(now)s::bigint, 0, %(conversation)s::uuid, %(sender)s::uuid,
       %(device)s::uuid, c.message_id, c.kind, decode(repeat('00', 16), 'hex'), ''::bytea, c.extra
FROM unnest(%(seqs)s::bigint[], %(ids)s::uuid[], %(kinds)s::text[], %(extras)s::bytea[]) c (seq, message_id, kind, extra)"""

_JOIN = """
INSERT INTO delivery_member (joined_seq, conversation, member)
SELECT j.seq, %(conversation)s::uuid, j.member FROM unnest(%(seqs)s::bigint[], %(members)s::uuid[]) j (seq, member)
WHERE NOT EXISTS (
    SELECT FROM delivery_member m
    WHERE m.conversation = %(conversation)s::uuid AND m.member = j.member AND m.left_seq = 0)
RETURNING 1"""

_LEAVE = """
UPDATE delivery_member m SET left_seq = l.seq
FROM unnest(%(seqs)s::bigint[], %(members)s::uuid[]) l (seq, member)
WHERE m.conversation = %(conversation)s::uuid AND m.member = l.member AND m.left_seq = 0
RETURNING 1"""

_SPEAK = """
UPDATE delivery_member SET speaker = %(speaker)s
WHERE conversation = %(conversation)s::uuid AND member = ANY (%(members)s::uuid[]) AND left_seq = 0"""

_FINISH = """
WITH moved AS (
    UPDATE delivery_head SET head = %(head)s::bigint, roster_seq = greatest(roster_seq, %(roster)s::bigint),
           members = members + %(more)s::integer, restricted = coalesce(%(restricted)s::boolean, restricted),
           oldest_at = coalesce(oldest_at, %(now)s::bigint)
    WHERE conversation = %(conversation)s::uuid
)
INSERT INTO delivery_outbox (at, writer, conversations, seqs)
VALUES (%(now)s::bigint, %(writer)s::uuid, ARRAY[%(conversation)s::uuid], ARRAY[%(head)s::bigint]) RETURNING "row" """


def change(
    writer: str, conversation: str, sender: str, changes: Sequence[Change], now: int
) -> Operation[Changed]:
    """See :meth:`Store.change`."""
    door.check_changes(conversation, changes)
    locked = yield Query(_LOCK, (conversation,))
    if not locked or not changes:
        return Changed([], 0)
    ids = uuids(one.message_id for one in changes)
    stored = yield Query(_STORED, (ids, sender, conversation))
    if stored:
        return Changed([row[0] for row in stored], 0)
    head, ordinal = locked[0]
    seqs = list(range(head + 1, head + 1 + len(changes)))
    yield Query(
        _EVENTS,
        {
            "conversation": conversation,
            "sender": sender,
            "device": NO_DEVICE,
            "ordinal": ordinal,
            "now": now,
            "seqs": numbers(seqs),
            "ids": ids,
            "kinds": [one.kind for one in changes],
            "extras": [one.extra for one in changes],
        },
    )
    joins = [(seq, user) for seq, one in zip(seqs, changes, strict=True) for user in one.joins]
    leaves = [(seq, user) for seq, one in zip(seqs, changes, strict=True) for user in one.leaves]
    more = 0
    for sql, sign, moved in ((_JOIN, 1, joins), (_LEAVE, -1, leaves)):
        if moved:
            members = uuids(user for _, user in moved)
            rows = yield Query(
                sql,
                {"conversation": conversation, "seqs": numbers(seq for seq, _ in moved), "members": members},
            )
            more += sign * len(rows)
    # Joined first, so that who comes as a speaker is one.
    for one in changes:
        for speaker, of in ((True, one.speak), (False, one.listen)):
            if of:
                yield Query(_SPEAK, {"conversation": conversation, "speaker": speaker, "members": uuids(of)})
    roster = max((seq for seq, one in zip(seqs, changes, strict=True) if _of_members(one)), default=0)
    finish = {
        "conversation": conversation,
        "head": seqs[-1],
        "roster": roster,
        "more": more,
        "restricted": next((one.restricted for one in reversed(changes) if one.restricted is not None), None),
        "now": now,
        "writer": writer,
    }
    rows = yield Query(_FINISH, finish)
    return Changed(seqs, rows[0][0])


def _of_members(one: Change) -> bool:
    """Whether a list of the members that was read before says something else now."""
    return bool(one.joins or one.leaves or one.speak or one.listen or one.restricted is not None)


_TIMER = """SELECT o_seq, o_row, o_withheld
FROM delivery_set_timer(%s::uuid, %s::uuid, %s::uuid, %s::uuid, %s::uuid, %s::integer, %s::bytea, %s::bigint)"""


def set_timer(
    writer: str, conversation: str, sender: str, message_id: str, seconds: int, extra: bytes, now: int
) -> Operation[TimerSet | None]:
    """See :meth:`Store.set_timer`."""
    door.check(conversation)
    rows = yield Query(_TIMER, (writer, conversation, sender, NO_DEVICE, message_id, seconds, extra, now))
    seq, row, withheld = rows[0]
    return None if seq is None else TimerSet(seq, row, withheld)


_HEADS = "SELECT conversation::text, head, roster_seq, members FROM delivery_head WHERE conversation = ANY (%s::uuid[])"


def roster_heads(ids: Sequence[str]) -> Operation[dict[str, RosterHead]]:
    """See :meth:`Store.roster_heads`."""
    if not ids:
        return {}
    return {
        conversation: RosterHead(head, changed, members)
        for conversation, head, changed, members in (yield Query(_HEADS, (uuids(ids),)))
    }
