"""The worker of those who are due: shards that nobody holds, one user beside the others, servers that are away, its end."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

import psycopg
import pytest

from delivery.store.interface import Unavailable
from notifications import worker as worker_module
from notifications.plans import Plan
from notifications.shards import lease_key, shard_of
from notifications.worker import ASIDE_MS, AWAY_MS, CLAIM_MS, PushWorker
from tests.faults.rig import stays
from tests.notifications.crowd import Crowd, Office, Slow
from tests.support.patience import until
from whatsapp.infra import clock

Off = Callable[..., None]


async def test_who_is_due_is_planned_and_sent_once(
    crowd: Crowd, running: Callable[[PushWorker], None]
) -> None:
    office, due = Office(), await crowd.reporter()
    worker = await crowd.worker(office)
    running(worker)
    users = await crowd.some_due(due, 300)
    for shard, token in crowd.submitted:
        await worker.take(shard, token)
    await until(lambda: not crowd.due(), "nobody is due any more")
    assert sorted(office.planned) == sorted(users)
    assert sorted(office.sent) == sorted(users)
    await until(lambda: not worker._held, "the shards are given back")
    assert not any(crowd.world.redis.exists(lease_key(shard_of(user))) for user in users)


async def test_a_lost_task_costs_a_moment(crowd: Crowd, running: Callable[[PushWorker], None]) -> None:
    office, due = Office(), await crowd.reporter()
    running(await crowd.worker(office))
    (user,) = await crowd.some_due(due)
    await until(lambda: office.sent == [user], "it is sent although its task was lost")


async def test_twin_nobody_looks_for_a_lost_task(
    crowd: Crowd, running: Callable[[PushWorker], None], off: Off
) -> None:
    off("push_orphans")
    office, due = Office(), await crowd.reporter()
    running(await crowd.worker(office))
    await crowd.some_due(due)
    await stays(lambda: not office.sent, "it is not sent", 2.0)


async def test_one_worker_has_a_shard(crowd: Crowd) -> None:
    due = await crowd.reporter()
    first, second = await crowd.worker(Office()), await crowd.worker(Office())
    await crowd.some_due(due)
    ((shard, token),) = crowd.submitted
    assert await first.take(shard, token)
    assert not await second.take(shard, token)
    await second.take_orphans()
    assert not second._held
    await first.leave()
    await second.take_orphans()
    assert list(second._held) == [shard]


async def test_when_to_look_again_is_kept(crowd: Crowd, running: Callable[[PushWorker], None]) -> None:
    office, due = Office(), await crowd.reporter()
    users = await crowd.some_due(due, 3)
    later = clock.now_ms() + 3_600_000
    office.again = {users[1]: later}
    running(await crowd.worker(office))
    await until(lambda: len(office.sent) == 3 and len(crowd.due()) == 1, "the others are done")
    assert crowd.due() == {users[1]: later}


async def test_a_user_who_cannot_be_planned_is_put_off_alone(
    crowd: Crowd, running: Callable[[PushWorker], None]
) -> None:
    office, due = Office(), await crowd.reporter()
    users = await crowd.some_due(due, 20)
    office.broken = {users[7]}
    began = clock.now_ms()
    running(await crowd.worker(office))
    await until(lambda: set(crowd.due()) == {users[7]} and len(office.sent) == 19, "the others are done")
    assert sorted(office.sent) == sorted(set(users) - {users[7]})
    assert crowd.due()[users[7]] >= began + min(ASIDE_MS, CLAIM_MS)


async def test_while_a_server_is_away_everybody_waits_a_little(crowd: Crowd) -> None:
    class Away(Office):
        async def plan(self, users: Sequence[str], now: int) -> Plan:
            raise Unavailable("the store is away")

    due = await crowd.reporter()
    users = await crowd.some_due(due, 3)
    worker = await crowd.worker(Away())
    began = clock.now_ms()
    await worker.take_orphans()
    for shard, token in crowd.submitted:
        await worker.take(shard, token)
    await worker.turn()
    await until(lambda: not worker._batches, "the batch ends")
    assert all(began + AWAY_MS <= at < began + CLAIM_MS for at in crowd.due().values())
    assert set(crowd.due()) == set(users)


async def test_a_user_who_is_too_much_for_a_server_holds_nobody_up_for_long(
    crowd: Crowd, running: Callable[[PushWorker], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its statements end at their time limit, as if the server were away."""

    class Heavy(Office):
        async def plan(self, users: Sequence[str], now: int) -> Plan:
            if heavy in users:
                raise Unavailable("statement timeout")
            return await super().plan(users, now)

    monkeypatch.setattr(worker_module, "AWAY_MS", 50)
    office, due = Heavy(), await crowd.reporter()
    heavy, *others = await crowd.some_due(due, 20)
    running(await crowd.worker(office))
    await until(lambda: set(crowd.due()) == {heavy}, "the others are done")
    assert sorted(office.sent) == sorted(others)


async def test_a_value_that_postgresql_refuses_puts_off_its_user_alone(crowd: Crowd) -> None:
    class Odd(Office):
        async def plan(self, users: Sequence[str], now: int) -> Plan:
            if odd in users:
                raise psycopg.errors.InvalidTextRepresentation("no uuid")
            return await super().plan(users, now)

    office, due = Odd(), await crowd.reporter()
    odd, *others = await crowd.some_due(due, 20)
    worker = await crowd.worker(office)
    began = clock.now_ms()
    for shard, token in crowd.submitted:
        await worker.take(shard, token)
    await worker.take_orphans()
    await worker.turn()
    await until(lambda: not worker._batches, "the batch ends")
    assert sorted(office.sent) == sorted(others)
    assert crowd.due().keys() == {odd}
    assert crowd.due()[odd] >= began + ASIDE_MS


async def test_a_worker_that_leaves_sends_what_it_has_begun_and_gives_the_rest_back(crowd: Crowd) -> None:
    office, due = Slow(), await crowd.reporter()
    worker = await crowd.worker(office)
    (user,) = await crowd.some_due(due)
    shard, token = crowd.submitted[0]
    assert await worker.take(shard, token)
    await worker.turn()
    await until(lambda: office.sent == [user], "it is being sent")
    leaving = asyncio.get_running_loop().create_task(worker.leave())
    await asyncio.sleep(0)
    assert not await worker.take(shard, token)
    office.may.set()
    await leaving
    assert not crowd.due()
    assert not crowd.world.redis.exists(lease_key(shard))
