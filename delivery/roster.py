"""Who is in a conversation and which devices a user has, cached per process.

Members of a direct conversation never change, so its entry stays until it is pushed out. A group's entry and a user's device
list serve for at most 5 s (R17 and the stated bound: a removed member may send for 5 s; a device younger than twice that
rebuilds its dirty set at each opening, so a list read before it was linked loses nothing).
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence

from delivery.store.interface import DEVICE_LIST_MAX_AGE_MS, Conversation, DeviceRow, Store
from whatsapp.infra.batcher import AskBatcher

GROUP_MAX_AGE_S = 5.0
MAX_ENTRIES = 100_000


class Roster:
    def __init__(self, store: Store) -> None:
        self._store = store
        self._conversations: dict[str, tuple[float, Conversation]] = {}
        self._devices: dict[str, tuple[float, tuple[DeviceRow, ...]]] = {}
        self._ask_conversations: AskBatcher[str] = AskBatcher(self._load_conversations)
        self._ask_devices: AskBatcher[str] = AskBatcher(self._load_devices)
        self._time = asyncio.get_running_loop().time

    def conversation(self, conversation: str) -> Conversation | None:
        """The cached entry if it may still serve."""
        entry = self._conversations.get(conversation)
        if entry is None:
            return None
        if entry[0] < self._time() and entry[1].kind != "direct":
            return None
        return entry[1]

    async def load(self, conversations: Iterable[str]) -> None:
        """Make entries for those that exist; afterwards :meth:`conversation` tells."""
        asks = [self._ask_conversations.ask(conversation) for conversation in conversations]
        if asks:
            await asyncio.gather(*asks)

    def devices(self, user: str) -> tuple[DeviceRow, ...] | None:
        entry = self._devices.get(user)
        if entry is None or entry[0] < self._time():
            return None
        return entry[1]

    async def load_devices(self, users: Iterable[str]) -> None:
        asks = [self._ask_devices.ask(user) for user in users]
        if asks:
            await asyncio.gather(*asks)

    def forget_devices(self, user: str) -> None:
        self._devices.pop(user, None)

    async def _load_conversations(self, ids: list[str]) -> list[None]:
        until = self._time() + GROUP_MAX_AGE_S
        found = await self._store.conversations(list(dict.fromkeys(ids)))
        if len(self._conversations) > MAX_ENTRIES:
            self._conversations.clear()
        for id_, conversation in found.items():
            self._conversations[id_] = (until, conversation)
        return [None] * len(ids)

    async def _load_devices(self, users: list[str]) -> list[None]:
        # The age counts from before the read.
        until = self._time() + DEVICE_LIST_MAX_AGE_MS / 1000
        found = await self._store.devices(list(dict.fromkeys(users)))
        if len(self._devices) > MAX_ENTRIES:
            self._devices.clear()
        for user, rows in found.items():
            self._devices[user] = (until, rows)
        return [None] * len(users)


def is_member(conversation: Conversation, user: str) -> bool:
    return any(interval.user == user and not interval.left for interval in conversation.members)


def was_member(conversation: Conversation, user: str) -> bool:
    return any(interval.user == user for interval in conversation.members)


def owed(conversation: Conversation, seq: int) -> list[str]:
    """Users who were members at ``seq`` (C4, R16)."""
    return [
        interval.user
        for interval in conversation.members
        if interval.joined <= seq and (not interval.left or seq <= interval.left)
    ]


def unique(items: Sequence[str]) -> list[str]:
    return list(dict.fromkeys(items))
