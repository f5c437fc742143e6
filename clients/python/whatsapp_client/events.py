"""What :meth:`Client.events` yields."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from .entry import Entry
from .outgoing import Outgoing


@dataclass(frozen=True, slots=True)
class State:
    """The connection changed. ``status``: ``connecting``, ``syncing`` (with ``remaining`` events still to
    come), ``online``, ``waiting`` (``retry_in`` seconds until the next attempt) or ``stopped`` (for good;
    ``detail`` says why)."""

    status: str
    detail: str = ""
    retry_in: float = 0.0
    remaining: int = 0
    code: int = 0


@dataclass(frozen=True, slots=True)
class Message:
    """A message, in the order of the conversation. ``own``: written by another device of this user, or by
    this one earlier."""

    entry: Entry
    own: bool


@dataclass(frozen=True, slots=True)
class Change:
    """An `event` of the log: an edit, a deletion, a reaction, a membership change…"""

    entry: Entry


@dataclass(frozen=True, slots=True)
class Sent:
    """✓: the server keeps this message; ``outgoing.seq`` is its place."""

    outgoing: Outgoing


@dataclass(frozen=True, slots=True)
class Failed:
    """The server refused this message for good."""

    outgoing: Outgoing
    code: str
    message: str


@dataclass(frozen=True, slots=True)
class Receipt:
    """✓✓ and read: everything up to these numbers reached, or was read by, the user. In groups above 32
    members ``counts`` come instead."""

    conversation_id: str
    user_id: str
    status: str
    up_to: int
    counts: dict[str, int] | None = None


@dataclass(frozen=True, slots=True)
class Typing:
    conversation_id: str
    user_id: str
    active: bool
    kind: str = "text"


@dataclass(frozen=True, slots=True)
class Presence:
    """Of a user; or, of a large group that is open (:meth:`Client.open_chat`), how many of its members are online: then
    ``user_id`` is "" and ``conversation_id`` and ``online_count`` are set."""

    user_id: str
    status: str
    last_seen: int | None = None
    conversation_id: str | None = None
    online_count: int | None = None


@dataclass(frozen=True, slots=True)
class Notice:
    kind: str
    data: Any = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Problem:
    """An `error` frame that belongs to no message."""

    code: str
    message: str
    ref: str = ""


@dataclass(frozen=True, slots=True)
class ChatChanged:
    """The line of this conversation in :meth:`Client.chats` is another. Until it is taken from the stream, further
    changes of the same chat add no second one."""

    conversation_id: str


Event = (
    State | Message | Change | Sent | Failed | Receipt | Typing | Presence | Notice | Problem | ChatChanged
)
