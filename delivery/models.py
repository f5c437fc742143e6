"""PostgreSQL tables of the delivery engine. Read and written by SQL in :mod:`delivery.store` only; these models exist so that
ordinary migrations make the tables and the admin can look at them.

No foreign keys: a row of a conversation is written under the lock of its head, and a constraint would add a look-up and a
row lock to every send. Columns of fixed width come first (no padding). ``docs/subsystems/store.md`` says why each index exists.
Times are milliseconds since the epoch; a ``seq`` counts from 1 in its conversation.
"""

from __future__ import annotations

from django.contrib.postgres.fields import ArrayField
from django.db import models


class Event(models.Model):
    """One row of a conversation's log."""

    pk = models.CompositePrimaryKey("conversation", "seq")
    seq = models.BigIntegerField()
    ordinal = models.BigIntegerField(help_text="messages, not other events, up to and including this row")
    at = models.BigIntegerField(help_text="server time of the append")
    sent_at = models.BigIntegerField(help_text="the client's clock")
    seq_num = models.BigIntegerField(help_text="the sending device's own count, 0 if it does not count")
    conversation = models.UUIDField()
    sender = models.UUIDField()
    device = models.UUIDField()
    message_id = models.UUIDField()
    kind = models.TextField()
    body_hash = models.BinaryField(
        help_text="16 bytes; outlives the content, so that a retry is still recognised"
    )
    content = models.BinaryField(null=True)
    extra = models.BinaryField(null=True)
    envelopes = models.BinaryField(null=True)
    # Null in nearly every row, which costs nothing: the bitmap of nulls is there anyway.
    target = models.BigIntegerField(null=True, help_text="seq of the message that this event is about")
    edited = models.BigIntegerField(null=True, help_text="of a message: seq of its last edit")
    superseded = models.BooleanField(null=True, help_text="a later event took its place: owed to nobody")
    withheld = models.BooleanField(null=True, help_text="owed to its sender alone")
    replaced = models.BigIntegerField(
        null=True, help_text="seq of the withheld event that for its sender stands in its place"
    )
    until = models.BigIntegerField(
        null=True, help_text="when its content is gone, or that of the message it is about"
    )

    class Meta:
        db_table = "delivery_event"
        constraints = [
            # message_id first: the same index answers "which seq has this message" without knowing the sender.
            models.UniqueConstraint(fields=["message_id", "sender"], name="delivery_event_once"),
        ]
        indexes = [
            # What is in force about a message. Messages are not in it, so sending one does not touch it.
            models.Index(
                fields=["conversation", "target", "sender"],
                name="delivery_event_about",
                condition=models.Q(target__isnull=False, superseded__isnull=True),
            ),
        ]


class Vanishing(models.Model):
    """A message that is not to be kept: the sender said so, or the conversation's timer does."""

    pk = models.CompositePrimaryKey("at", "conversation", "seq")
    at = models.BigIntegerField(help_text="from then on its content is gone")
    seq = models.BigIntegerField()
    conversation = models.UUIDField()

    class Meta:
        db_table = "delivery_vanishing"


class Head(models.Model):
    """One row a conversation: where its log ends and begins. Its row lock orders the appends."""

    conversation = models.UUIDField(primary_key=True)
    head = models.BigIntegerField(db_default=0, help_text="seq of the last event")
    ordinal = models.BigIntegerField(db_default=0, help_text="messages up to head")
    floor = models.BigIntegerField(db_default=0, help_text="everything up to here has expired")
    floor_ordinal = models.BigIntegerField(db_default=0, help_text="messages up to floor")
    oldest_at = models.BigIntegerField(
        null=True, help_text="time of the event above floor; null when there is none"
    )
    created_at = models.BigIntegerField()
    roster_seq = models.BigIntegerField(db_default=0, help_text="seq of the last change of members")
    members = models.IntegerField(db_default=0, help_text="of a group, now")
    restricted = models.BooleanField(db_default=False, help_text="only speakers may send")
    withholds = models.BooleanField(
        db_default=False, help_text="something is, or may be, withheld from a member"
    )
    timer = models.IntegerField(null=True, help_text="seconds that messages are kept")
    kind = models.TextField(help_text="direct or group")

    class Meta:
        db_table = "delivery_head"
        indexes = [
            # What retention looks for. It changes when a conversation gets its first event or loses its oldest ones, so
            # an ordinary append stays a HOT update.
            models.Index(
                fields=["oldest_at"], name="delivery_head_oldest", condition=models.Q(oldest_at__isnull=False)
            ),
        ]


