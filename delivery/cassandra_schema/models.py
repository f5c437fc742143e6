"""Cassandra tables of the delivery engine, for ``manage.py sync_cassandra``. Read and written by prepared statements in
:mod:`delivery.store.cassandra` only; never imported by a gateway or a worker, because the driver behind these models is not the
one of the message path.

What an operation must see in one step is one row: :class:`Conversation`, changed by compare and set on ``version``. The rest is
written with timestamps that ascend in each conversation, so a repeated or late write never undoes a later one. Times are
milliseconds since the epoch, a ``seq`` counts from 1 in its conversation; ``docs/subsystems/cassandra.md`` says why each table
is as it is.
"""

from __future__ import annotations

from typing import Any, ClassVar

from cassandra.cqlengine import columns
from cassandra.cqlengine.models import Model

_DAY_S = 86_400
#: Messages are kept for 30 days; rows about them one day longer, so that none outlives its index.
KEEP_S = 30 * _DAY_S
_INDEX_S = 31 * _DAY_S
_OUTBOX_S = 2 * 3_600
#: How long a deletion is remembered, so that a node that missed it learns of it (by hints, later by repair) and does not bring
#: back what was deleted. Short where nothing but age deletes, or what came back would say nothing.
_SHORT_GRACE_S = 3 * 3_600
_GRACE_S = 10 * _DAY_S


def _by_age(ttl: int, window: str = "DAYS", size: str = "1", grace: int = _SHORT_GRACE_S) -> dict[str, Any]:
    """Rows that are written once and go by age."""
    return {
        "default_time_to_live": ttl,
        "gc_grace_seconds": grace,
        "compaction": {
            "class": "TimeWindowCompactionStrategy",
            "compaction_window_unit": window,
            "compaction_window_size": size,
        },
    }


_LEVELED: dict[str, Any] = {"compaction": {"class": "LeveledCompactionStrategy"}}


class Conversation(Model):
    """The state document of a conversation (``delivery/store/cassandra/document.py``)."""

    __table_name__ = "conversation"
    __options__: ClassVar = _LEVELED
    conversation = columns.UUID(partition_key=True)
    version = columns.BigInt()
    document = columns.Blob()


class Event(Model):
    """One row of a conversation's log; ``bucket`` = seq div 4096. The message id is part of the key, so that two rows of one
    number, which only a lost counter could give, never overwrite each other."""

    __table_name__ = "event"
    __options__: ClassVar = _by_age(KEEP_S, grace=_GRACE_S)
    conversation = columns.UUID(partition_key=True)
    bucket = columns.BigInt(partition_key=True)
    seq = columns.BigInt(primary_key=True, clustering_order="ASC")
    message_id = columns.UUID(primary_key=True, clustering_order="ASC")
    ordinal = columns.BigInt()
    at = columns.BigInt()
    allocated_at = columns.BigInt()  # when its seq was given out (R25)
    base = (
        columns.BigInt()
    )  # numbers at or below that are not there are void: given out under an earlier lease
    sent_at = columns.BigInt()
    seq_num = columns.BigInt()
    sender = columns.UUID()
    device = columns.UUID()
    kind = columns.Text()
    body_hash = columns.Blob()
    content = columns.Blob()
    extra = columns.Blob()
    envelopes = columns.Blob()
    target = columns.BigInt()
    edited = columns.BigInt()
    superseded = columns.Boolean()
    withheld = columns.Boolean()
    replaced = columns.BigInt()
    until = columns.BigInt()


class Message(Model):
    """Where a message is: written once its row is durable, and before its sender is told (R23)."""

    __table_name__ = "message"
    __options__: ClassVar = _by_age(_INDEX_S)
    message_id = columns.UUID(partition_key=True)
    sender = columns.UUID(primary_key=True)
    conversation = columns.UUID()
    seq = columns.BigInt()
    at = columns.BigInt()
    body_hash = columns.Blob()
    withheld = columns.Boolean()


