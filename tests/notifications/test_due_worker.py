"""The worker of those who are due: claims, ends of claims, shards that nobody holds, one user beside the others."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence

import psycopg
import pytest

from delivery.store.interface import Unavailable
from notifications import worker as worker_module
from notifications.due import URGENT_MS, Due
from notifications.plans import Ended, Plan, Planned
from notifications.senders.interface import Urgency
from notifications.shards import calls_key, lease_key, shard_of
from notifications.worker import ASIDE_MS, AT_ONCE, AWAY_MS, CLAIM_MS, PushWorker
from tests.faults.engine import World
from tests.faults.rig import stays
from tests.gateway.phone import new_id
from tests.notifications.crowd import Crowd, Office
from tests.support.patience import until
from whatsapp.infra import clock
from whatsapp.infra.limits import LIMITS

Off = Callable[..., None]


@pytest.fixture
async def crowd(world: World, new_postgres_url: str) -> AsyncIterator[Crowd]:
    async with Crowd(world, new_postgres_url) as crowd:
        yield crowd


@pytest.fixture
async def running() -> AsyncIterator[Callable[[PushWorker], None]]:
    """``running(worker)``: it works and looks for shards that nobody holds, until the test ends."""
    tasks: list[asyncio.Task[None]] = []

    def start(worker: PushWorker) -> None:
        loop = asyncio.get_running_loop()
        tasks.extend([loop.create_task(worker.run()), loop.create_task(worker.look_for_orphans())])

    yield start
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def _due(crowd: Crowd, due: Due, count: int = 1, wait_ms: int = 0) -> list[str]:
    """So many users, due now."""
    users = [new_id() for _ in range(count)]
    await due.write(dict.fromkeys(users, clock.now_ms() + wait_ms))
    return users


async def test_who_is_due_is_planned_and_sent_once(
    crowd: Crowd, running: Callable[[PushWorker], None]
) -> None:
    office, due = Office(), await crowd.reporter()
    worker = await crowd.worker(office)
    running(worker)
    users = await _due(crowd, due, 300)
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
    (user,) = await _due(crowd, due)
    await until(lambda: office.sent == [user], "it is sent although its task was lost")


async def test_twin_nobody_looks_for_a_lost_task(
    crowd: Crowd, running: Callable[[PushWorker], None], off: Off
) -> None:
    off("push_orphans")
    office, due = Office(), await crowd.reporter()
    running(await crowd.worker(office))
    await _due(crowd, due)
    await stays(lambda: not office.sent, "it is not sent", 2.0)


async def test_one_worker_has_a_shard(crowd: Crowd) -> None:
    due = await crowd.reporter()
    first, second = await crowd.worker(Office()), await crowd.worker(Office())
    await _due(crowd, due)
    ((shard, token),) = crowd.submitted
    assert await first.take(shard, token)
    assert not await second.take(shard, token)
    await second.take_orphans()
    assert not second._held
    await first.leave()
    await second.take_orphans()
    assert list(second._held) == [shard]


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


async def _again_under_way(crowd: Crowd) -> tuple[PushWorker, Slow, str]:
    """A user who is claimed, planned and being sent something, and of whom there is something new."""
    office, due = Slow(), await crowd.reporter()
    worker = await crowd.worker(office)
    (user,) = await _due(crowd, due)
    assert await worker.take(*crowd.submitted[0])
    await worker.turn()
    await until(lambda: office.sent == [user], "it is being sent")
    await due.write({user: clock.now_ms()})
    return worker, office, user


async def test_who_comes_again_meanwhile_is_looked_at_again(
    crowd: Crowd, running: Callable[[PushWorker], None]
) -> None:
    worker, office, user = await _again_under_way(crowd)
    assert await worker.turn() == 0  # not twice at a time
    assert office.planned == [user]
    office.may.set()
    running(worker)
    await until(lambda: not crowd.due(), "it is done")
    assert office.planned == [user, user]


async def test_twin_what_comes_meanwhile_is_forgotten(
    crowd: Crowd, running: Callable[[PushWorker], None], off: Off
) -> None:
    off("push_claim")
    worker, office, user = await _again_under_way(crowd)
    office.may.set()
    await until(lambda: not crowd.due(), "it is taken for done")
    running(worker)
    await stays(lambda: office.planned == [user], "nobody looks again", 1.0)


async def test_when_to_look_again_is_kept(crowd: Crowd, running: Callable[[PushWorker], None]) -> None:
    office, due = Office(), await crowd.reporter()
    users = await _due(crowd, due, 3)
    later = clock.now_ms() + 3_600_000
    office.again = {users[1]: later}
    running(await crowd.worker(office))
    await until(lambda: len(office.sent) == 3 and len(crowd.due()) == 1, "the others are done")
    assert crowd.due() == {users[1]: later}


async def test_a_user_who_cannot_be_planned_is_put_off_alone(
    crowd: Crowd, running: Callable[[PushWorker], None]
) -> None:
    office, due = Office(), await crowd.reporter()
    users = await _due(crowd, due, 20)
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
    users = await _due(crowd, due, 3)
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
    heavy, *others = await _due(crowd, due, 20)
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
    odd, *others = await _due(crowd, due, 20)
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


async def test_what_a_dead_worker_claimed_is_another_ones_when_the_claim_ends(
    crowd: Crowd, monkeypatch: pytest.MonkeyPatch
) -> None:
    office, due = Slow(), await crowd.reporter()
    dead = await crowd.worker(office)
    (user,) = await _due(crowd, due)
    shard, token = crowd.submitted[0]
    assert await dead.take(shard, token)
    await dead.turn()
    await until(lambda: office.sent == [user], "it is being sent")
    for task in dead._batches:
        task.cancel()
    await asyncio.gather(*dead._batches, return_exceptions=True)
    crowd.world.redis.delete(lease_key(shard))  # it ends

    other = Office()
    living = await crowd.worker(other)
    await living.take_orphans()
    assert not living._held  # the claim is another's
    now = clock.now_ms()
    monkeypatch.setattr(clock, "now_ms", lambda: now + CLAIM_MS + 1)
    await living.take_orphans()
    await living.turn()
    await until(lambda: other.sent == [user], "it is sent by another")


class OneIsSlow(Slow):
    """To some."""

    slow: Sequence[str] = ()

    async def deliver(self, planned: Sequence[Planned], ended: Ended) -> None:
        slow = [one for one in planned if one.target.user in self.slow]
        await Office.deliver(self, [one for one in planned if one not in slow], ended)
        if slow:
            await super().deliver(slow, ended)


async def test_a_batch_that_waits_holds_up_no_other(
    crowd: Crowd, running: Callable[[PushWorker], None]
) -> None:
    office, due = OneIsSlow(), await crowd.reporter()
    office.slow = await _due(crowd, due)
    running(await crowd.worker(office))
    await until(lambda: office.sent, "the first is being sent")
    others = await _due(crowd, due, 50)
    await until(lambda: set(others) <= set(office.sent), "the others are sent")
    await until(lambda: set(crowd.due()) == set(office.slow), "only one is left")


async def test_a_provider_that_answers_late_takes_no_place_from_the_others(
    crowd: Crowd, running: Callable[[PushWorker], None]
) -> None:
    """Its users come one by one: each is a batch of its own, and more of them than are planned at once."""
    office, due = OneIsSlow(), await crowd.reporter()
    running(await crowd.worker(office))
    for count in range(1, AT_ONCE + 3):
        office.slow = [*office.slow, *(users := [new_id()])]
        await due.write({users[0]: clock.now_ms()})
        await until(lambda count=count: len(office.sent) == count, "it is being sent")
    others = await _due(crowd, due, 50)
    await until(lambda: set(others) <= set(office.sent), "the others are sent")


async def test_who_was_told_does_not_wait_for_the_others_of_the_batch(
    crowd: Crowd, running: Callable[[PushWorker], None]
) -> None:
    office, due = OneIsSlow(), await crowd.reporter()
    (slow,) = office.slow = [new_id()]
    (other,) = await _due(crowd, due)
    await due.write({slow: clock.now_ms()})
    worker = await crowd.worker(office)
    await worker.take_orphans()
    for shard, token in crowd.submitted:
        await worker.take(shard, token)
    assert await worker.turn() == 2
    assert len(worker._batches) == 1
    running(worker)
    await until(lambda: set(crowd.due()) == {slow}, "one is done")
    await due.write({other: clock.now_ms()})
    await until(lambda: office.sent.count(other) == 2, "and is told of what is new")
    assert office.sent.count(slow) == 1


async def test_a_report_that_is_later_than_the_end_of_a_claim_is_not_lost(
    crowd: Crowd, running: Callable[[PushWorker], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker_module, "CLAIM_MS", LIMITS.push_unacked_ms - 1_000)
    office, due = Slow(), await crowd.reporter()
    worker = await crowd.worker(office)
    (user,) = await _due(crowd, due)
    assert await worker.take(*crowd.submitted[0])
    await worker.turn()
    await until(lambda: office.sent == [user], "it is being sent")
    await due.write({user: clock.now_ms() + LIMITS.push_unacked_ms})
    office.may.set()
    running(worker)
    monkeypatch.setattr(worker_module, "CLAIM_MS", CLAIM_MS)
    await until(lambda: not crowd.due(), "it is done")
    assert office.planned == [user, user]


async def test_who_is_urgent_comes_before_a_crowd_that_fills_every_place(
    crowd: Crowd, monkeypatch: pytest.MonkeyPatch, running: Callable[[PushWorker], None]
) -> None:
    monkeypatch.setattr(worker_module, "BATCH", 4)
    office, due = Slow(), await crowd.reporter()
    await _due(crowd, due, 4 * 4 * AT_ONCE)
    worker = await crowd.worker(office)
    running(worker)
    await until(lambda: len(worker._batches) >= AT_ONCE, "every place is taken")
    (urgent,) = await _due(crowd, due, wait_ms=URGENT_MS)
    await until(lambda: urgent in office.sent, "it is sent all the same")
    assert len(office.sent) < 3 * 4 * AT_ONCE
    office.may.set()


class Ringing(Slow):
    """What users are sent besides a call hangs."""

    def __init__(self) -> None:
        super().__init__()
        self.rung: list[str] = []

    async def deliver(self, planned: Sequence[Planned], ended: Ended) -> None:
        if all(one.push.urgency is Urgency.CALL for one in planned):
            self.rung += [one.target.user for one in planned]
            return
        await super().deliver(planned, ended)


async def test_a_call_does_not_wait_for_what_its_user_is_being_sent(
    crowd: Crowd, running: Callable[[PushWorker], None]
) -> None:
    office, due = Ringing(), await crowd.reporter()
    running(await crowd.worker(office))
    (user,) = await _due(crowd, due)
    await until(lambda: office.sent, "something is being sent")
    await due.write({user: clock.now_ms() + URGENT_MS})
    await until(lambda: office.rung == [user], "the call is sent beside it")
    await due.write({user: clock.now_ms()})
    await stays(lambda: office.rung == [user], "it rings again for what is no call", 1.0)
    office.may.set()
    await until(lambda: not crowd.due(), "all of it is done")


class Gathered(Ringing):
    """Plans of calls wait; some users cannot be planned."""

    def __init__(self) -> None:
        super().__init__()
        self.plans: list[Sequence[str]] = []
        self.may_plan = asyncio.Event()

    async def calls(self, users: Sequence[str], now: int) -> list[Planned]:
        self.plans.append(list(users))
        await self.may_plan.wait()
        if self.broken.intersection(users):
            raise ValueError("a user that cannot be planned")
        return await super().calls(users, now)


async def test_calls_that_come_while_others_are_planned_are_planned_together(
    crowd: Crowd, running: Callable[[PushWorker], None]
) -> None:
    office, due = Gathered(), await crowd.reporter()
    worker = await crowd.worker(office)
    running(worker)
    first = await _due(crowd, due, wait_ms=URGENT_MS)
    await until(lambda: office.plans == [first], "the first is being planned")
    others: list[str] = []
    while len(others) < 5:  # one after the other: a claim each
        others += await _due(crowd, due, wait_ms=URGENT_MS)
        known = {*first, *others}
        await until(lambda known=known: worker._calling == known, "it is claimed")
    office.may_plan.set()
    await until(lambda: sorted(office.rung) == sorted(first + others), "all ring")
    assert [sorted(plan) for plan in office.plans] == [first, sorted(others)]
    office.may.set()
    await until(lambda: not crowd.due(), "all of it is done")


async def test_a_call_that_cannot_be_planned_holds_up_no_other(
    crowd: Crowd, running: Callable[[PushWorker], None]
) -> None:
    office, due = Gathered(), await crowd.reporter()
    office.may_plan.set()
    running(await crowd.worker(office))
    users = [new_id() for _ in range(4)]
    office.broken = {users[1]}
    await due.write(dict.fromkeys(users, clock.now_ms() + URGENT_MS))
    await until(lambda: len(office.rung) == 3, "the others ring")
    assert set(office.rung) == {users[0], users[2], users[3]}


class Dying(Ringing):
    """Is with the provider with a call when its process dies."""

    async def deliver(self, planned: Sequence[Planned], ended: Ended) -> None:
        self.rung += [one.target.user for one in planned]
        await self.may.wait()


async def _died_over_a_call(crowd: Crowd) -> tuple[str, int]:
    """A call that a worker has claimed, planned and handed over when it dies; its shard."""
    office, due = Dying(), await crowd.reporter()
    dead = await crowd.worker(office)
    (user,) = await _due(crowd, due, wait_ms=URGENT_MS)
    shard, token = crowd.submitted[0]
    assert await dead.take(shard, token)
    await dead.turn()
    await until(lambda: office.rung == [user], "it is with the provider")
    for task in dead._batches:
        task.cancel()
    await asyncio.gather(*dead._batches, return_exceptions=True)
    return user, shard


async def test_a_call_over_which_a_worker_died_is_the_next_ones_at_once(
    crowd: Crowd, running: Callable[[PushWorker], None]
) -> None:
    """Before everybody else, although nobody is due; its claim would have lasted for a minute."""
    user, _ = await _died_over_a_call(crowd)
    office = Ringing()
    office.may.set()
    running(await crowd.worker(office))
    await until(lambda: office.rung == [user], "it rings when the lease of the dead has ended")
    await until(lambda: not crowd.due(), "it is done")
    assert not crowd.world.redis.exists(calls_key(shard_of(user)))


async def test_a_task_takes_up_the_calls_of_the_dead_too(crowd: Crowd) -> None:
    user, shard = await _died_over_a_call(crowd)
    crowd.world.redis.set(lease_key(shard), "task")
    office = Ringing()
    living = await crowd.worker(office)
    assert await living.take(shard, "task")
    await living.turn()
    await until(lambda: office.rung == [user], "it rings")


async def test_twin_a_call_waits_for_the_end_of_a_claim(
    crowd: Crowd, running: Callable[[PushWorker], None], off: Off
) -> None:
    off("call_claims")
    user, shard = await _died_over_a_call(crowd)
    crowd.world.redis.delete(lease_key(shard))  # it ends
    office = Ringing()
    running(await crowd.worker(office))
    await stays(lambda: not office.rung and user in crowd.due(), "it does not ring", 1.0)


async def test_a_shard_is_kept_while_a_call_is_being_sent(
    crowd: Crowd, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Or another one would take it, and send the call too."""
    monkeypatch.setattr(worker_module, "LINGER_S", 0.0)
    office, due = Dying(), await crowd.reporter()
    worker = await crowd.worker(office)
    (user,) = await _due(crowd, due, wait_ms=URGENT_MS)
    assert await worker.take(*crowd.submitted[0])
    for _ in range(3):
        await worker.turn()
        assert worker.held == 1
    assert office.rung == [user]
    office.may.set()
    await until(lambda: not worker._batches, "the call is over")
    await until(lambda: crowd.due() == {} or list(crowd.due()) == [user], "it is looked at once more")


async def test_a_worker_that_leaves_sends_what_it_has_begun_and_gives_the_rest_back(crowd: Crowd) -> None:
    office, due = Slow(), await crowd.reporter()
    worker = await crowd.worker(office)
    (user,) = await _due(crowd, due)
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
