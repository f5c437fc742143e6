"""What this device knows of people: nicknames, names, profiles that were read."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from .codecs import Frame
from .database import Database
from .groups import text


@dataclass(frozen=True, slots=True)
class Profile:
    """What somebody shows of themselves. ``photo``: the version of their picture (another one, another picture), "" for none
    that this user may see; :meth:`Client.photo` reads it."""

    user_id: str
    name: str
    about: str
    photo: str = ""


class KnownPeople:
    """Kept in the file."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self.profiles_dropped = 0
        self._people: dict[str, tuple[str, str, str]] = {
            row[0]: row[1:]
            for row in database.read("SELECT id, nickname, name, about FROM people").fetchall()
        }

    def _touch_of(self, user_id: str) -> None:
        """The chat with this user shows something else."""
        raise NotImplementedError

    def name(self, user_id: str) -> str:
        """The nickname in one's contacts, the name of the profile, or a short form of the id."""
        nickname, name, _ = self._people.get(user_id, ("", "", ""))
        return nickname or name or f"user {user_id[-8:]}"

    def knows(self, user_id: str) -> bool:
        """Whether the profile was ever read."""
        return user_id in self._people

    def people(self, people: Iterable[dict[str, Any]]) -> None:
        """Items of ``GET /contacts``, answers of ``GET /users/{id}`` or members of a group (which know no nickname)."""
        for person in people:
            user_id = str(person["userId"])
            known = self._people.get(user_id)
            nickname = str(person["nickname"]) if "nickname" in person else (known or ("",))[0]
            about = str(person.get("about") or "") if "about" in person else (known or ("", "", ""))[2]
            facts = (nickname, str(person.get("name") or ""), about)
            if facts != known:
                self._people[user_id] = facts
                self._database.write(
                    "INSERT INTO people (id, nickname, name, about) VALUES (?, ?, ?, ?) ON CONFLICT (id) "
                    "DO UPDATE SET nickname = excluded.nickname, name = excluded.name, about = excluded.about",
                    (user_id, *facts),
                )
                self._touch_of(user_id)

    def unnick(self, user_id: str) -> None:
        """No contact any more."""
        known = self._people.get(user_id)
        if known is not None and known[0]:
            self._people[user_id] = ("", *known[1:])
            self._database.write("UPDATE people SET nickname = '' WHERE id = ?", (user_id,))
            self._touch_of(user_id)

    def profile(self, user_id: str, asked_after: int) -> Profile | None:
        """As it was read, if that was later than ``asked_after`` (ms)."""
        row = self._database.read(
            "SELECT name, about, photo FROM people WHERE id = ? AND asked_at > ?", (user_id, asked_after)
        ).fetchone()
        return Profile(user_id, *row) if row else None

    def profiled(self, item: Frame, at: int) -> Profile:
        """An answer of ``GET /users/{id}``, good from ``at`` on (0: overtaken already)."""
        self.people([item])
        picture = item.get("photo")
        photo = text(picture.get("version") or "") if isinstance(picture, dict) else ""
        self._database.write(
            "UPDATE people SET asked_at = ?, photo = ? WHERE id = ?", (at, photo, str(item["userId"]))
        )
        return Profile(str(item["userId"]), str(item.get("name") or ""), str(item.get("about") or ""), photo)

    def forget_profile(self, user_id: str) -> None:
        """It has changed: the next question goes to the server."""
        self.profiles_dropped += 1
        self._database.write("UPDATE people SET asked_at = 0 WHERE id = ? AND asked_at > 0", (user_id,))