class About(Model):
    """What is in force about a message: its edits, reactions and votes."""

    __table_name__ = "about"
    __options__: ClassVar = _by_age(_INDEX_S, grace=_GRACE_S)
    conversation = columns.UUID(partition_key=True)
    target = columns.BigInt(partition_key=True)
    seq = columns.BigInt(primary_key=True)
    message_id = columns.UUID(primary_key=True)
    sender = columns.UUID()
    kind = columns.Text()
    content = columns.Blob()
    withheld = columns.Boolean()


class Direct(Model):
    """The one conversation of two users, ``low <= high``; made by ``IF NOT EXISTS``."""

    __table_name__ = "direct"
    __options__: ClassVar = _LEVELED
    low = columns.UUID(partition_key=True)
    high = columns.UUID(partition_key=True)
    conversation = columns.UUID()


class Member(Model):
    """One interval of a user's membership."""

    __table_name__ = "member"
    __options__: ClassVar = _LEVELED
    conversation = columns.UUID(partition_key=True)
    member = columns.UUID(primary_key=True)
    joined_seq = columns.BigInt(primary_key=True)
    left_seq = columns.BigInt()
    speaker = columns.Boolean()


class Roster(Model):
    """The same by user."""

    __table_name__ = "roster"
    __options__: ClassVar = _LEVELED
    member = columns.UUID(partition_key=True)
    conversation = columns.UUID(primary_key=True)
    joined_seq = columns.BigInt(primary_key=True)
    left_seq = columns.BigInt()
    kind = columns.Text()
    peer = columns.UUID()  # the other user of a direct conversation


class Device(Model):
    """The linked devices of a user."""

    __table_name__ = "device"
    __options__: ClassVar = _LEVELED
    member = columns.UUID(partition_key=True)
    device = columns.UUID(primary_key=True)
    linked_at = columns.BigInt()
    link = (
        columns.BigInt()
    )  # names its positions: those of an earlier link of the same device are not its own


class Linked(Model):
    """The life of a device, changed by conditional writes; one that has ended is remembered for ten days."""

    __table_name__ = "linked"
    __options__: ClassVar = _LEVELED
    device = columns.UUID(partition_key=True)
    member = columns.UUID()
    link = columns.BigInt()  # ascends: the time of its beginning in microseconds, or one more than the last
    linked_at = columns.BigInt()
    ready = columns.Boolean()  # its positions are written
    ended = columns.Boolean()


class Position(Model):
    """What a device has stored of a conversation; each column is written with its own value as the timestamp, so it only
    rises."""

    __table_name__ = "position"
    __options__: ClassVar = _LEVELED
    device = columns.UUID(partition_key=True)
    link = columns.BigInt(partition_key=True)
    conversation = columns.UUID(primary_key=True)
    acked = columns.BigInt()
    expired = columns.BigInt()


class SeqNum(Model):
    """The last ``seqNum`` stored of a device that the conversation's document has no room for."""

    __table_name__ = "seqnum"
    __options__: ClassVar = _LEVELED
    device = columns.UUID(partition_key=True)
    conversation = columns.UUID(primary_key=True)
    last = columns.BigInt()


class Receipt(Model):
    """How far a user received and read a conversation. Each of the first three has its own value as its timestamp, so it only
    rises; so has the time beside it, which is kept negative: of two writes of one value the first is the one that counts."""

    __table_name__ = "receipt"
    __options__: ClassVar = _LEVELED
    conversation = columns.UUID(partition_key=True)
    member = columns.UUID(primary_key=True)
    delivered = columns.BigInt()
    read = columns.BigInt()
    sent = columns.BigInt()
    delivered_at = columns.BigInt()  # negative
    read_at = columns.BigInt()  # negative
    renewed_at = columns.BigInt()  # others have learned of it only then
    delivered_renewed_at = columns.BigInt()