class Direct(models.Model):
    """The one conversation of two users, ``low <= high``."""

    pk = models.CompositePrimaryKey("low", "high")
    low = models.UUIDField()
    high = models.UUIDField()
    conversation = models.UUIDField()

    class Meta:
        db_table = "delivery_direct"


class Member(models.Model):
    """One interval of a user's membership: owed is ``joined_seq <= seq``, and ``seq <= left_seq`` once it is not 0."""

    pk = models.CompositePrimaryKey("conversation", "member", "joined_seq")
    joined_seq = models.BigIntegerField()
    left_seq = models.BigIntegerField(db_default=0)
    conversation = models.UUIDField()
    member = models.UUIDField()
    speaker = models.BooleanField(db_default=False, help_text="may send when only speakers may")
    unaccepted = models.BooleanField(
        db_default=False, help_text="of a direct conversation: has not accepted the other user yet"
    )

    class Meta:
        db_table = "delivery_member"
        indexes = [models.Index(fields=["member", "conversation"], name="delivery_member_by_user")]


class Device(models.Model):
    """A linked device; the row goes when the device is unlinked."""

    device = models.UUIDField(primary_key=True)
    member = models.UUIDField()
    linked_at = models.BigIntegerField()

    class Meta:
        db_table = "delivery_device"
        indexes = [models.Index(fields=["member"], name="delivery_device_by_user")]


class DevicePosition(models.Model):
    """What a device has stored of a conversation. No row: it was linked before it joined, and starts below ``joined_seq``."""

    pk = models.CompositePrimaryKey("device", "conversation")
    acked = models.BigIntegerField()
    expired = models.BigIntegerField(db_default=0, help_text="up to here events expired unread")
    device = models.UUIDField()
    conversation = models.UUIDField()

    class Meta:
        db_table = "delivery_position"


class DeviceSeqNum(models.Model):
    """The last ``seqNum`` stored for a sending device."""

    pk = models.CompositePrimaryKey("device", "conversation")
    last = models.BigIntegerField()
    device = models.UUIDField()
    conversation = models.UUIDField()

    class Meta:
        db_table = "delivery_seqnum"


class MemberReceipt(models.Model):
    """How far a user received and read a conversation."""

    pk = models.CompositePrimaryKey("conversation", "member")
    delivered = models.BigIntegerField(db_default=0)
    read = models.BigIntegerField(db_default=0)
    sent = models.BigIntegerField(db_default=0, help_text="highest own seq; counts as read for oneself only")
    changed_at = models.BigIntegerField(db_default=0, help_text="when delivered or read last moved")
    delivered_at = models.BigIntegerField(db_default=0, help_text="when delivered last moved, 0: not known")
    conversation = models.UUIDField()
    member = models.UUIDField()
    # Not null while a block is in force in a direct conversation: then the two hear nothing new of each other.
    shown_delivered = models.BigIntegerField(
        null=True, help_text="what others are shown, if it is something else"
    )
    shown_read = models.BigIntegerField(null=True)
    shown_at = models.BigIntegerField(null=True, help_text="when that last moved")

    class Meta:
        db_table = "delivery_receipt"


class Withheld(models.Model):
    """``member`` has, or had, blocked the other user of a direct conversation."""

    pk = models.CompositePrimaryKey("conversation", "member")
    owed = models.BigIntegerField(help_text="the seq before the latest run of withheld ones")
    through = models.BigIntegerField(help_text="the end of that run, 0: there was none")
    conversation = models.UUIDField()
    member = models.UUIDField(help_text="who has blocked")
    sender = models.UUIDField(help_text="whom")
    active = models.BooleanField(help_text="the block is in force")
    timer = models.IntegerField(
        null=True,
        help_text="what the sender has set since, in seconds, 0: none; of the sender's messages alone",
    )

    class Meta:
        db_table = "delivery_withheld"
        indexes = [
            models.Index(fields=["member"], name="delivery_withheld_by", condition=models.Q(active=True)),
            models.Index(fields=["sender"], name="delivery_withheld_of", condition=models.Q(active=True)),
        ]


