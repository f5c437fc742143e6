"""Who is in a conversation and which devices a user has, cached per process.

Members of a direct conversation never change, so once both have accepted each other its entry stays until it is pushed out. A
group's entry, that of a message request and a user's device list serve for at most 5 s (R17 and the stated bound: who was
removed, or may only listen from now on, may send for 5 s; a device younger than twice that rebuilds its dirty set at each
opening, so a list read before it was linked loses nothing).

Whoever must not miss anybody awaits :meth:`Roster.lists` and :meth:`Roster.devices`: what they return was in force when it was
looked at and is whole, whatever leaves the cache meanwhile.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from itertools import islice
from typing import Any

from delivery.store.interface import Store
from delivery.store.values import DEVICE_LIST_MAX_AGE_MS, Conversation, DeviceRow
from whatsapp.infra import faults
from whatsapp.infra.batcher import AskBatcher

GROUP_MAX_AGE_S = 5.0
#: A list may serve this long after its age was looked at: the wait for other lists. With the wait for the hot node it stays
#: below what a young device bridges.
DEVICE_LIST_GRACE_S = 1.5
MAX_ENTRIES = 100_000
#: Device lists that were needed since they were read and end within this time are read again with the next one that is missing:
#: one statement for many, and hardly a message that waits for its own.
DEVICE_LIST_AHEAD_S = DEVICE_LIST_MAX_AGE_MS / 2000
READ_AHEAD = 512


class _Devices:
    """A user's device list in the cache. The cache is in the order in which they were read."""

    __slots__ = ("needed", "rows", "until")

    def __init__(self, until: float, rows: tuple[DeviceRow, ...]) -> None:
        self.until = until  # loop time
        self.rows = rows
        self.needed = False  # since it was read


