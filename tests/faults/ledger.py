"""What was confirmed over REST while a database was lost: who was removed, signed out, blocked whom, and which one-time keys were
given. ``Ledger.breaches`` asks the system that is left whether it still knows."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from typing import Any

import httpx

from tests.faults.history import Sent
from tests.gateway.phone import Phone, sign_up
from tests.groups.test_sockets import make
from tests.support.signal_keys import IdentityPair, keys

REMOVED, SIGNED_OUT, BLOCKED, KEY, MESSAGE = "removed", "signed out", "blocked", "key", "message"


class Ledger:
    """``admin`` has a group with ``crowd``; ``keeper`` has left one-time keys. Each of the crowd takes a key, blocks the admin,
    is removed and signs out, in this order, each step once: what has no answer is not known to have happened, and is not
    counted."""

    def __init__(self, admin: Phone, keeper: Phone, crowd: list[Phone], group: str) -> None:
        self.admin, self.keeper, self.crowd, self.group = admin, keeper, crowd, group
        self.confirmed: list[tuple[str, Any]] = []
        self.unanswered = 0

    @classmethod
    async def open(cls, system: Any, admin: Phone, keeper: Phone, number: int) -> Ledger:
        crowd: list[Phone] = []
        while len(crowd) < number:
            crowd += await asyncio.gather(*[sign_up(system) for _ in range(min(8, number - len(crowd)))])
        answer = await keeper.rest("POST", "/keys", keys(IdentityPair(), classic=150))
        assert answer.status_code == 204, answer.text
        return cls(admin, keeper, crowd, await make(admin, keeper, *crowd))

    def count(self, kind: str = "") -> int:
        return sum(not kind or kind == one for one, _ in self.confirmed)

    async def live(self, pause: float = 0.05) -> None:
        """One after the other, until nobody is left."""
        for one in self.crowd:
            answer = await self._ask(one, "GET", f"/keys/{self.keeper.user}")
            if answer is not None:
                for device in answer.json()["devices"]:
                    if device.get("preKey"):
                        self.confirmed.append((KEY, device["preKey"]["keyId"]))
            for kind, who, method, path in (
                (BLOCKED, one, "PUT", f"/blocks/{self.admin.user}"),
                (REMOVED, self.admin, "DELETE", f"/groups/{self.group}/members/{one.user}"),
                (SIGNED_OUT, one, "POST", "/auth/logout"),
            ):
                if await self._ask(who, method, path) is not None:
                    self.confirmed.append((kind, one))
                await asyncio.sleep(pause * random.random())

    async def _ask(self, phone: Phone, method: str, path: str) -> httpx.Response | None:
        try:
            answer = await phone.rest(method, path)
        except httpx.HTTPError:
            answer = None
        if answer is not None and answer.status_code in (200, 204):
            return answer
        # 401: its sign-out had no answer, and happened. 404: so with its removal.
        assert answer is None or answer.status_code in (401, 404, 503), (method, path, answer.text)
        self.unanswered += 1
        return None

    async def breaches(self, system: Any, sends: list[Sent]) -> Counter[str]:
        """How many confirmed things of each kind the system does not know any more, or has done a second time."""
        found: Counter[str] = Counter()
        members = set(await self._column(system, f"""SELECT member FROM delivery_member
            WHERE conversation = '{self.group}' AND left_seq = 0"""))  # fmt: skip
        rows = set(
            await self._column(
                system,
                f"SELECT user_id FROM groups_membership WHERE group_id = '{self.group}' AND left_at IS NULL",
            )
        )
        blocks = set(
            await self._column(
                system, f"SELECT owner_id FROM accounts_block WHERE user_id = '{self.admin.user}'"
            )
        )
        logged = set(
            await self._column(system, "SELECT message_id || ':' || sender || ':' || seq FROM delivery_event")
        )
        for kind, one in self.confirmed:
            if kind == REMOVED:
                found[kind] += one.user in members or one.user in rows
            elif kind == BLOCKED:
                found[kind] += one.user not in blocks
            elif kind == SIGNED_OUT:
                found[kind] += (await one.rest("GET", "/me")).status_code != 401
        given = [key for kind, key in self.confirmed if kind == KEY]
        left = set(await self._column(system, f"""SELECT key_id FROM accounts_prekey
            WHERE device_id = '{self.keeper.device}' AND given_at IS NULL"""))  # fmt: skip
        found[KEY] = len(given) - len(set(given)) + sum(str(key) in left for key in given)
        found[MESSAGE] = sum(f"{s.message_id}:{s.user}:{s.seq}" not in logged for s in sends if s.seq)
        return Counter({kind: number for kind, number in found.items() if number})

    @staticmethod
    async def _column(system: Any, query: str) -> list[str]:
        return (await asyncio.to_thread(system.sql, query)).split()
