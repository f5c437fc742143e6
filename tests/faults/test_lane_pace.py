"""When a lane's next pass begins, and that events which two gateways brought the wrong way round cost nobody a read."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from delivery import lane_pace
from delivery.lane_pace import GATHER_MAX_S, Order, Pace
from delivery.lanes import Entry
from delivery.store.values import Logged
from tests.faults.engine import World
from tests.faults.test_lanes import Room
from tests.gateway.phone import new_id
from tests.support.patience import until


def entry(conversation: str, *seqs: int) -> Entry:
    events = [
        Logged(conversation, seq, new_id(), new_id(), new_id(), 0, 0, 0, "text", b"", b"") for seq in seqs
    ]
    return Entry("writer", 1, "process", events)


def paced(deliveries: int, every_s: float) -> float:
    """The gap of a lane that makes so many deliveries a pass for some time."""
    pace, gap = Pace(0.0), 0.0
    for number in range(1, 200):
        gap = pace.gap(number * every_s, deliveries)
    return gap


def test_passes_are_the_further_apart_the_more_is_delivered() -> None:
    assert paced(99, 0.1) == pytest.approx(0.005, rel=0.2), "a hundred members, ten messages a second"
    assert paced(200, 0.033) == pytest.approx(0.030, rel=0.2)
    assert paced(1000, 0.025) == GATHER_MAX_S
    assert paced(0, 0.001) == 0, "nobody is connected"


def test_a_lane_that_was_busy_is_quick_again_after_a_silence() -> None:
    pace = Pace(0.0)
    for number in range(1, 100):
        pace.gap(number * 0.02, 1000)
    assert pace.gap(2 + 10.0, 100) < 0.001


def test_only_what_may_still_come_is_waited_for() -> None:
    order, one = Order(), new_id()
    assert not order.wait([entry(one, 5)], 1.0), "what came before it is not known"
    order.passed([entry(one, 5)])
    assert not order.wait([entry(one, 6), entry(one, 7)], 1.0)
    assert not order.wait([entry(one, 7), entry(one, 6)], 1.0), "both are here: the pass puts them in order"
    assert not order.wait([entry(one, 4, 5)], 1.0), "again"
    assert order.wait([entry(one, 7)], 1.0)
    assert order.wait([entry(one, 7), entry(new_id(), 1)], 1.0 + 0.9 * lane_pace.HOLE_WAIT_S)
    assert not order.wait([entry(one, 7)], 1.0 + 1.1 * lane_pace.HOLE_WAIT_S), "not for ever"
    order.passed([entry(one, 7)])
    assert not order.wait([entry(one, 6)], 2.0), "late: the sessions look for it"
    assert not order.wait([entry(one, 8)], 2.0)


async def crossed(world: World, monkeypatch: pytest.MonkeyPatch, wait_s: float) -> int:
    """Ann's message is stored before Ben's and comes into the lane after it. How often Cat's gateway had to look for one."""
    monkeypatch.setattr(lane_pace, "HOLE_WAIT_S", wait_s)
    room = await Room(world).open()
    ben = await room.there.seat(*room.people[1])
    await room.ann.say(room.conversation)
    await room.cat.has(room.conversation, [1, 2])
    looked, here = [], room.here.node.bus.hot
    start, run, let = room.there.node.live._start, here.run, asyncio.Event()

    def looks(session: Any, *about: Any) -> None:
        if session is room.cat.session:
            looked.append(about)
        start(session, *about)

    async def late(commands: Any) -> Any:
        await let.wait()
        return await run(commands)

    monkeypatch.setattr(room.there.node.live, "_start", looks)
    monkeypatch.setattr(here, "run", late)
    await room.ann.say(room.conversation)
    asks = []
    wait = Order.wait
    monkeypatch.setattr(Order, "wait", lambda *args: asks.append(args) or wait(*args))
    await ben.say(room.conversation)
    await until(lambda: asks, "the worker has seen Ben's message")
    if not wait_s:
        await until(lambda: looked, "Cat's gateway has heard of Ben's message alone")
    let.set()
    await room.cat.has(room.conversation, [1, 2, 3, 4])
    return len(looked)


async def test_what_crossed_on_its_way_goes_out_in_order(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert await crossed(world, monkeypatch, 10.0) == 0


async def test_twin_what_crossed_goes_out_as_it_comes(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    assert await crossed(world, monkeypatch, 0.0) == 1
