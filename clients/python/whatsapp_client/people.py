"""People over REST: contacts, blocks, privacy, profiles and pictures; a chat's timer; broadcast lists."""

from __future__ import annotations

import base64
import hashlib
import json
import uuid
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from .errors import RateLimited
from .group_calls import media_type, part
from .known_people import Profile
from .outgoing import Outgoing
from .signals import Signals
from .writes import repeated

PROFILE_MS = 3_600_000  # how long a profile is good
MAX_HASHES = 10_000  # in one call
MAX_LIST = 256
MAX_NAME = 100
HOUR_MS = 3_600_000


@dataclass(frozen=True, slots=True)
class Contact:
    user_id: str
    name: str
    nickname: str
    about: str = ""
    phone_number: str = ""


@dataclass(frozen=True, slots=True)
class BroadcastList:
    """People who get the same message, each in a chat of their own, without knowing of each other. Kept by this device.
    ``chats``: by user id, the chat with each."""

    list_id: str
    name: str
    chats: dict[str, str]

    @property
    def user_ids(self) -> list[str]:
        return list(self.chats)


class People(Signals):
    """The part of a :class:`Client` that deals with people. Everything awaitable raises :class:`RestError` and
    :class:`Unreachable`."""

    def _queue(self, conversation_id: str, content: bytes, kind: str, fields: dict[str, Any]) -> Outgoing:
        raise NotImplementedError

    # -- contacts ------------------------------------------------------------------------------------------
    async def contacts(self) -> list[Contact]:
        """The address book, as the server has it."""
        items = await self.rest.contacts()
        self._chats.people(items)
        self.database.begin()
        return [_contact(item) for item in items]

    async def add_contact(self, phone_number: str, nickname: str = "") -> Contact:
        """Raises :class:`NotFound` while nobody has registered this number."""
        item = await self.rest.add_contact(phone_number, nickname)
        self._chats.people([item])
        self._accepted(str(item["userId"]))
        self.database.begin()
        return _contact(item)

    async def sync_contacts(self, phone_numbers: Iterable[str]) -> list[Contact]:
        """Add everybody of an address book who is here, by hashes of the numbers (E.164). The server takes 10,000 in one
        call, and one call an hour: of a longer book the rest is asked by later calls of this method. Raises
        :class:`RateLimited`."""
        hashes = sorted(
            {base64.b64encode(hashlib.sha256(n.encode()).digest()).decode() for n in phone_numbers}
        )
        after, asked_at = self.database.get("contacts_after"), int(self.database.get("contacts_at", "0"))
        left = asked_at + HOUR_MS - self.database.now_ms()
        if 0 < left <= HOUR_MS:
            raise RateLimited(429, "rate_limited", "once an hour", retry_after=left / 1000)
        part = [one for one in hashes if one > after][:MAX_HASHES] or hashes[:MAX_HASHES]
        items = (await self._writes.post("/contacts/sync", {"hashes": part}))["items"]
        self.database.put("contacts_at", str(self.database.now_ms()))
        self.database.put("contacts_after", part[-1] if part and part[-1] != hashes[-1] else "")
        self._chats.people(items)
        return [_contact(item) for item in items]

    def _accepted(self, user_id: str) -> None:
        """Who is a contact is no stranger."""
        chat = self._chats.direct(user_id)
        if chat is not None:
            self._chats.accepted(chat)

    async def rename_contact(self, user_id: str, nickname: str) -> Contact:
        """Another nickname; who is no contact yet becomes one."""
        item = await self._do("PUT", f"/contacts/{part(user_id)}", {"nickname": nickname})
        self._chats.people([item])
        self._accepted(user_id)
        self.database.begin()
        return _contact(item)

    async def remove_contact(self, user_id: str) -> None:
        """The chat stays."""
        await self._do("DELETE", f"/contacts/{part(user_id)}")
        self._chats.unnick(user_id)

    async def accept_request(self, conversation_id: str) -> None:
        """Answer a stranger's message request with yes."""
        await self._do("PATCH", f"/conversations/{part(conversation_id)}", {"accepted": True})
        self._chats.accepted(conversation_id)

    # -- blocks and privacy --------------------------------------------------------------------------------
    async def block(self, user_id: str) -> None:
        await self._do("PUT", f"/blocks/{part(user_id)}")
        self._chats.block(user_id, True)

    async def unblock(self, user_id: str) -> None:
        await self._do("DELETE", f"/blocks/{part(user_id)}")
        self._chats.block(user_id, False)

    async def blocks(self) -> list[str]:
        """User ids."""
        users = [str(item["userId"]) for item in await self.rest.items("/blocks")]
        for user_id in self._chats.blocked - set(users):
            self._chats.block(user_id, False)
        for user_id in users:
            self._chats.block(user_id, True)
        return users

    async def privacy(self) -> dict[str, str]:
        """``lastSeen``, ``online``, ``photo``, ``about``, ``readReceipts``: ``everyone``, ``contacts`` or ``nobody``."""
        return dict(await self._read("/me/privacy"))

    async def set_privacy(self, **settings: str) -> dict[str, str]:
        """Change what is named; all of it as it is then."""
        return dict(await self._do("PATCH", "/me/privacy", settings))

    # -- profiles ------------------------------------------------------------------------------------------
    async def profile(self, user_id: str) -> Profile:
        """What somebody shows; asked at most once an hour, unless the server says that it changed."""
        known = self._chats.profile(user_id, self.database.now_ms() - PROFILE_MS)
        if known is None:
            began = self._chats.profiles_dropped
            item = await self._read(f"/users/{part(user_id)}")
            known = self._chats.profiled(
                item, self.database.now_ms() if began == self._chats.profiles_dropped else 0
            )
        return known

    async def photo(self, user_id: str, *, thumb: bool = False) -> bytes:
        """Somebody's picture. Raises :class:`NotFound` when there is none to be seen."""
        size = "thumb" if thumb else "full"
        return bytes(await self._read(f"/users/{part(user_id)}/photo?size={size}"))

    async def set_photo(self, image: bytes | None) -> None:
        """One's own picture: a JPEG, PNG or WebP, or None for none."""
        if image is None:
            await self._do("DELETE", "/me/photo")
            return
        await repeated(lambda: self.rest.call("PUT", "/me/photo", image, media_type=media_type(image)))

    # -- a chat --------------------------------------------------------------------------------------------
    async def set_timer(self, conversation_id: str, seconds: int | None) -> None:
        """New messages of this chat vanish after so many seconds, for all; None: they stay."""
        await self._do("PATCH", f"/conversations/{part(conversation_id)}", {"timer": seconds})

    # -- broadcast lists -----------------------------------------------------------------------------------
    async def broadcast_lists(self) -> list[BroadcastList]:
        """By name. They are in this device's file."""
        rows = self.database.read("SELECT id, name, users FROM lists ORDER BY name, id").fetchall()
        return [BroadcastList(list_id, name, json.loads(chats)) for list_id, name, chats in rows]

    async def create_broadcast_list(self, name: str, user_ids: Iterable[str]) -> BroadcastList:
        """Chats with these people that do not exist yet are made. Raises ValueError for nobody, or more than 256;
        :class:`NotFound` for who is not there."""
        return await self._save_list(str(uuid.uuid4()), name, user_ids)

    async def update_broadcast_list(
        self, list_id: str, name: str | None = None, user_ids: Iterable[str] | None = None
    ) -> BroadcastList:
        """Another name, or other people."""
        known = self._list(list_id)
        return await self._save_list(
            list_id, known.name if name is None else name, known.user_ids if user_ids is None else user_ids
        )

    async def remove_broadcast_list(self, list_id: str) -> None:
        """The chats stay."""
        self.database.write("DELETE FROM lists WHERE id = ?", (list_id,))

    def send_to_list(
        self, list_id: str, content: str | bytes, *, kind: str = "text", **fields: Any
    ) -> list[Outgoing]:
        """Queue a message in the chat with each of a list; all of them, or none. Raises ValueError for a list that is not
        here, and what :meth:`Client.send` raises."""
        chats = list(self._list(list_id).chats.values())
        raw = content.encode() if isinstance(content, str) else content
        self.outbox.check_room(len(chats), len(raw))
        return [self._queue(chat, raw, kind, dict(fields)) for chat in chats]

    def _list(self, list_id: str) -> BroadcastList:
        row = self.database.read("SELECT name, users FROM lists WHERE id = ?", (list_id,)).fetchone()
        if row is None:
            raise ValueError("there is no such list")
        return BroadcastList(list_id, row[0], json.loads(row[1]))

    async def _save_list(self, list_id: str, name: str, user_ids: Iterable[str]) -> BroadcastList:
        users = [user for user in dict.fromkeys(user_ids) if user != self.session.user_id]
        if not 0 < len(users) <= MAX_LIST:
            raise ValueError(f"a list has 1 to {MAX_LIST} people")
        if not 0 < len(name) <= MAX_NAME:
            raise ValueError(f"a list has a name of at most {MAX_NAME} characters")
        chats = {user: self._chats.direct(user) or await self.rest.direct(user) for user in users}
        for user, chat in chats.items():
            self._chats.is_direct(chat, user)
        self.database.write(
            "INSERT OR REPLACE INTO lists VALUES (?, ?, ?)", (list_id, name, json.dumps(chats))
        )
        return BroadcastList(list_id, name, chats)


def _contact(item: dict[str, Any]) -> Contact:
    return Contact(
        str(item["userId"]), str(item.get("name") or ""), str(item.get("nickname") or ""), str(item.get("about") or ""),
        str(item.get("phoneNumber") or ""),
    )  # fmt: skip
