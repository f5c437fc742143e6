"""People whose devices are reached by push, and who of them is due, for tests of the engine inside the test."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Sequence
from hashlib import sha256
from typing import Any

from notifications.due import Due, nowhere
from notifications.plans import Ended, Plan, Planned
from notifications.senders.interface import Push, Target, Urgency
from notifications.shards import SHARDS, due_key
from notifications.worker import PushWorker
from tests.faults.engine import HOUR_MS, Process, World
from tests.gateway.phone import new_id
from tests.support.patience import until
from whatsapp.infra import clock
from whatsapp.infra.hot import Hot
from whatsapp.infra.hot_cluster import open_hot
from whatsapp.infra.postgres import open_pool

_ACCOUNT = "INSERT INTO accounts_account (id, name, about, language, region, created_at) VALUES (%s, '', '', '', 0, 0)"
_DEVICE = """INSERT INTO accounts_device (id, user_id, name, "primary", linked_at, last_seen_at, unlinked_for, session_from)
VALUES (%s, %s, '', false, 0, 0, '', 0)"""
_TARGET = """INSERT INTO notifications_pushtarget (device_id, app, token, token_hash, preview, time_zone, badge, set_at, error)
VALUES (%s, 'test', %s, %s, true, 'UTC', 0, 0, '')"""


class Crowd:
    """``await crowd.due()`` is who is due and when; the rest makes what a process of the system has."""

    def __init__(self, world: World, metadata_url: str) -> None:
        self.world = world
        self._url = metadata_url
        self._closing = contextlib.AsyncExitStack()
        #: Tasks that were started: (shard, token). Nobody runs them.
        self.submitted: list[tuple[int, str]] = []

    async def __aenter__(self) -> Crowd:
        self.pool = open_pool(self._url)
        await self.pool.open(wait=True)
        self._closing.push_async_callback(self.pool.close)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._closing.aclose()

    def submit(self, shard: int, token: str) -> None:
        self.submitted.append((shard, token))

    async def hot(self, url: str = "") -> Hot:
        hot = open_hot(url or self.world.hot_url)
        await hot.start()
        self._closing.push_async_callback(hot.stop)
        await until(lambda: hot.available, "the hot node is there")
        return hot

    async def process(self, **options: Any) -> tuple[Process, Due]:
        """A gateway that reports who is absent."""
        process = await self.world.process(**options)
        by_user = process.node.hub.by_user
        due = Due(process.hot, self.pool, self.submit, lambda user: by_user.get(user, {}))
        process.node.report_absent(due)
        return process, due

    async def reporter(self) -> Due:
        return Due(await self.hot(), self.pool, self.submit, nowhere)

    async def person(self, *, target: bool = True) -> tuple[str, str]:
        """(user, device)"""
        user, device = await self.world.person()
        await self.execute(_ACCOUNT, user)
        await self.execute(_DEVICE, device, user)
        if target:
            await self.target(device)
        return user, device

    async def another(self, user: str, *, target: bool = True) -> str:
        """One more device of the user."""
        device = new_id()
        await self.world.store.link_device(user, device, clock.now_ms() - HOUR_MS)
        await self.execute(_DEVICE, device, user)
        if target:
            await self.target(device)
        return device

    async def target(self, device: str) -> None:
        await self.execute(_TARGET, device, device, sha256(device.encode()).digest())

    async def execute(self, statement: str, *values: object) -> None:
        async with self.pool.connection() as connection:
            await connection.execute(statement, values)

    def due(self) -> dict[str, int]:
        """user → when, ms since the epoch."""
        found: dict[str, int] = {}
        for shard in range(SHARDS):
            for user, at in self.world.redis.zrange(due_key(shard), 0, -1, withscores=True):
                found[user.decode()] = int(at)
        return found

    async def some_due(self, due: Due, count: int = 1, wait_ms: int = 0) -> list[str]:
        """So many users, due now."""
        users = [new_id() for _ in range(count)]
        await due.write(dict.fromkeys(users, clock.now_ms() + wait_ms))
        return users

    async def worker(self, office: Office) -> PushWorker:
        return PushWorker(await self.hot(), office.plan, office.deliver, office.calls)


class Office:
    """Stands for policy and dispatch where a test is about neither: notes who is planned and sent, in order."""

    def __init__(self) -> None:
        self.planned: list[str] = []
        self.sent: list[str] = []
        self.again: dict[str, int] = {}
        self.broken: set[str] = set()  # users whose plan fails

    async def plan(self, users: Sequence[str], now: int) -> Plan:
        if self.broken.intersection(users):
            raise ValueError("a user that cannot be planned")
        self.planned += users
        return Plan([_notification(user) for user in users], {})

    async def calls(self, users: Sequence[str], now: int) -> list[Planned]:
        """Somebody calls each who is so urgent."""
        return [_notification(user, Urgency.CALL) for user in users]

    async def deliver(self, planned: Sequence[Planned], ended: Ended) -> None:
        for one in planned:
            self.sent.append(one.target.user)
            ended(one.target.user, self.again.get(one.target.user))


class Slow(Office):
    """Sends when it may."""

    def __init__(self) -> None:
        super().__init__()
        self.may = asyncio.Event()

    async def deliver(self, planned: Sequence[Planned], ended: Ended) -> None:
        self.sent += [one.target.user for one in planned]
        await self.may.wait()
        for one in planned:
            ended(one.target.user, self.again.get(one.target.user))


async def dies(worker: PushWorker) -> None:
    """As its process would: what it is about ends, nothing is given back."""
    for task in worker._batches:
        task.cancel()
    await asyncio.gather(*worker._batches, return_exceptions=True)


def _notification(user: str, urgency: Urgency = Urgency.MESSAGE) -> Planned:
    target = Target(user, new_id(), "test", "token")
    return Planned(target, Push(new_id(), "collapse", urgency, 60, None), ())
