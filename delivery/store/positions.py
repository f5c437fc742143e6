"""How far devices and users are: acknowledged positions and receipts."""

from __future__ import annotations

from collections.abc import Sequence

from delivery.store import door
from delivery.store.operation import Operation, Query, numbers, uuids
from delivery.store.unread import LAST
from delivery.store.values import (
    RECEIPTS_EACH,
    Behind,
    MemberReceipt,
    Position,
    PositionWrite,
    Receipt,
    ReceiptCount,
    ReceiptWrite,
)

# Owed end and start of every conversation of each user named, with the position of a linked device. A device that is not linked
# has no position, so it gets no rows.
_FOR_DEVICE = """
SELECT r.i, o.conversation::text, greatest(p.acked, o.start), coalesce(o.owed, 0), coalesce(p.expired, 0)
FROM {named}
JOIN delivery_device d ON d.device = r.device AND d.member = r.member
JOIN LATERAL (
    SELECT m.conversation, min(m.joined_seq) - 1 AS start, max(h.floor) AS floor,
           max({last}) FILTER (WHERE m.joined_seq <= h.head) AS owed
    FROM delivery_member m JOIN delivery_head h ON h.conversation = m.conversation
    WHERE m.member = r.member {only}
    GROUP BY m.conversation
) o ON true
LEFT JOIN delivery_position p ON p.device = d.device AND p.conversation = o.conversation
{having}"""

_POSITIONS = _FOR_DEVICE.format(
    last=LAST,
    named="(SELECT %(user)s::uuid AS member, %(device)s::uuid AS device, 1 AS i) r",
    only="AND m.conversation = ANY (%(conversations)s::uuid[])",
    having="",
)
_BEHIND = _FOR_DEVICE.format(
    last=LAST,
    named="unnest(%s::uuid[], %s::uuid[]) WITH ORDINALITY r (member, device, i)",
    only="",
    having="WHERE o.owed > greatest(p.acked, o.start, o.floor)",
)


def positions(user: str, device: str, conversations: Sequence[str]) -> Operation[dict[str, Position]]:
    """See :meth:`Store.positions`. Empty for a device that is not linked."""
    if not conversations:
        return {}
    rows = yield Query(_POSITIONS, {"user": user, "device": device, "conversations": uuids(conversations)})
    return {conversation: Position(acked, head, expired) for _, conversation, acked, head, expired in rows}


def behind(asked: Sequence[tuple[str, str]]) -> Operation[list[list[Behind]]]:
    """See :meth:`Store.behind_each`. Empty for a device that is not linked."""
    found: list[list[Behind]] = [[] for _ in asked]
    if asked:
        users, devices = zip(*asked, strict=True)
        for i, conversation, acked, head, _ in (yield Query(_BEHIND, (uuids(users), uuids(devices)))):
            found[i - 1].append(Behind(conversation, head, acked))
    return found


# The share lock on the device keeps a position from being written behind the back of an unlink. Rows are locked in the
# order of their keys, so that two gateways saving for the same user cannot wait for each other.
_SAVE = """
WITH device AS MATERIALIZED (
    SELECT device FROM delivery_device WHERE device = ANY (%s::uuid[]) ORDER BY device FOR KEY SHARE
), moved AS (
    INSERT INTO delivery_position AS p (acked, device, conversation)
    SELECT w.acked, w.device, w.conversation
    FROM unnest(%s::uuid[], %s::uuid[], %s::bigint[]) AS w (device, conversation, acked) JOIN device USING (device)
    ORDER BY w.device, w.conversation
    ON CONFLICT (device, conversation) DO UPDATE SET acked = excluded.acked WHERE p.acked < excluded.acked
), received AS (
    INSERT INTO delivery_receipt AS r (delivered, read, sent, changed_at, delivered_at, conversation, member)
    SELECT w.delivered, w.read, w.sent, CASE WHEN w.delivered > 0 OR w.read > 0 THEN t.now ELSE 0 END,
           CASE WHEN w.delivered > 0 THEN t.now ELSE 0 END, w.conversation, w.member
    FROM (SELECT %s::bigint AS now) t, unnest(%s::uuid[], %s::uuid[], %s::bigint[], %s::bigint[], %s::bigint[])
         AS w (conversation, member, delivered, read, sent)
    ORDER BY w.conversation, w.member
    ON CONFLICT (conversation, member) DO UPDATE
    SET delivered = greatest(r.delivered, excluded.delivered), read = greatest(r.read, excluded.read),
        sent = greatest(r.sent, excluded.sent),
        changed_at = CASE WHEN excluded.delivered > r.delivered OR excluded.read > r.read
                          THEN excluded.changed_at ELSE r.changed_at END,
        delivered_at = CASE WHEN excluded.delivered > r.delivered THEN excluded.changed_at ELSE r.delivered_at END
    WHERE excluded.delivered > r.delivered OR excluded.read > r.read OR excluded.sent > r.sent
)
SELECT {end}"""

#: Not waiting for the disk is right for these writes only, so it is said inside their own transaction.
_SAVE_ALONE = _SAVE.format(end="set_config('synchronous_commit', 'off', true)")
_SAVE_WITHIN = _SAVE.format(end="1")