class Roster:
    def __init__(self, store: Store) -> None:
        self._store = store
        self._conversations: dict[str, tuple[float, Conversation]] = {}
        self._devices: dict[str, _Devices] = {}
        self._ask_conversations: AskBatcher[str] = AskBatcher(self._load_conversations)
        self._ask_devices: AskBatcher[str] = AskBatcher(self._load_devices)
        self._time = asyncio.get_running_loop().time

    async def lists(self, heads: Mapping[str, int]) -> dict[str, Conversation]:
        """Member lists by conversation, each one that may serve events up to the given seq (R17; 0: any). Conversations that
        do not exist are absent."""
        found: dict[str, Conversation] = {}
        missing: list[str] = []
        for conversation, seq in heads.items():
            entry = self._conversations.get(conversation)
            if entry is not None and self._holds(entry, seq):
                found[conversation] = entry[1]
            else:
                missing.append(conversation)
        if missing:
            answers = await asyncio.gather(*[self._ask_conversations.ask(c) for c in missing])
            found.update({c: known for c, known in zip(missing, answers, strict=True) if known is not None})
        return found

    async def reread(self, conversations: Iterable[str]) -> dict[str, Conversation]:
        """Member lists read after this call, whatever is cached: for a refusal, which must not rest on an old list (who has just
        come in would be turned away for good)."""
        wanted = list(conversations)
        answers = await asyncio.gather(*[self._ask_conversations.ask(c) for c in wanted])
        return {c: known for c, known in zip(wanted, answers, strict=True) if known is not None}

    async def devices(self, users: Iterable[str]) -> dict[str, tuple[DeviceRow, ...]]:
        """The device list of every user named."""
        found: dict[str, tuple[DeviceRow, ...]] = {}
        until = self._time() + GROUP_MAX_AGE_S
        wanted = set(users)
        while wanted:
            missing: list[str] = []
            for user in wanted:
                entry = self._devices.get(user)
                if entry is None or entry.until < self._time():
                    missing.append(user)
                else:
                    entry.needed = True
                    found[user] = entry.rows
                    until = min(until, entry.until)
            if not missing:
                break
            answers = await asyncio.gather(*[self._ask_devices.ask(user) for user in missing])
            for user, (read_until, rows) in zip(missing, answers, strict=True):
                found[user] = rows
                until = min(until, read_until)
            if self._time() <= until + DEVICE_LIST_GRACE_S:
                break
            until = self._time() + GROUP_MAX_AGE_S  # it took too long: look again
        return found

    def _holds(self, entry: tuple[float, Conversation], seq: int) -> bool:
        until, known = entry
        if known.kind == "direct":
            return not known.unaccepted or until >= self._time()
        return self._is_young(until) and serves(known, seq)

    def _is_young(self, until: float) -> bool:
        return until >= self._time() or faults.off("list_age")

    def forget(self, conversation: str) -> None:
        self._conversations.pop(conversation, None)

    def forget_devices(self, user: str) -> None:
        self._devices.pop(user, None)

    async def _load_conversations(self, ids: list[str]) -> list[Conversation | None]:
        until = self._time() + GROUP_MAX_AGE_S
        found = await self._store.conversations(list(dict.fromkeys(ids)))
        _make_room(self._conversations, len(found))
        for id_, conversation in found.items():
            self._conversations[id_] = (until, conversation)
        return [found.get(id_) for id_ in ids]

    async def _load_devices(self, users: list[str]) -> list[tuple[float, tuple[DeviceRow, ...]]]:
        # The age counts from before the read.
        until = self._time() + DEVICE_LIST_MAX_AGE_MS / 1000
        ending = self._ending()
        found = await self._store.devices(list(dict.fromkeys([*users, *ending])))
        _make_room(self._devices, len(found))
        for user, rows in found.items():
            entry = self._devices.pop(user, None)
            if user in ending and entry is None:
                continue  # it was forgotten while this was read
            self._devices[user] = _Devices(until, rows)
        return [(until, found[user]) for user in users]

    def _ending(self) -> set[str]:
        """Whose lists are to be read ahead. Lists that nobody has needed leave the cache when their time is over."""
        now = self._time()
        ahead, over = set[str](), []
        for user, entry in islice(self._devices.items(), 2 * READ_AHEAD):
            if entry.until > now + DEVICE_LIST_AHEAD_S or len(ahead) >= READ_AHEAD:
                break
            if entry.needed:
                ahead.add(user)
            elif entry.until < now:
                over.append(user)
        for user in over:
            del self._devices[user]
        return ahead


def _make_room(cache: dict[str, Any], coming: int) -> None:
    """Push out the entries that came first."""
    over = len(cache) + coming - MAX_ENTRIES
    if over > 0:
        for key in list(cache)[: over + MAX_ENTRIES // 10]:
            del cache[key]


def serves(known: Conversation, seq: int) -> bool:
    """Whether a member list may say who is owed ``seq``: it was read at that head or later (R17)."""
    return known.head >= seq or faults.off("list_head")


def is_member(conversation: Conversation, user: str) -> bool:
    return user in conversation.current


def was_member(conversation: Conversation, user: str) -> bool:
    return any(interval.user == user for interval in conversation.members)


def owed(conversation: Conversation, seq: int) -> list[str]:
    """Users who were members at ``seq`` (C4, R16)."""
    if faults.off("intervals"):
        return list(conversation.current)
    if faults.off("left"):
        return unique([interval.user for interval in conversation.members if interval.joined <= seq])
    return [
        interval.user
        for interval in conversation.members
        if interval.joined <= seq and (not interval.left or seq <= interval.left)
    ]


def last_owed(conversation: Conversation, head: int) -> dict[str, int]:
    """Up to where each user is owed something, at most ``head``. Whoever left may not have read what came before."""
    found: dict[str, int] = {}
    for user, joined, left in conversation.members:
        if joined <= head:
            found[user] = max(found.get(user, 0), min(left or head, head))
    return found


def unique(items: Sequence[str]) -> list[str]:
    return list(dict.fromkeys(items))
