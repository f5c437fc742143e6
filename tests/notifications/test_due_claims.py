"""Claims of a push worker: news of a user who is being sent something, a provider that is slow, a worker that died."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest

from notifications import worker as worker_module
from notifications.plans import Ended, Planned
from notifications.shards import lease_key
from notifications.worker import AT_ONCE, CLAIM_MS, PushWorker
from tests.faults.rig import stays
from tests.gateway.phone import new_id
from tests.notifications.crowd import Crowd, Office, Slow, dies
from tests.support.patience import until
from whatsapp.infra import clock
from whatsapp.infra.limits import LIMITS

Off = Callable[..., None]


async def _again_under_way(crowd: Crowd) -> tuple[PushWorker, Slow, str]:
    """A user who is claimed, planned and being sent something, and of whom there is something new."""
    office, due = Slow(), await crowd.reporter()
    worker = await crowd.worker(office)
    (user,) = await crowd.some_due(due)
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


async def test_what_a_dead_worker_claimed_is_another_ones_when_the_claim_ends(
    crowd: Crowd, monkeypatch: pytest.MonkeyPatch
) -> None:
    office, due = Slow(), await crowd.reporter()
    dead = await crowd.worker(office)
    (user,) = await crowd.some_due(due)
    shard, token = crowd.submitted[0]
    assert await dead.take(shard, token)
    await dead.turn()
    await until(lambda: office.sent == [user], "it is being sent")
    await dies(dead)
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
    office.slow = await crowd.some_due(due)
    running(await crowd.worker(office))
    await until(lambda: office.sent, "the first is being sent")
    others = await crowd.some_due(due, 50)
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
    others = await crowd.some_due(due, 50)
    await until(lambda: set(others) <= set(office.sent), "the others are sent")


async def test_who_was_told_does_not_wait_for_the_others_of_the_batch(
    crowd: Crowd, running: Callable[[PushWorker], None]
) -> None:
    office, due = OneIsSlow(), await crowd.reporter()
    (slow,) = office.slow = [new_id()]
    (other,) = await crowd.some_due(due)
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
    (user,) = await crowd.some_due(due)
    assert await worker.take(*crowd.submitted[0])
    await worker.turn()
    await until(lambda: office.sent == [user], "it is being sent")
    await due.write({user: clock.now_ms() + LIMITS.push_unacked_ms})
    office.may.set()
    running(worker)
    monkeypatch.setattr(worker_module, "CLAIM_MS", CLAIM_MS)
    await until(lambda: not crowd.due(), "it is done")
    assert office.planned == [user, user]
