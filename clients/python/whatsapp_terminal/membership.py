"""What happened to a chat, in sentences: who made a group, came, went, has which role, what it is called, when messages go.

Keys of an event's ``data``: docs/subsystems/groups.md.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from whatsapp_client import Entry

from . import clock, text

NAMED = 3  # people whom a sentence names; the others are a number
ROOM = 60  # cells of a group's name in a sentence
#: What a setting allows, by its name on the wire.
MAY = {"whoSends": "write", "whoEdits": "edit the info", "whoAdds": "add members"}


def sentences(entry: Entry, own_id: str, name_of: Callable[[str], str]) -> list[str]:
    """Of one event; empty for what shows elsewhere (an edit, a reaction) or is not known."""
    teller = _Teller(entry, own_id, name_of)
    match entry.type:
        case "member_added":
            return teller.added()
        case "member_removed":
            return teller.removed()
        case "role":
            return teller.role()
        case "info":
            return teller.info()
        case "timer":
            return teller.timer()
    return []


def allowed(settings: Mapping[str, str]) -> str:
    """``all may write; only admins may edit the info and add members``."""
    told = []
    for who, words in (("all", "all may"), ("admins", "only admins may")):
        may = [what for key, what in MAY.items() if settings.get(key) == who]
        if may:
            told.append(f"{words} {some(may)}")
    return "; ".join(told)


def some(names: Iterable[str]) -> str:
    """``Ann``, ``Ann and Ben``, ``Ann, Ben, Cleo and 4 others``."""
    found = list(names)
    if len(found) > NAMED + 1:
        return f"{', '.join(found[:NAMED])} and {len(found) - NAMED:,} others"
    if len(found) > 1:
        return f"{', '.join(found[:-1])} and {found[-1]}"
    return "".join(found)


class _Teller:
    """The people of one event."""

    def __init__(self, entry: Entry, own_id: str, name_of: Callable[[str], str]) -> None:
        self._entry = entry
        self._own = own_id
        self._name_of = name_of
        data = entry.fields.get("data")
        self._data: dict[str, Any] = data if isinstance(data, dict) else {}
        self._who = str(entry.fields.get("userId") or "")
        self._self = not self._who or self._who == entry.sender_id
        self.actor = self._name(entry.sender_id, "You")

    def _name(self, user_id: str, own: str) -> str:
        if user_id == self._own:
            return own
        if not user_id:
            return "Somebody"
        return text.cut(text.one_line(self._name_of(user_id)), 40)

    def added(self) -> list[str]:
        ids = self._data.get("userIds")
        if isinstance(ids, list) and not self._who:
            others = [str(user) for user in ids if str(user) != self._entry.sender_id]
            others.sort(key=lambda user: user != self._own)
            shown = [self._name(user, "you") for user in others[: NAMED + 1]]
            whom = some([*shown, *others[NAMED + 1 :]])
            if "creatorId" in self._data:
                return [
                    f"{self.actor} made the group with {whom}" if whom else f"{self.actor} made the group"
                ]
            return [f"{self.actor} added {whom}"] if whom else []
        if self._self:
            return [f"{self.actor} joined by a link"]
        if self._data.get("invitedBy"):
            return [f"{self.actor} let {self._name(self._who, 'you')} in"]
        return [f"{self.actor} added {self._name(self._who, 'you')}"]

    def removed(self) -> list[str]:
        if self._self:
            return [f"{self.actor} left"]
        return [f"{self.actor} removed {self._name(self._who, 'you')}"]

    def role(self) -> list[str]:
        role, whom = self._data.get("role"), self._name(self._who, "you")
        if self._self:
            what = {"admin": "an admin", "creator": "the owner"}.get(str(role), "a plain member")
            return [f"{self.actor} {'are' if self._entry.sender_id == self._own else 'is'} {what} now"]
        if role == "creator":
            return [f"{self.actor} handed the group over to {whom}"]
        if role == "admin":
            return [f"{self.actor} made {whom} an admin"]
        return [f"{self.actor} made {whom} a plain member"]

    def timer(self) -> list[str]:
        seconds = self._data.get("seconds")
        if not isinstance(seconds, int) or seconds <= 0:
            return [f"◷ {self.actor} turned disappearing messages off"]
        return [f"◷ {self.actor} made new messages disappear after {clock.span(seconds)}"]

    def info(self) -> list[str]:
        data, told = self._data, []
        if data.get("dissolved"):
            return [f"{self.actor} ended the group"]
        first = self._entry.seq == 2  # said with the group's making
        if "name" in data:
            name = text.cut(text.one_line(str(data["name"])), ROOM)
            told.append(
                f"The group is called “{name}”" if first else f"{self.actor} changed the name to “{name}”"
            )
        if "description" in data and (data["description"] or not first):
            about = text.cut(text.one_line(str(data["description"])), ROOM)
            told.append(
                (f"It is about: {about}" if first else f"{self.actor} changed the description: {about}")
                if about
                else f"{self.actor} took the description away"
            )
        settings = data.get("settings")
        if isinstance(settings, dict) and not first:
            told.append(f"{self.actor} changed the settings: {allowed(settings)}")
        if data.keys() & {"icon", "iconUrl", "iconId"}:
            told.append(f"{self.actor} changed the picture")
        return told or [f"{self.actor} changed the group"]
