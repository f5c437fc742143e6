"""How long the engine keeps what it has: rows of the table in ``whatsapp/infra/retention.py``."""

from __future__ import annotations

from functools import partial
from typing import Final

from delivery.store.sync import store
from whatsapp.infra import retention
from whatsapp.infra.limits import LIMITS
from whatsapp.infra.retention import HOUR_MS, Policy

#: Of rows of the outbox; the store's own word for it is in ``store/outbox.py``.
_OUTBOX_MS: Final = 2 * HOUR_MS


def _overdue(kind: str, keep_ms: int, now: int) -> int:
    return store.overdue(kind, now - keep_ms, retention.MOST)


POLICIES: Final = (
    Policy(
        "messages",
        "What was written: content, envelopes for devices, edits, reactions, and when, from and to whom",
        ("delivery.Event", "cassandra.event", "cassandra.message", "cassandra.about"),
        "devices fetch what they have not had yet, and who comes back reads on",
        "30 days (LIMITS.retention_ms)",
        "delivery-expire",
        overdue=partial(_overdue, "messages", LIMITS.retention_ms),
        grace_ms=HOUR_MS,
    ),
    Policy(
        "vanishing",
        "Content of messages that were to be kept for a shorter time",
        ("delivery.Vanishing", "cassandra.vanishing"),
        "the sender, or the conversation's timer, said so",
        "the time that they said",
        "delivery-vanish",
        overdue=partial(_overdue, "vanishing", 0),
        grace_ms=HOUR_MS // 2,
    ),
    Policy(
        "mentions",
        "Who was mentioned in which message",
        ("delivery.Mention", "cassandra.mention"),
        "a member is shown that somebody means them",
        "30 days (LIMITS.retention_ms); a day longer in Cassandra, by its TTL",
        "delivery-expire",
        overdue=partial(_overdue, "mentions", LIMITS.retention_ms),
        # Each run deletes so many alone.
        grace_ms=12 * HOUR_MS,
    ),
    Policy(
        "outbox",
        "Which conversations were written to a moment ago",
        (
            "delivery.Outbox",
            "delivery.Progress",
            "cassandra.outbox",
            "cassandra.writer",
            "cassandra.progress",
        ),
        "who was told of a message is found again when a process dies",
        "2 hours",
        "delivery-trim-outbox",
        overdue=partial(_overdue, "outbox", _OUTBOX_MS),
        grace_ms=HOUR_MS,
    ),
    Policy(
        "conversations",
        "Who is, and was, in which conversation, and how far each got: memberships, receipts, positions, counts of devices",
        (
            "delivery.Head",
            "delivery.Direct",
            "delivery.Member",
            "delivery.Device",
            "delivery.DevicePosition",
            "delivery.DeviceSeqNum",
            "delivery.MemberReceipt",
            "delivery.Withheld",
            "cassandra.conversation",
            "cassandra.direct",
            "cassandra.member",
            "cassandra.roster",
            "cassandra.device",
            "cassandra.linked",
            "cassandra.position",
            "cassandra.seqnum",
            "cassandra.receipt",
            "cassandra.silent",
        ),
        "the next message goes to the right people, and is numbered behind the last one",
        "while the account lives; positions of a device until it is unlinked",
        "erasure",
    ),
    Policy(
        "flags",
        "What a user has set for a conversation: muted, pinned, archived, an encrypted draft",
        ("delivery.ConversationFlags", "cassandra.flags"),
        "a user's devices show the same",
        "while the account lives",
        "erasure",
    ),
    Policy(
        "pending_changes",
        "Changes of members and devices that the log in Cassandra is still to be told of",
        ("delivery.Pending",),
        "nothing gets lost between two databases",
        "until they are carried out: seconds; what staff have to look at, until they did",
        "operator: the sweep carries them out, the admin page Pending changes shows those it cannot",
    ),
    Policy(
        "activity",
        "In which conversations something was written on a day",
        ("cassandra.activity",),
        "what is too old is found",
        "30 days and the sweep; 60 days by its TTL",
        "ttl: 60 days, and delivery-expire before it",
    ),
    Policy(
        "hot_state",
        "Who is connected where, marks of what is unread by devices, presence, typing, copies of conversations' heads",
        ("valkey.hot",),
        "messages reach devices that are connected, at once",
        "seconds to 31 days: each key has its time to live (docs/subsystems/engine.md), and no key has what was written",
        "ttl: of each key",
    ),
)


def register() -> None:
    retention.register(POLICIES)
    retention.impersonal(
        "how far a move to another store is, and checksums of what it copied",
        "delivery.Move",
        "delivery.MovedCopy",
    )
    retention.impersonal("names of days and of hot nodes", "cassandra.pending", "cassandra.hot_lease")
