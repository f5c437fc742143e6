"""Whom one can talk to: found by number, by user id, by conversation, or by their place in the list."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any


@dataclass(slots=True)
class Peer:
    """Somebody to talk to. ``unsent``: lines written before the number was registered."""

    label: str
    user_id: str = ""
    conversation_id: str = ""
    presence: str = ""
    typing: bool = False
    shown: int = 0  # seq of the last line shown
    unread: int = 0
    unsent: deque[str] = field(default_factory=deque)


class People:
    """Everybody known, in the order of /list."""

    def __init__(self) -> None:
        self._peers: list[Peer] = []

    def __iter__(self) -> Iterator[Peer]:
        return iter(list(self._peers))

    def __len__(self) -> int:
        return len(self._peers)

    def load(
        self, contacts: list[dict[str, Any]], conversations: list[dict[str, Any]], *, current: Peer | None
    ) -> None:
        """What the server knows: items of ``GET /contacts`` and ``GET /conversations``."""
        for contact in contacts:
            peer = self.user(contact["userId"])
            peer.label = contact.get("nickname") or contact.get("name") or peer.label
        for item in conversations:
            if item.get("peerId"):
                peer = self.user(item["peerId"])
                peer.conversation_id = item["conversationId"]
                if peer is not current:
                    peer.unread = int(item.get("unread") or 0)

    def user(self, user_id: str) -> Peer:
        """The peer with this id; made with a label of last resort if there is none."""
        for peer in self._peers:
            if peer.user_id == user_id:
                return peer
        peer = Peer(f"user {user_id[-8:]}", user_id)
        self._peers.append(peer)
        return peer

    def knows(self, user_id: str) -> bool:
        return any(peer.user_id == user_id for peer in self._peers)

    def conversation(self, conversation_id: str) -> Peer | None:
        return next((p for p in self._peers if p.conversation_id == conversation_id), None)

    def named(self, who: str) -> Peer:
        """By place in the list, by label, or as a phone number nobody has looked up yet."""
        if who.isdigit() and 0 < int(who) <= len(self._peers):
            return self._peers[int(who) - 1]
        for peer in self._peers:
            if peer.label == who:
                return peer
        peer = Peer(who)
        self._peers.append(peer)
        return peer

    def found(self, peer: Peer, user_id: str) -> None:
        """The number has a user: who was known by id only is the same person."""
        for other in [p for p in self._peers if p.user_id == user_id and p is not peer]:
            self._peers.remove(other)
            peer.shown = max(peer.shown, other.shown)
        peer.user_id = user_id

    def forget(self, peer: Peer) -> None:
        if peer in self._peers:
            self._peers.remove(peer)
