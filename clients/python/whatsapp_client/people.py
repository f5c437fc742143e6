"""People over REST: contacts, blocks, privacy, profiles and pictures; a chat's timer; the PIN and the number; broadcast lists."""

from __future__ import annotations

import base64
import hashlib
import json
import time
import uuid
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from .entry import whole
from .errors import NotFound
from .group_calls import _media_type, _path
from .outgoing import Outgoing
from .signals import Signals
from .writes import repeated

PROFILE_MS = 3_600_000  # how long a profile is good
MAX_HASHES = 10_000  # in one call
MAX_LIST = 256


@dataclass(frozen=True, slots=True)
class Profile:
    """What somebody shows of themselves. ``photo``: whether there is a picture to ask for."""

    user_id: str
    name: str
    about: str
    photo: bool = False


@dataclass(frozen=True, slots=True)
class Contact:
    user_id: str
    name: str
    nickname: str
    about: str = ""
    phone_number: str = ""


@dataclass(frozen=True, slots=True)
class BroadcastList:
    """People who get the same message, each in a chat of their own, without knowing of each other. Kept by this device."""

    list_id: str
    name: str
    user_ids: tuple[str, ...]


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
        self.database.begin()
        return _contact(item)

    async def sync_contacts(self, phone_numbers: Iterable[str]) -> list[Contact]:
        """Add everybody of an address book who is here, by hashes of the numbers (E.164). The server takes 10,000 in one
        call, and one call an hour: of a longer book the rest is asked by later calls of this method. Raises
        :class:`RateLimited`."""
        raise NotImplementedError

    async def rename_contact(self, user_id: str, nickname: str) -> Contact:
        raise NotImplementedError

    async def remove_contact(self, user_id: str) -> None:
        raise NotImplementedError

    async def accept_request(self, conversation_id: str) -> None:
        """Answer a stranger's message request with yes."""
        raise NotImplementedError

    # -- blocks and privacy --------------------------------------------------------------------------------
    async def block(self, user_id: str) -> None:
        raise NotImplementedError

    async def unblock(self, user_id: str) -> None:
        raise NotImplementedError

    async def blocks(self) -> list[str]:
        """User ids."""
        raise NotImplementedError

    async def privacy(self) -> dict[str, str]:
        """``lastSeen``, ``online``, ``photo``, ``about``, ``readReceipts``: ``everyone``, ``contacts`` or ``nobody``."""
        return dict(await repeated(lambda: self.rest.call("GET", "/me/privacy")))

    async def set_privacy(self, **settings: str) -> dict[str, str]:
        """Change what is named; all of it as it is then."""
        return dict(await repeated(lambda: self.rest.call("PATCH", "/me/privacy", settings)))

    # -- profiles ------------------------------------------------------------------------------------------
    async def profile(self, user_id: str) -> Profile:
        """What somebody shows; asked at most once an hour, unless the server says that it changed."""
        raise NotImplementedError

    async def photo(self, user_id: str, *, thumb: bool = False) -> bytes:
        """Somebody's picture. Raises :class:`NotFound` when there is none to be seen."""
        raise NotImplementedError

    async def set_photo(self, image: bytes | None) -> None:
        """One's own picture: a JPEG, PNG or WebP, or None for none."""
        raise NotImplementedError

    # -- a chat --------------------------------------------------------------------------------------------
    async def set_timer(self, conversation_id: str, seconds: int | None) -> None:
        """New messages of this chat vanish after so many seconds, for all; None: they stay."""
        raise NotImplementedError

    # -- the account ---------------------------------------------------------------------------------------
    async def set_pin(self, pin: str, old: str | None = None) -> None:
        raise NotImplementedError

    async def remove_pin(self, old: str) -> None:
        raise NotImplementedError

    async def change_number(self, new_number: str, code: str, pin: str | None = None) -> None:
        """The code comes by SMS to the new number (``client.rest.register(new_number)``)."""
        raise NotImplementedError

    # -- broadcast lists -----------------------------------------------------------------------------------
    async def broadcast_lists(self) -> list[BroadcastList]:
        raise NotImplementedError

    async def create_broadcast_list(self, name: str, user_ids: Iterable[str]) -> BroadcastList:
        """Raises ValueError for nobody, or more than 256."""
        raise NotImplementedError

    async def update_broadcast_list(
        self, list_id: str, name: str | None = None, user_ids: Iterable[str] | None = None
    ) -> BroadcastList:
        raise NotImplementedError

    async def remove_broadcast_list(self, list_id: str) -> None:
        raise NotImplementedError

    def send_to_list(
        self, list_id: str, content: str | bytes, *, kind: str = "text", **fields: Any
    ) -> list[Outgoing]:
        """Queue a message to each of a list. Raises ValueError for a list that is not here."""
        raise NotImplementedError


def _contact(item: dict[str, Any]) -> Contact:
    return Contact(
        str(item["userId"]), str(item.get("name") or ""), str(item.get("nickname") or ""), str(item.get("about") or ""),
        str(item.get("phoneNumber") or ""),
    )  # fmt: skip


_ = (base64, hashlib, json, time, uuid, whole, NotFound, _media_type, _path)