class Silent(Model):
    """Direct conversations of a user in which one has ever blocked the other; the document of the conversation decides."""

    __table_name__ = "silent"
    __options__: ClassVar = _LEVELED
    member = columns.UUID(partition_key=True)
    conversation = columns.UUID(primary_key=True)


class Flags(Model):
    """What a user has set for a conversation."""

    __table_name__ = "flags"
    __options__: ClassVar = _LEVELED
    member = columns.UUID(partition_key=True)
    conversation = columns.UUID(primary_key=True)
    muted_until = columns.BigInt()
    changed_at = columns.BigInt()
    version = columns.BigInt()
    pinned = columns.Boolean()
    archived = columns.Boolean()
    draft = columns.Blob()


class Mention(Model):
    """A message mentions a user who is owed it."""

    __table_name__ = "mention"
    __options__: ClassVar = _by_age(_INDEX_S)
    conversation = columns.UUID(partition_key=True)
    member = columns.UUID(partition_key=True)
    seq = columns.BigInt(primary_key=True)


class Outbox(Model):
    """One row a stored batch."""

    __table_name__ = "outbox"
    __options__: ClassVar = _by_age(_OUTBOX_S, "MINUTES", "10")
    writer = columns.UUID(partition_key=True)
    row = columns.BigInt(primary_key=True, clustering_order="ASC")
    at = columns.BigInt()
    conversations = columns.List(columns.UUID())
    seqs = columns.List(columns.BigInt())


class Writer(Model):
    """Who has outbox rows, and its newest one; ``part`` spreads them over 16 partitions by the first hex digit."""

    __table_name__ = "writer"
    __options__: ClassVar = _by_age(_OUTBOX_S, "MINUTES", "10")
    part = columns.Integer(partition_key=True)
    writer = columns.UUID(primary_key=True)
    row = columns.BigInt()
    at = columns.BigInt()
    trimmed = columns.BigInt()  # rows up to here were looked at by the trimming


class Progress(Model):
    """How far a writer's outbox is done under one epoch of the hot state."""

    __table_name__ = "progress"
    __options__: ClassVar = _by_age(_OUTBOX_S, "MINUTES", "10")
    writer = columns.UUID(partition_key=True)
    epoch = columns.Text(primary_key=True)
    row = columns.BigInt()
    at = columns.BigInt()


class Vanishing(Model):
    """Messages whose content goes before their age ends it, by the hour in which it goes."""

    __table_name__ = "vanishing"
    __options__: ClassVar = {"gc_grace_seconds": _SHORT_GRACE_S, **_LEVELED}
    hour = columns.BigInt(partition_key=True)
    at = columns.BigInt(primary_key=True, clustering_order="ASC")
    conversation = columns.UUID(primary_key=True)
    seq = columns.BigInt(primary_key=True)


class Activity(Model):
    """Conversations with an event of a day, for the retention; ``part`` = first hex digit of the id."""

    __table_name__ = "activity"
    __options__: ClassVar = _by_age(60 * _DAY_S)
    day = columns.BigInt(partition_key=True)
    part = columns.Integer(partition_key=True)
    conversation = columns.UUID(primary_key=True)


class Pending(Model):
    """Days and hours that :class:`Activity` and :class:`Vanishing` have partitions of, so that a sweep finds the oldest."""

    __table_name__ = "pending"
    __options__: ClassVar = _LEVELED
    kind = columns.Text(partition_key=True)  # activity | vanishing
    at = columns.BigInt(primary_key=True, clustering_order="ASC")  # day or hour
    cursor = columns.Text()  # of a day that has passed: how far the retention has come with it


class HotLease(Model):
    """Whether copies of state documents on a hot node of this epoch count; changed by compare and set on ``number`` (R24)."""

    __table_name__ = "hot_lease"
    __options__: ClassVar = _LEVELED
    epoch = columns.Text(primary_key=True)
    number = columns.BigInt()  # ascends; copies count under the number that they were made under
    open = columns.Boolean()
    moved_at = columns.BigInt()
