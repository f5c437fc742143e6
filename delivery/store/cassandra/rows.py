"""The rows that an append writes, as statements. All carry the timestamp that was given out with their number, so that one that
is written again, or late, changes nothing that came after it."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

from delivery.store.cassandra.document import Claim
from delivery.store.cassandra.session import Statement
from delivery.store.values import Send

#: Numbers of one partition of a log.
BUCKET = 4_096
HOUR_MS = 3_600_000
DAY_MS = 24 * HOUR_MS
#: Kinds that are not messages: they take a seq, and no ordinal.
EVENT_KINDS = frozenset(
    {"edit", "delete", "reaction", "member_added", "member_removed", "role", "info", "timer", "vote"}
)

_EVENT = ("conversation", "bucket", "seq", "message_id", "ordinal", "at", "allocated_at", "sent_at", "seq_num",
          "sender", "device", "kind", "body_hash", "content")  # fmt: skip
_OPTIONAL = ("extra", "envelopes", "target", "withheld", "until")


@lru_cache(maxsize=64)
def insert(table: str, columns: tuple[str, ...]) -> str:
    """CQL: ``columns``, then the timestamp."""
    names, marks = ", ".join(columns), ", ".join("?" * len(columns))
    return f"INSERT INTO $.{table} ({names}) VALUES ({marks}) USING TIMESTAMP ?"


def event(claim: Claim, conversation: str, send: Send, target: int = 0) -> Statement:
    """The row of an event; what it does not have is left out, because a null costs a tombstone."""
    values = (send.extra, send.envelopes, target or None, claim.withheld or None, claim.until or None)
    present = tuple(name for name, value in zip(_OPTIONAL, values, strict=True) if value is not None)
    return insert("event", _EVENT + present), (
        conversation,
        claim.seq // BUCKET,
        claim.seq,
        send.message_id,
        claim.ordinal,
        claim.at,
        claim.allocated_at,
        send.sent_at,
        send.seq_num,
        send.sender,
        send.device,
        send.kind,
        send.body_hash,
        bytes(send.content),
        *(value for value in values if value is not None),
        claim.stamp,
    )


_MESSAGE = ("message_id", "sender", "conversation", "seq", "at", "body_hash")


def message(claim: Claim, conversation: str) -> Statement:
    """Where a message is: after its event is known to be durable."""
    values = (claim.message_id, claim.sender, conversation, claim.seq, claim.at, claim.body_hash)
    if claim.withheld:
        return insert("message", (*_MESSAGE, "withheld")), (*values, True, claim.stamp)
    return insert("message", _MESSAGE), (*values, claim.stamp)


def mentions(claim: Claim, conversation: str, users: Sequence[str]) -> list[Statement]:
    cql = insert("mention", ("conversation", "member", "seq"))
    return [(cql, (conversation, user, claim.seq, claim.stamp)) for user in users]


_PENDING = "INSERT INTO $.pending (kind, at) VALUES (?, ?) USING TIMESTAMP ? AND TTL ?"
#: An hour in which messages go is looked into for a week more.
_PENDING_S = 7 * 86_400


def vanishing(claim: Claim, conversation: str) -> list[Statement]:
    """When the message goes, and the hour to look into."""
    hour = claim.until // HOUR_MS
    return [
        (
            _PENDING,
            (
                "vanishing",
                hour,
                claim.stamp,
                min((claim.until - claim.at) // 1000 + _PENDING_S, 20 * 365 * 86_400),
            ),
        ),
        (
            insert("vanishing", ("hour", "at", "conversation", "seq")),
            (hour, claim.until, conversation, claim.seq, claim.stamp),
        ),
    ]


def activity(conversation: str, now: int) -> list[Statement]:
    """That the conversation has an event of this day."""
    day = now // DAY_MS
    return [
        (insert("pending", ("kind", "at")), ("activity", day, now * 1000)),
        (
            insert("activity", ("day", "part", "conversation")),
            (day, int(conversation[0], 16), conversation, now * 1000),
        ),
    ]


def is_message(kind: str) -> bool:
    return kind not in EVENT_KINDS


class OutboxRows:
    """Numbers of outbox rows: ascending per writer, and in time, so that a writer needs no counter in the store."""

    def __init__(self) -> None:
        self._last = 0

    def next(self, now: int) -> int:
        row = self._last = max(now * 1000, self._last + 1)
        return row

    def add(self, writer: str, heads: Sequence[tuple[str, int]], now: int) -> tuple[int, list[Statement]]:
        """The number of a new row, and what to write; ``heads``: conversations and their highest seq in the batch."""
        row = self.next(now)
        return row, announced(writer, row, heads, now)


def announced(writer: str, row: int, heads: Sequence[tuple[str, int]], now: int) -> list[Statement]:
    """What leaves an outbox row with this number."""
    conversations = [conversation for conversation, _ in heads]
    seqs = [seq for _, seq in heads]
    return [
        (insert("writer", ("part", "writer", "row", "at")), (int(writer[0], 16), writer, row, now, row)),
        (
            insert("outbox", ("writer", "row", "at", "conversations", "seqs")),
            (writer, row, now, conversations, seqs, now * 1000),
        ),
    ]


def of(table: str, **values: Any) -> Statement:
    """An insert with a timestamp: ``stamp=`` among ``values``."""
    stamp = values.pop("stamp")
    return insert(table, tuple(values)), (*values.values(), stamp)