def save(
    positions: Sequence[PositionWrite], receipts: Sequence[ReceiptWrite], now: int, alone: bool
) -> Operation[None]:
    """See :meth:`Store.save`. ``alone``: this statement is its own transaction."""
    positions, receipts = door.of_here(positions, receipts)
    acked: dict[tuple[str, str], int] = {}
    for device, conversation, seq in positions:
        key = (device, conversation)
        acked[key] = max(acked.get(key, 0), seq)
    marks: dict[tuple[str, str], tuple[int, int, int]] = {}
    for conversation, user, delivered, read, sent in receipts:
        key = (conversation, user)
        old = marks.get(key, (0, 0, 0))
        marks[key] = (max(old[0], delivered), max(old[1], read), max(old[2], sent))
    if not acked and not marks:
        return
    yield Query(
        _SAVE_ALONE if alone else _SAVE_WITHIN,
        (
            uuids({device for device, _ in acked}),
            uuids(device for device, _ in acked),
            uuids(conversation for _, conversation in acked),
            numbers(acked.values()),
            now,
            uuids(conversation for conversation, _ in marks),
            uuids(user for _, user in marks),
            numbers(mark[0] for mark in marks.values()),
            numbers(mark[1] for mark in marks.values()),
            numbers(mark[2] for mark in marks.values()),
        ),
    )


# What others are shown. While a block is in force that is what it was when it began.
_DELIVERED = "coalesce(r.shown_delivered, r.delivered)"
_READ = "coalesce(r.shown_read, r.read)"
_CHANGED = "coalesce(r.shown_at, r.changed_at)"
_DELIVERED_AT = "least(r.delivered_at, coalesce(r.shown_at, r.delivered_at))"

# Nothing to who has left: how far the others are tells how far the conversation has come. Nothing to whom the other has not
# accepted, either.
_OTHERS = f"""
SELECT r.conversation::text, r.member::text, {_DELIVERED}, {_READ}, {_CHANGED}, {_DELIVERED_AT}
FROM delivery_receipt r
WHERE r.conversation IN (
    SELECT m.conversation FROM delivery_member m JOIN delivery_head h ON h.conversation = m.conversation
    WHERE m.member = %(user)s::uuid AND m.left_seq = 0 AND h.members <= {RECEIPTS_EACH} {{only}})
  AND r.member <> %(user)s::uuid AND {_CHANGED} >= %(since)s::bigint AND ({_DELIVERED} > 0 OR {_READ} > 0)
  AND NOT EXISTS (SELECT FROM delivery_member q
                  WHERE q.conversation = r.conversation AND q.member = r.member AND q.unaccepted)
ORDER BY {_CHANGED} DESC, r.conversation, r.member {{limit}}"""

# What the user has read on another device. How far the other has come in receiving is nothing to this one.
_OWN = """
SELECT r.conversation::text, r.member::text, 0::bigint, r.read, r.changed_at, 0::bigint
FROM delivery_receipt r
WHERE r.conversation IN (SELECT m.conversation FROM delivery_member m WHERE m.member = %(user)s::uuid {only})
  AND r.member = %(user)s::uuid AND r.changed_at >= %(since)s::bigint AND r.read > 0
ORDER BY r.changed_at DESC, r.conversation {limit}"""

_RECEIPTS = f"({_OTHERS}) UNION ALL ({_OWN})"
_RECEIPTS_OF = _RECEIPTS.format(only="AND m.conversation = ANY (%(conversations)s::uuid[])", limit="")
_RECEIPTS_ALL = _RECEIPTS.format(only="", limit="LIMIT 500")


def receipts(conversations: Sequence[str], user: str, since: int) -> Operation[list[Receipt]]:
    """See :meth:`Store.receipts`. The others' newest first, then one's own."""
    params = {"user": user, "since": since, "conversations": uuids(conversations)}
    rows = yield Query(_RECEIPTS_OF if conversations else _RECEIPTS_ALL, params)
    return [Receipt(*row) for row in rows]


# A receipt counts for an event only if its user is owed the event: who joined later has receipts above it too.
_OWED = """
FROM delivery_member m LEFT JOIN delivery_receipt r ON r.conversation = m.conversation AND r.member = m.member
WHERE m.conversation = {conversation} AND m.member <> {user}
  AND m.joined_seq <= {seq} AND (m.left_seq = 0 OR m.left_seq >= {seq})"""

_COUNTS = f"""
SELECT c.delivered, c.read
FROM unnest(%s::uuid[], %s::uuid[], %s::bigint[]) WITH ORDINALITY AS e (conversation, member, seq, i)
CROSS JOIN LATERAL (
    SELECT count(*) FILTER (WHERE r.delivered >= e.seq) AS delivered, count(*) FILTER (WHERE r.read >= e.seq) AS read
    {_OWED.format(conversation="e.conversation", user="e.member", seq="e.seq")}
) c ORDER BY e.i"""


def receipt_counts(events: Sequence[tuple[str, str, int]]) -> Operation[list[ReceiptCount]]:
    """See :meth:`Store.receipt_counts`."""
    if not events:
        return []
    conversation, user, seq = zip(*events, strict=True)
    rows = yield Query(_COUNTS, (uuids(conversation), uuids(user), numbers(seq)))
    return [ReceiptCount(*row) for row in rows]


_EACH = f"""
SELECT m.member::text, NOT m.unaccepted AND coalesce({_DELIVERED}, 0) >= %(seq)s::bigint,
       NOT m.unaccepted AND coalesce({_READ}, 0) >= %(seq)s::bigint
{_OWED.format(conversation="%(conversation)s::uuid", user="%(user)s::uuid", seq="%(seq)s::bigint")}
  AND (%(after)s::uuid IS NULL OR m.member > %(after)s::uuid)
ORDER BY m.member LIMIT %(limit)s::bigint"""


def message_receipts(
    conversation: str, user: str, seq: int, after: str, limit: int
) -> Operation[list[MemberReceipt]]:
    """See :meth:`Store.message_receipts`."""
    params = {
        "conversation": conversation,
        "user": user,
        "seq": seq,
        "after": after or None,
        "limit": limit,
    }
    return [MemberReceipt(*row) for row in (yield Query(_EACH, params))]
