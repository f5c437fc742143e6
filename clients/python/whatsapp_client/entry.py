"""One row of a conversation's log, as frames and the database show it."""

from __future__ import annotations

import base64
from dataclasses import dataclass, field
from typing import Any

from .codecs import Frame

#: The largest number of the wire; SQLite takes larger ones, but not any.
LARGEST = 2**53 - 1
#: Fields of a `message` that an :class:`Entry` has under a name of its own.
_NAMED = frozenset(
    {
        "type", "conversationId", "seq", "seqNum", "senderId", "senderDeviceId", "messageId", "encryptedContent", "kind",
        "timestamp", "serverTimestamp", "edited", "deleted",
    }
)  # fmt: skip


def whole(value: Any) -> int:
    """A number of the wire: whole, not negative, below 2^53; None and absent are 0. Raises ValueError, TypeError."""
    number = int(value or 0)
    if not 0 <= number <= LARGEST:
        raise ValueError(f"{value!r} is not between 0 and {LARGEST}")
    return number


def named(fields: Frame) -> list[str]:
    """The users whom the fields of a message mention."""
    mentions = fields.get("mentions")
    return [str(user) for user in mentions] if isinstance(mentions, list) else []


def ends_at(entry: Entry) -> int:
    """When a message vanishes (ms), by its own word; 0: never."""
    seconds = entry.fields.get("expiresIn") if entry.type == "message" else None
    if not isinstance(seconds, int) or not 0 < seconds <= LARGEST:
        return 0
    return min(entry.server_timestamp + 1000 * seconds, LARGEST)


def timer_of(entry: Entry) -> int:
    """What a `timer` event sets: seconds, 0 for none."""
    data = entry.fields.get("data")
    seconds = data.get("seconds") if isinstance(data, dict) else None
    return seconds if isinstance(seconds, int) and 0 < seconds <= LARGEST // 1000 else 0


def once(entry: Entry, user_id: str) -> Entry:
    """An own message that is to be seen once is not to be seen by who sent it."""
    if entry.view_once and entry.sender_id == user_id:
        entry.content, entry.opened = None, True
    return entry


@dataclass(slots=True, eq=False)
class Entry:
    """One row of a conversation's log. ``type``: ``message`` or the kind of an `event`. ``content`` is
    opaque to the server; of an ``edit`` it is what the message says now. ``fields``: what else the frame said, by wire
    names; of an `event` all but the content.

    Of what is stored here: ``starred``; ``opened``: it was to be seen once, and its content was given; ``expires_at``: when it
    leaves this device (ms; 0: never)."""

    conversation_id: str
    seq: int
    sender_id: str
    message_id: str = ""
    type: str = "message"
    kind: str = "text"
    content: bytes | None = None
    timestamp: int = 0
    server_timestamp: int = 0
    device_id: str = ""
    edited: bool = False
    deleted: bool = False
    fields: Frame = field(default_factory=dict)
    starred: bool = False
    opened: bool = False
    expires_at: int = 0

    def __lt__(self, other: Entry) -> bool:
        return self.seq < other.seq

    @classmethod
    def from_frame(cls, frame: Frame, conversation_id: str = "") -> Entry:
        """From a `message` or `event` frame, an item of a `sync_batch` (whose conversation may be said by
        the batch only) or of ``GET /conversations/{id}/events``. Raises KeyError, ValueError and TypeError
        for what is none."""
        conversation = str(frame.get("conversationId") or conversation_id)
        at = whole(frame.get("serverTimestamp"))
        content = frame.get("encryptedContent")
        if frame.get("type") == "event" or "senderId" not in frame:
            return cls(
                conversation,
                whole(frame["seq"]),
                str(frame.get("actorId", "")),
                type=str(frame.get("kind", "event")),
                kind="event",
                content=base64.b64decode(content) if content is not None else None,
                server_timestamp=at,
                fields={name: frame[name] for name in frame if name != "encryptedContent"},
            )
        return cls(
            conversation,
            whole(frame["seq"]),
            str(frame["senderId"]),
            str(frame["messageId"]),
            kind=str(frame.get("kind") or "text"),
            content=base64.b64decode(content) if content is not None else None,
            timestamp=whole(frame.get("timestamp")),
            server_timestamp=at,
            device_id=str(frame.get("senderDeviceId") or ""),
            edited=bool(frame.get("edited")),
            deleted=bool(frame.get("deleted")),
            # A flag that is not set is absent in JSON and false in protobuf.
            fields={name: frame[name] for name in frame.keys() - _NAMED if frame[name] is not False},
        )

    @property
    def text(self) -> str:
        """The content as text, for clients that do not encrypt."""
        return (self.content or b"").decode("utf-8", "replace")

    @property
    def target_id(self) -> str:
        """The message that an ``edit``, ``delete`` or ``reaction`` is about."""
        return str(self.fields.get("targetId") or "")

    @property
    def view_once(self) -> bool:
        return bool(self.fields.get("viewOnce"))

    @property
    def reply_to(self) -> str:
        """The message that this one answers; "": none."""
        return str(self.fields.get("replyTo") or "")

    @property
    def forward_count(self) -> int:
        count = self.fields.get("forwardCount")
        return count if isinstance(count, int) else 0

    @property
    def mentions(self) -> list[str]:
        """The users whom this message names."""
        return named(self.fields)
