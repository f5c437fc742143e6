"""Who is who, online and typing: what the chat list and the headers show of people."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from whatsapp_client import Chat, events

from . import clock


class Names:
    """``name_of``: the library's name for a user."""

    def __init__(self, own_id: str, name_of: Callable[[str], str]) -> None:
        self.own = own_id
        self._name_of = name_of
        self._profiles: dict[str, str] = {}
        self._presence: dict[str, events.Presence] = {}
        self._counts: dict[str, int] = {}
        self._typing: dict[str, dict[str, None]] = {}

    def name(self, user_id: str) -> str:
        if user_id == self.own:
            return "You"
        found = self._name_of(user_id)
        return self._profiles.get(user_id, found) if nameless(found, user_id) else found

    def called(self, user_id: str) -> tuple[str, ...]:
        """Names by which others may have mentioned a user."""
        profile = self._profiles.get(user_id, "")
        if user_id == self.own:
            return (profile,) if profile else ()
        return tuple(dict.fromkeys(name for name in (profile, self.name(user_id)) if name))

    def learn(self, user_id: str, name: str) -> None:
        """The name of somebody's profile, as a list of members has it."""
        if name:
            self._profiles[user_id] = name

    def presence(self, event: events.Presence) -> None:
        if event.conversation_id and event.online_count is not None:
            self._counts[event.conversation_id] = event.online_count
        elif event.user_id:
            self._presence[event.user_id] = event

    def online_in(self, conversation_id: str, user_ids: Iterable[str]) -> int:
        """How many of a group's members are online, oneself with them: as the server counts them where they are many. 0: nobody
        else is."""
        counted = self._counts.get(conversation_id)
        if counted is not None:
            return counted
        users = set(user_ids)
        others = sum(self.online(user) for user in users if user != self.own)
        return others + (self.own in users) if others else 0

    def closed(self, conversation_id: str) -> None:
        """Nobody counts the members of this group any more."""
        self._counts.pop(conversation_id, None)

    def typing(self, event: events.Typing) -> None:
        users = self._typing.setdefault(event.conversation_id, {})
        if event.active and event.user_id != self.own:
            users[event.user_id] = None
        else:
            users.pop(event.user_id, None)

    def disconnected(self) -> None:
        """What was true a while ago is not known now."""
        self._typing.clear()
        self._presence.clear()
        self._counts.clear()

    def known(self, user_id: str) -> bool:
        """Whether anything is known of when somebody is here."""
        known = self._presence.get(user_id)
        return known is not None and known.status != "unknown"

    def online(self, user_id: str | None) -> bool:
        known = self._presence.get(user_id or "")
        return known is not None and known.status == "online"

    def typing_words(self, conversation_id: str, kind: str) -> str:
        """``typing…``, in a group with who; empty: nobody is."""
        users = self._typing.get(conversation_id)
        if not users:
            return ""
        if kind == "direct":
            return "typing…"
        who = [self.name(user) for user in users]
        if len(who) == 1:
            return f"{who[0]} is typing…"
        return f"{who[0]} and {who[1]} are typing…" if len(who) == 2 else f"{len(who)} are typing…"

    def status(self, chat: Chat, now: int) -> str:
        """The line under a chat's title."""
        typing = self.typing_words(chat.conversation_id, chat.kind)
        if typing:
            return typing
        if chat.kind != "direct":
            return ""
        known = self._presence.get(chat.user_id or "")
        if known is None or known.status == "unknown":
            return ""
        if known.status in ("online", "away"):
            return known.status
        return clock.last_seen(known.last_seen, now)


def nameless(name: str, user_id: str) -> bool:
    """Whether this is what the library calls somebody of whom it knows no name."""
    return name == f"user {user_id[-8:]}"
