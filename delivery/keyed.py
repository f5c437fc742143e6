"""Which devices take envelopes, cached per process, and what is wrong with the envelopes of a send.

A list serves for at most 5 s and is forgotten at once when the bus says that it has changed. So a device that was linked, or
has other keys, may for so long (a lost message of the bus) be sent something without an envelope that it can open. Nobody is
refused by an old list: what a list in the cache does not allow is looked at again in one that is read then.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from delivery.envelopes import Seal
from delivery.ports import EnvelopeDevices
from delivery.store.interface import Unavailable
from delivery.store.values import DEVICE_LIST_MAX_AGE_MS, Conversation
from whatsapp.infra import faults
from whatsapp.infra.batcher import AskBatcher

MAX_ENTRIES = 100_000
#: Users looked up by one statement.
AT_ONCE = 512
#: Other sends wait with those of their batch: a server that is frozen, or a table that is locked, must not hold them for longer.
READ_TIMEOUT_S = 3.0
#: Devices that an error names of each kind; the next attempt is told of the rest.
MAX_NAMED = 500

#: device → registration id
Devices = Mapping[str, int]


class Sealed(NamedTuple):
    """A send whose envelopes are to be looked at."""

    conversation: Conversation
    device: str  # that sends
    seal: Seal

    @property
    def complete(self) -> bool:
        """Whether every device must have an envelope: but for a group whose members the sender has named, where most may have
        the sender's key already."""
        return not (self.seal.member_hash and self.conversation.kind == "group")

    def users(self) -> Iterable[str]:
        """Whose devices must be known to judge it."""
        members = self.conversation.current
        if self.complete:
            return members
        return {one.user_id for one in self.seal.envelopes} & members


class Keyed:
    """All methods raise ``Unavailable``."""

    def __init__(self, read: EnvelopeDevices) -> None:
        self._read = read
        self._lists: dict[str, tuple[float, Devices]] = {}
        self._ask: AskBatcher[str] = AskBatcher(self._load, AT_ONCE)
        #: While a read is under way: what it says of them may be old.
        self._changed: set[str] | None = None
        self._time = asyncio.get_running_loop().time

    def forget(self, user: str) -> None:
        """The user's devices or their keys have changed."""
        if faults.off("forget_devices"):
            return
        self._lists.pop(user, None)
        if self._changed is not None:
            self._changed.add(user)

    async def mismatches(self, asked: Sequence[Sealed]) -> list[dict[str, Any] | None]:
        """For each: None, or ``missing``, ``extra`` and ``stale`` devices as ``device_mismatch`` tells them."""
        if faults.off("envelopes"):
            return [None] * len(asked)
        lists = await self._known({user for one in asked for user in one.users()})
        found = [mismatch(one, lists) for one in asked]
        doubted = {user for one, wrong in zip(asked, found, strict=True) if wrong for user in one.users()}
        if doubted and not faults.off("reread"):
            lists |= await self._fresh(doubted)
            found = [mismatch(one, lists) for one in asked]
        return found

    async def _known(self, users: Iterable[str]) -> dict[str, Devices]:
        found: dict[str, Devices] = {}
        missing: list[str] = []
        now = self._time()
        for user in users:
            entry = self._lists.get(user)
            if entry is not None and (entry[0] >= now or faults.off("list_age")):
                found[user] = entry[1]
            else:
                missing.append(user)
        return found | await self._fresh(missing)

    async def _fresh(self, users: Iterable[str]) -> dict[str, Devices]:
        """Lists that are read after this call."""
        wanted = list(users)
        if not wanted:
            return {}
        try:
            async with asyncio.timeout(READ_TIMEOUT_S):
                answers = await asyncio.gather(*[self._ask.ask(user) for user in wanted])
        except TimeoutError:
            raise Unavailable("the devices could not be read") from None
        return dict(zip(wanted, answers, strict=True))

    async def _load(self, users: list[str]) -> list[Devices]:
        # The age counts from before the read. One read is under way at a time.
        until = self._time() + DEVICE_LIST_MAX_AGE_MS / 1000
        changed: set[str] = set()
        self._changed = changed
        try:
            found = await self._read(list(dict.fromkeys(users)))
        finally:
            self._changed = None
        self._make_room(len(found))
        for user, devices in found.items():
            if user not in changed:
                self._lists[user] = until, devices
        return [found[user] for user in users]

    def _make_room(self, coming: int) -> None:
        """Push out the entries that came first."""
        over = len(self._lists) + coming - MAX_ENTRIES
        if over > 0:
            for user in list(self._lists)[: over + MAX_ENTRIES // 10]:
                del self._lists[user]


def mismatch(asked: Sealed, lists: Mapping[str, Devices]) -> dict[str, Any] | None:
    """What is wrong with these envelopes by these lists, None for nothing."""
    members = asked.conversation.current
    missing: list[tuple[str, str]] = []
    extra: list[tuple[str, str]] = []
    stale: list[tuple[str, str]] = []
    given: set[str] = {asked.device}
    for one in asked.seal.envelopes:
        user, device = one.user_id, one.device_id
        registration = lists[user].get(device) if user in members else None
        if registration is None or device == asked.device:
            extra.append((user, device))
        else:
            given.add(device)
            if registration != one.registration_id:
                stale.append((user, device))
    if asked.complete:
        missing = [(user, device) for user in members for device in lists[user] if device not in given]
    if not (missing or extra or stale):
        return None
    return {"missing": _shown(missing), "extra": _shown(extra), "stale": _shown(stale)}


def _shown(devices: list[tuple[str, str]]) -> list[dict[str, str]]:
    return [{"userId": user, "deviceId": device} for user, device in sorted(devices)[:MAX_NAMED]]