class ConversationFlags(models.Model):
    """What a user has set for a conversation. No row: nothing."""

    pk = models.CompositePrimaryKey("member", "conversation")
    muted_until = models.BigIntegerField(help_text="0: not muted")
    changed_at = models.BigIntegerField()
    version = models.BigIntegerField(help_text="how often it was changed")
    member = models.UUIDField()
    conversation = models.UUIDField()
    pinned = models.BooleanField()
    archived = models.BooleanField()
    draft = models.BinaryField(null=True, help_text="encrypted by the client")

    class Meta:
        db_table = "delivery_flags"


class Mention(models.Model):
    """A message mentions a user who is owed it. Written with the message, gone with its age."""

    pk = models.CompositePrimaryKey("conversation", "member", "seq")
    seq = models.BigIntegerField()
    at = models.BigIntegerField(help_text="server time of the append")
    conversation = models.UUIDField()
    member = models.UUIDField()

    class Meta:
        db_table = "delivery_mention"
        indexes = [models.Index(fields=["at"], name="delivery_mention_oldest")]


class Outbox(models.Model):
    """One row a stored batch: what its writer must mark and publish."""

    pk = models.CompositePrimaryKey("writer", "row")
    row = models.BigIntegerField(help_text="identity, given by the database")
    at = models.BigIntegerField()
    writer = models.UUIDField()
    conversations = ArrayField(models.UUIDField())
    seqs = ArrayField(models.BigIntegerField(), help_text="highest seq of each conversation in this batch")

    class Meta:
        db_table = "delivery_outbox"


class Progress(models.Model):
    """How far a writer's outbox is done under one epoch of the hot state."""

    pk = models.CompositePrimaryKey("writer", "epoch")
    row = models.BigIntegerField()
    at = models.BigIntegerField()
    writer = models.UUIDField()
    epoch = models.TextField()

    class Meta:
        db_table = "delivery_progress"


class Pending(models.Model):
    """A change of Django code that a store outside this database is still to be told of (``delivery/store/pending.py``)."""

    id = models.BigAutoField(primary_key=True)
    subject = models.UUIDField(
        help_text="a conversation or a user: what is about one is carried out in order"
    )
    due_at = models.BigIntegerField(help_text="from then on the sweep carries it out")
    written_at = models.BigIntegerField(db_default=0, help_text="0: by a version that did not say")
    tries = models.IntegerField(db_default=0)
    failures = models.IntegerField(db_default=0, help_text="tries that failed although the store answers")
    parked = models.BooleanField(db_default=False, help_text="nobody tries it until staff say so")
    error = models.TextField(db_default="", help_text="what the last failure was")
    pair = models.TextField(null=True, unique=True, help_text="of two users whose conversation it opens")
    operation = models.BinaryField(help_text="msgpack")

    class Meta:
        db_table = "delivery_pending"
        indexes = [
            models.Index(fields=["subject", "id"], name="delivery_pending_subject"),
            models.Index(fields=["due_at"], name="delivery_pending_due"),
        ]


class Move(models.Model):
    """How far the log is on its way to another store (``delivery/store/moving.py``); one row, or none."""

    id = models.SmallIntegerField(primary_key=True)
    state = models.TextField(help_text="copying, fenced, compared, moved or final")
    began_at = models.BigIntegerField(db_default=0)
    fenced_at = models.BigIntegerField(db_default=0, help_text="nobody writes here since")
    moved_at = models.BigIntegerField(db_default=0)

    class Meta:
        db_table = "delivery_move"


class MovedCopy(models.Model):
    """What was copied to another store, and as what."""

    pk = models.CompositePrimaryKey("kind", "key")
    kind = models.TextField(help_text="conversation, device or flags")
    key = models.UUIDField()
    prints = models.JSONField(help_text="of what was copied: of the log of a conversation by bucket")
    compared = models.BooleanField(db_default=False, help_text="and read back since")

    class Meta:
        db_table = "delivery_moved_copy"
