"""Who is who, online and typing: what the chat list and the headers show of people."""

from __future__ import annotations

from collections.abc import Callable

from whatsapp_client import Chat, events

from . import clock


class Names:
    """``name_of``: the library's name for a user."""

    def __init__(self, own_id: str, name_of: Callable[[str], str]) -> None:
        self._own = own_id
        self._name_of = name_of
        self._presence: dict[str, events.Presence] = {}
        self._typing: dict[str, set[str]] = {}

    def name(self, user_id: str) -> str:
        if user_id == self._own:
            return "You"
        return self._name_of(user_id)

    def presence(self, event: events.Presence) -> None:
        self._presence[event.user_id] = event

    def typing(self, event: events.Typing) -> None:
        users = self._typing.setdefault(event.conversation_id, set())
        if event.active and event.user_id != self._own:
            users.add(event.user_id)
        else:
            users.discard(event.user_id)

    def disconnected(self) -> None:
        """What was true a while ago is not known now."""
        self._typing.clear()
        self._presence.clear()

    def online(self, user_id: str | None) -> bool:
        known = self._presence.get(user_id or "")
        return known is not None and known.status == "online"

    def is_typing(self, conversation_id: str) -> bool:
        return bool(self._typing.get(conversation_id))

    def status(self, chat: Chat, now: int) -> str:
        """The line under a chat's title."""
        typing = self._typing.get(chat.conversation_id)
        if typing:
            if chat.kind == "direct":
                return "typing…"
            who = sorted(self.name(user) for user in typing)
            return f"{who[0]} is typing…" if len(who) == 1 else f"{len(who)} are typing…"
        if chat.kind != "direct":
            return "group"
        known = self._presence.get(chat.user_id or "")
        if known is None or known.status == "unknown":
            return ""
        if known.status in ("online", "away"):
            return known.status
        return clock.last_seen(known.last_seen, now)
