"""Calls that ring for who has no session: once, at once, and no longer than they ring."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import AsyncExitStack
from typing import Any

import pytest
from psycopg_pool import PoolTimeout

from notifications.due import URGENT_MS
from notifications.keys import collapse_key
from notifications.policy import Policy
from notifications.rings import MOST, MOST_OVER, OVER_MS, Ring, Rings, ring_key, rings
from notifications.senders.interface import Urgency
from tests.contract.people import new_id
from tests.notifications.world import Phone, World
from whatsapp.infra.postgres import open_pool

RING_MS = 45_000


class _Due:
    """Notes who is reported."""

    def __init__(self) -> None:
        self.reported: list[tuple[str, int]] = []

    def users(self, users: Any, wait_ms: int = 0) -> None:
        self.reported += [(user, wait_ms) for user in users]


@pytest.fixture
def world(each_world: World) -> World:
    return each_world


@pytest.fixture
async def ann(world: World) -> Phone:
    return await world.person()


@pytest.fixture
async def bob(world: World) -> Phone:
    return await world.person()


@pytest.fixture
def due() -> _Due:
    return _Due()


@pytest.fixture
def calls(world: World, due: _Due) -> Rings:
    return Rings(world.hot, due)  # type: ignore[arg-type]


def call(world: World, caller: Phone, **fields: Any) -> Ring:
    return Ring(new_id(), caller.user, "audio", world.now, world.now + RING_MS)._replace(**fields)


async def test_a_call_rings_once_at_once_and_its_end_takes_it_back(
    world: World, ann: Phone, bob: Phone, calls: Rings, due: _Due
) -> None:
    ring = call(world, ann)
    assert await calls.ring(bob.user, ring, world.now)
    assert due.reported == [(bob.user, URGENT_MS)]
    await world.settle(bob)
    (push,) = bob.new()
    assert (push.urgency, push.ttl_s, push.badge) == (Urgency.CALL, RING_MS // 1000, None)
    assert json.loads(push.content or b"") == {
        "type": "call", "callId": ring.call, "callerId": ann.user, "kind": "audio", "until": ring.until,
    }  # fmt: skip
    assert world.again == {bob.user: ring.until}
    assert await calls.ring(bob.user, ring, world.now)
    await world.settle(bob)
    assert bob.new() == []
    assert world.again == {bob.user: ring.until}
    await calls.end(bob.user, ring.call, world.now)
    assert len(due.reported) == 3
    for _ in range(2):
        await world.settle(bob)
    (over,) = bob.new()
    assert over.urgency is Urgency.SILENT
    assert json.loads(over.content or b"") == {"type": "clear", "clear": [collapse_key(bob.id, ring.call)]}
    assert over.id != push.id
    await calls.ring(bob.user, ring, world.now)
    await world.settle(bob)
    assert bob.new() == [], "what is over does not ring again"


async def test_a_worker_that_died_sends_the_same_again(
    world: World, ann: Phone, bob: Phone, calls: Rings
) -> None:
    await calls.ring(bob.user, call(world, ann), world.now)
    first = await world.plan(bob.user)
    world.now += 700
    assert (await world.plan(bob.user)).pushes == first.pushes


async def test_what_nobody_ended_is_taken_back_in_its_time(
    world: World, ann: Phone, bob: Phone, calls: Rings
) -> None:
    await calls.ring(bob.user, call(world, ann), world.now)
    await world.settle(bob)
    assert [push.urgency for push in bob.new()] == [Urgency.CALL]
    world.now += RING_MS - 1
    await world.settle(bob)
    assert bob.new() == []
    world.now += 1
    await world.settle(bob)
    assert [push.urgency for push in bob.new()] == [Urgency.SILENT]


async def test_who_was_not_rung_is_not_told_of_the_end(
    world: World, ann: Phone, bob: Phone, calls: Rings
) -> None:
    ring = call(world, ann)
    await calls.ring(bob.user, ring, world.now)
    await calls.end(bob.user, ring.call, world.now)
    await world.settle(bob)
    await calls.ring(bob.user, call(world, ann, until=world.now), world.now)
    await world.settle(bob)
    assert bob.new() == []


async def test_each_absent_device_rings_and_none_that_is_connected(
    world: World, ann: Phone, bob: Phone, calls: Rings
) -> None:
    desk = await world.device(bob.user)
    await world.connect(desk)
    await calls.ring(bob.user, call(world, ann), world.now)
    await world.settle(bob)
    assert [push.urgency for push in bob.new()] == [Urgency.CALL]
    assert desk.new() == []


async def test_blocked_callers_quiet_hours_and_devices_without_keys(
    world: World, ann: Phone, bob: Phone, calls: Rings
) -> None:
    await world.block(bob.user, ann.user)
    await calls.ring(bob.user, call(world, ann), world.now)
    await world.settle(bob)
    assert bob.new() == []
    await world.unblock(bob.user, ann.user)
    await world.settle(bob)
    assert len(bob.new()) == 1
    at = world.now // 60_000 % 1_440
    night = await world.person(quiet_from=at, quiet_until=(at + 60) % 1_440)
    bare = await world.person(p256dh=None, auth=None)
    for phone in (night, bare):
        await calls.ring(phone.user, call(world, ann), world.now)
    await world.settle(night, bare)
    assert night.new() == []
    (push,) = bare.new()
    assert (push.urgency, push.content) == (Urgency.CALL, None), "that somebody calls, and no more"


async def test_a_call_goes_before_a_message_and_neither_holds_the_other(
    world: World, ann: Phone, bob: Phone, calls: Rings
) -> None:
    await world.say(await world.direct(ann.user, bob.user), ann.user)
    await calls.ring(bob.user, call(world, ann), world.now)
    await world.settle(bob)
    assert [push.urgency for push in bob.new()] == [Urgency.CALL, Urgency.MESSAGE]


async def test_so_many_ring_at_a_time_and_the_hot_node_forgets_them(
    world: World, ann: Phone, bob: Phone, calls: Rings
) -> None:
    several = [call(world, ann) for _ in range(MOST)]
    for ring in several:
        assert await calls.ring(bob.user, ring, world.now)
    assert not await calls.ring(bob.user, call(world, ann), world.now)
    assert await calls.ring(bob.user, several[0], world.now), "one that is known already"
    assert len((await rings(world.hot, [bob.user, ann.user]))[bob.user]) == MOST
    (lives,) = await world.hot.run([("PTTL", ring_key(bob.user))])
    assert RING_MS < lives <= RING_MS + OVER_MS
    later = world.now + RING_MS
    assert await calls.ring(bob.user, call(world, ann, since=later, until=later + RING_MS), later)
    later += OVER_MS
    assert await calls.ring(bob.user, call(world, ann, since=later, until=later + RING_MS), later)
    known = {ring.call for ring in (await rings(world.hot, [bob.user]))[bob.user]}
    assert len(known) == 2
    assert known.isdisjoint(ring.call for ring in several), "what ended a while ago is forgotten"


async def test_a_call_that_was_hung_up_takes_no_place(
    world: World, ann: Phone, bob: Phone, calls: Rings
) -> None:
    for _ in range(3 * MOST):
        ring = call(world, ann)
        assert await calls.ring(bob.user, ring, world.now)
        await calls.end(bob.user, ring.call, world.now)
    several = [call(world, ann) for _ in range(MOST)]
    assert [await calls.ring(bob.user, ring, world.now) for ring in several] == [True] * MOST
    assert not await calls.ring(bob.user, call(world, ann), world.now), "those that ring do"


async def test_so_many_ends_are_remembered(world: World, ann: Phone, bob: Phone, calls: Rings) -> None:
    for _ in range(3 * MOST_OVER):
        ring = call(world, ann)
        await calls.ring(bob.user, ring, world.now)
        world.now += 1
        await calls.end(bob.user, ring.call, world.now)
    known = (await rings(world.hot, [bob.user]))[bob.user]
    assert len(known) <= MOST_OVER + 1
    assert ring.call in {one.call for one in known}, "the first are forgotten, not the last"


async def _one_call_behind_another(world: World, ann: Phone, bob: Phone, calls: Rings, hung_up: bool) -> None:
    """The first one rang; its end is looked at when another one has come."""
    first = call(world, ann)
    await calls.ring(bob.user, first, world.now)
    await world.settle(bob)
    assert [push.urgency for push in bob.new()] == [Urgency.CALL]
    world.now += RING_MS // 2
    if hung_up:
        await calls.end(bob.user, first.call, world.now)
    else:
        world.now = first.until
    await calls.ring(bob.user, call(world, ann), world.now)
    await world.settle(bob)


@pytest.mark.parametrize("hung_up", [True, False])
async def test_another_call_does_not_keep_the_end_of_one_from_being_told(
    world: World, ann: Phone, bob: Phone, calls: Rings, hung_up: bool
) -> None:
    await _one_call_behind_another(world, ann, bob, calls, hung_up)
    assert [push.urgency for push in bob.new()] == [Urgency.CALL, Urgency.SILENT]


@pytest.mark.parametrize("hung_up", [True, False])
async def test_twin_what_has_ended_is_forgotten_at_once(
    world: World, ann: Phone, bob: Phone, calls: Rings, hung_up: bool, off: Callable[..., None]
) -> None:
    off("ring_ends")
    await _one_call_behind_another(world, ann, bob, calls, hung_up)
    assert [push.urgency for push in bob.new()] == [Urgency.CALL], "the device shows the first one for ever"


async def test_a_call_is_planned_while_batches_have_every_connection(
    world: World, ann: Phone, bob: Phone, calls: Rings
) -> None:
    await calls.ring(bob.user, call(world, ann), world.now)
    own = open_pool(world.url, low=1, high=2)
    await own.open(wait=True)
    policy = Policy(world.store, world.hot, world.pool, own)
    async with AsyncExitStack() as batches:
        for _ in range(world.pool.max_size):
            await batches.enter_async_context(world.pool.connection())
        (push,) = await policy.calls([bob.user], world.now)
        assert push.push.urgency is Urgency.CALL
        with pytest.raises(PoolTimeout):  # its twin: connections of all
            await Policy(world.store, world.hot, world.pool).calls([bob.user], world.now)
    await own.close()
