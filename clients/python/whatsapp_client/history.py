"""What this device has of its conversations: the log in order, positions, receipts.

Pure logic. A conversation's :attr:`position` is the device's promise to the server: everything up to it is
stored here. An entry above ``position + 1`` waits until the hole below it is closed, by the missing entries
or by a page whose ``through`` passes them (entries that were not owed, are superseded or have expired), and
is released in order.
"""

from __future__ import annotations

import base64
from bisect import insort
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from .codecs import Frame

#: Entries kept in memory for each conversation; older ones can be read again over REST.
KEEP = 10_000


@dataclass(slots=True, eq=False)
class Entry:
    """One row of a conversation's log. ``type``: ``message`` or the kind of an `event`. ``content`` is
    opaque to the server."""

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

    def __lt__(self, other: Entry) -> bool:
        return self.seq < other.seq

    @classmethod
    def from_frame(cls, frame: Frame, conversation_id: str = "") -> Entry:
        """From a `message` or `event` frame, an item of a `sync_batch` (whose conversation may be said by
        the batch only) or of ``GET /conversations/{id}/events``."""
        conversation = str(frame.get("conversationId") or conversation_id)
        at = int(frame.get("serverTimestamp") or 0)
        if frame.get("type") == "event" or "senderId" not in frame:
            return cls(
                conversation,
                int(frame["seq"]),
                str(frame.get("actorId", "")),
                type=str(frame.get("kind", "event")),
                kind="event",
                server_timestamp=at,
                fields=frame,
            )
        content = frame.get("encryptedContent")
        return cls(
            conversation,
            int(frame["seq"]),
            str(frame["senderId"]),
            str(frame["messageId"]),
            kind=str(frame.get("kind") or "text"),
            content=base64.b64decode(content) if content is not None else None,
            timestamp=int(frame.get("timestamp") or 0),
            server_timestamp=at,
            device_id=str(frame.get("senderDeviceId") or ""),
            edited=bool(frame.get("edited")),
            deleted=bool(frame.get("deleted")),
            fields=frame,
        )

    @property
    def text(self) -> str:
        """The content as text, for clients that do not encrypt."""
        return (self.content or b"").decode("utf-8", "replace")


@dataclass(slots=True)
class Receipt:
    """How far a user has received and read a conversation; both only grow."""

    delivered: int = 0
    read: int = 0


class Conversation:
    """The log of one conversation as this device knows it."""

    def __init__(self, conversation_id: str) -> None:
        self.id = conversation_id
        self.position: int | None = None  # None: nothing is known yet, the server's position counts
        self.entries: list[Entry] = []
        self.receipts: dict[str, Receipt] = {}
        self.repeated = 0  # entries that came more than once and were dropped
        self._held: dict[int, Entry] = {}
        self._seen: set[tuple[str, str]] = set()

    def live(self, entry: Entry) -> list[Entry]:
        """A live entry. Returns what is now in order: nothing (repeated, or above a hole), it, or it and
        those behind it."""
        if self.position is None:
            # The server never opens a conversation in the middle: what comes first follows the acknowledged
            # position.
            self.position = entry.seq - 1
            for seq in [seq for seq in self._held if seq < entry.seq]:
                del self._held[seq]  # our own numbers, below what we have from now on
        self._hold(entry)
        return self._release()

    def page(self, entries: list[Entry], through: int) -> list[Entry]:
        """A `sync_batch`: its entries, and word that nothing else is owed up to ``through``."""
        for entry in entries:
            self._hold(entry)
        reached = [self._held.pop(seq) for seq in sorted(self._held) if seq <= through]
        self.position = max(self.position or 0, through)
        return [entry for entry in reached if self._keep(entry)] + self._release()

    def own(self, entry: Entry) -> list[Entry]:
        """One of our own messages after its ✓; returns what waited behind its number.

        It never opens a conversation: older entries may still be on their way.
        """
        if not self._keep(entry):
            return []
        if self.position is None or entry.seq > self.position:
            self._held.setdefault(entry.seq, self._taken(entry))
        return self._release()

    def earlier(self, entries: list[Entry]) -> None:
        """Entries read from the server's history (REST): shown, but no claim about what this device has."""
        for entry in entries:
            if entry.seq not in self._held:
                self._keep(entry, count=False)

    @property
    def hole(self) -> bool:
        """Whether something waits above a missing entry."""
        return self.position is not None and bool(self._held)

    def forget_position(self) -> None:
        """The server does not know our position (`reset`): start from its own."""
        self.position = None

    def receipt(self, user_id: str, status: str, up_to: int) -> bool:
        """Raise a receipt; False if that was known."""
        receipt = self.receipts.setdefault(user_id, Receipt())
        known = receipt.read if status == "read" else receipt.delivered
        if up_to <= known:
            return False
        receipt.delivered = max(receipt.delivered, up_to)  # who has read it has it
        if status == "read":
            receipt.read = up_to
        return True

    # -- inside --------------------------------------------------------------------------------------------
    def _hold(self, entry: Entry) -> None:
        known = entry.seq in self._held or (self.position is not None and entry.seq <= self.position)
        if known or (entry.message_id and (entry.sender_id, entry.message_id) in self._seen):
            self.repeated += 1
            if not known:  # the same message under another number: the number is taken, nothing is shown
                self._held[entry.seq] = self._taken(entry)
            return
        self._held[entry.seq] = entry

    def _taken(self, entry: Entry) -> Entry:
        """Holds the place of an entry that is in :attr:`entries` already."""
        return Entry(self.id, entry.seq, entry.sender_id, type="repeated")

    def _release(self) -> list[Entry]:
        released = []
        while self.position is not None and (entry := self._held.pop(self.position + 1, None)) is not None:
            self.position += 1
            if self._keep(entry):
                released.append(entry)
        return released

    def _keep(self, entry: Entry, *, count: bool = True) -> bool:
        if entry.type == "repeated":
            return False
        key: tuple[Any, Any] = (entry.sender_id, entry.message_id) if entry.message_id else ("", entry.seq)
        if key in self._seen:
            self.repeated += count
            return False
        self._seen.add(key)
        insort(self.entries, entry)
        if len(self.entries) > KEEP:
            oldest = self.entries.pop(0)
            self._seen.discard(
                (oldest.sender_id, oldest.message_id) if oldest.message_id else ("", oldest.seq)
            )
        return True


class History:
    """All conversations of this device."""

    def __init__(self) -> None:
        self._conversations: dict[str, Conversation] = {}

    def __getitem__(self, conversation_id: str) -> Conversation:
        conversation = self._conversations.get(conversation_id)
        if conversation is None:
            conversation = self._conversations[conversation_id] = Conversation(conversation_id)
        return conversation

    def __iter__(self) -> Iterator[Conversation]:
        return iter(list(self._conversations.values()))

    def have(self) -> dict[str, int]:
        """Positions for `sync`: everything up to them is stored here."""
        return {c.id: c.position for c in self._conversations.values() if c.position is not None}
