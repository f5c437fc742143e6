"""What the store knows of one message, for ``manage.py trace``. Read-only, no contents, and not on any path of a message."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from delivery.store.operation import Operation, Query, uuids
from delivery.store.values import Interval

#: Rows of one answer: a message id has one row a sender, and a group has at most 1,024 members.
MAX_ROWS = 20
MAX_MEMBERS = 2_000


class Place(NamedTuple):
    """Where a message is, and all of it but its contents. ``size``: bytes of its content; ``sent_at`` is the client's clock."""

    conversation: str
    seq: int
    message_id: str
    at: int
    sent_at: int
    sender: str
    device: str
    kind: str
    seq_num: int
    size: int
    deleted: bool
    withheld: bool  # owed to its sender alone


class Head(NamedTuple):
    kind: str
    head: int
    floor: int


class OutboxPlace(NamedTuple):
    writer: str
    row: int
    at: int
    up_to: int  # highest seq of the conversation in that batch


class Watermark(NamedTuple):
    epoch: str
    row: int
    at: int


class DeviceState(NamedTuple):
    user: str
    device: str
    linked_at: int
    acked: int | None  # None: no position was ever written
    expired: int


class UserState(NamedTuple):
    delivered: int
    read: int
    changed_at: int


_PLACE = """
SELECT conversation::text, seq, message_id::text, at, sent_at, sender::text, device::text, kind, seq_num,
       coalesce(octet_length(content), 0), content IS NULL, withheld IS NOT NULL
FROM delivery_event WHERE {which} ORDER BY at, conversation, seq LIMIT %s"""
_BY_MESSAGE = _PLACE.format(which="message_id = %s::uuid")
_BY_SEQ = _PLACE.format(which="conversation = %s::uuid AND seq = %s")


def by_message(message_id: str) -> Operation[list[Place]]:
    """Every event with this message id: one a sender."""
    return [Place(*row) for row in (yield Query(_BY_MESSAGE, (message_id, MAX_ROWS)))]


def by_seq(conversation: str, seq: int) -> Operation[list[Place]]:
    return [Place(*row) for row in (yield Query(_BY_SEQ, (conversation, seq, 1)))]


def head(conversation: str) -> Operation[Head | None]:
    rows = yield Query(
        "SELECT kind, head, floor FROM delivery_head WHERE conversation = %s::uuid", (conversation,)
    )
    return Head(*rows[0]) if rows else None


_MEMBERS = """SELECT member::text, joined_seq, left_seq FROM delivery_member WHERE conversation = %s::uuid
ORDER BY joined_seq, member LIMIT %s"""


def members(conversation: str) -> Operation[list[Interval]]:
    return [Interval(*row) for row in (yield Query(_MEMBERS, (conversation, MAX_MEMBERS)))]


# A batch's events and its outbox row carry the same time.
_OUTBOX = """
SELECT o.writer::text, o."row", o.at, s.seq
FROM delivery_outbox o CROSS JOIN LATERAL unnest(o.conversations, o.seqs) AS s (conversation, seq)
WHERE o.at = %s AND s.conversation = %s::uuid AND s.seq >= %s ORDER BY s.seq LIMIT 1"""


def outbox(conversation: str, seq: int, at: int) -> Operation[OutboxPlace | None]:
    """The outbox row of the batch that stored this event; None once it was trimmed."""
    rows = yield Query(_OUTBOX, (at, conversation, seq))
    return OutboxPlace(*rows[0]) if rows else None


def watermarks(writer: str) -> Operation[list[Watermark]]:
    """Newest first."""
    sql = 'SELECT epoch, "row", at FROM delivery_progress WHERE writer = %s::uuid ORDER BY at DESC LIMIT 20'
    return [Watermark(*row) for row in (yield Query(sql, (writer,)))]


_DEVICES = """
SELECT d.member::text, d.device::text, d.linked_at, p.acked, coalesce(p.expired, 0)
FROM delivery_device d LEFT JOIN delivery_position p ON p.device = d.device AND p.conversation = %s::uuid
WHERE d.member = ANY (%s::uuid[]) ORDER BY d.member, d.linked_at, d.device"""


def devices(conversation: str, users: Sequence[str]) -> Operation[list[DeviceState]]:
    """The linked devices of these users, with their positions in the conversation."""
    return [DeviceState(*row) for row in (yield Query(_DEVICES, (conversation, uuids(users))))]


_RECEIPTS = """SELECT member::text, delivered, read, changed_at FROM delivery_receipt
WHERE conversation = %s::uuid AND member = ANY (%s::uuid[])"""


def receipts(conversation: str, users: Sequence[str]) -> Operation[dict[str, UserState]]:
    rows = yield Query(_RECEIPTS, (conversation, uuids(users)))
    return {member: UserState(*state) for member, *state in rows}
