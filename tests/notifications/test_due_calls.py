"""Calls before a push worker: they come before everybody else, are planned together, and are the next worker's when one dies."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

import pytest

from notifications import worker as worker_module
from notifications.due import URGENT_MS
from notifications.plans import Ended, Planned
from notifications.senders.interface import Urgency
from notifications.shards import calls_key, lease_key, shard_of
from notifications.worker import AT_ONCE, PushWorker
from tests.faults.rig import stays
from tests.gateway.phone import new_id
from tests.notifications.crowd import Crowd, Slow, dies
from tests.support.patience import until
from whatsapp.infra import clock

Off = Callable[..., None]


async def test_who_is_urgent_comes_before_a_crowd_that_fills_every_place(
    crowd: Crowd, monkeypatch: pytest.MonkeyPatch, running: Callable[[PushWorker], None]
) -> None:
    monkeypatch.setattr(worker_module, "BATCH", 4)
    office, due = Slow(), await crowd.reporter()
    await crowd.some_due(due, 4 * 4 * AT_ONCE)
    worker = await crowd.worker(office)
    running(worker)
    await until(lambda: len(worker._batches) >= AT_ONCE, "every place is taken")
    (urgent,) = await crowd.some_due(due, wait_ms=URGENT_MS)
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
    (user,) = await crowd.some_due(due)
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
    first = await crowd.some_due(due, wait_ms=URGENT_MS)
    await until(lambda: office.plans == [first], "the first is being planned")
    others: list[str] = []
    while len(others) < 5:  # one after the other: a claim each
        others += await crowd.some_due(due, wait_ms=URGENT_MS)
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
    (user,) = await crowd.some_due(due, wait_ms=URGENT_MS)
    shard, token = crowd.submitted[0]
    assert await dead.take(shard, token)
    await dead.turn()
    await until(lambda: office.rung == [user], "it is with the provider")
    await dies(dead)
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
    (user,) = await crowd.some_due(due, wait_ms=URGENT_MS)
    assert await worker.take(*crowd.submitted[0])
    for _ in range(3):
        await worker.turn()
        assert worker.held == 1
    assert office.rung == [user]
    office.may.set()
    await until(lambda: not worker._batches, "the call is over")
    await until(lambda: crowd.due() == {} or list(crowd.due()) == [user], "it is looked at once more")
