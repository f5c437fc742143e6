"""A change of a group is fanned out once: by its lane, and by the sweep only if that came to nothing (C4, R13)."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from delivery import lanes
from delivery.lane_worker import LaneWorker
from delivery.lanes import Entry
from delivery.store.changes import NO_DEVICE
from delivery.store.values import Change, Logged
from tests.faults.engine import World
from tests.faults.test_lanes import Room, nobody
from tests.gateway.phone import new_id
from tests.support.patience import until
from whatsapp.infra import clock


async def change(room: Room) -> str:
    """What Django code does: a row with a writer of its own, and an entry for the lane; the writer."""
    writer, now, who = new_id(), clock.now_ms(), room.people[0][0]
    one = Change(new_id(), "info", b"\x81\xa4name\xa4Rows")
    done = await room.world.store.change(writer, room.conversation, who, [one], now)
    event = Logged(
        room.conversation, done.seqs[0], 0, who, NO_DEVICE, one.message_id, one.kind, b"", now, now, 0, one.extra
    )  # fmt: skip
    entry = Entry(writer, done.row, "", [event])
    added = room.world.redis.eval(
        lanes.ADD, 3, *lanes.keys(room.lane), *lanes.add_arguments("a token", entry)
    )
    assert isinstance(added, list)
    assert added[0]
    return writer


async def told(room: Room, writer: str) -> bool:
    """Whether the worker has told it and written down that it has."""
    await room.cat.has(room.conversation, [1, 2])
    return (await room.world.log.newest(writer))[1] is not None


async def test_what_the_lane_has_told_the_sweep_does_not_tell_again(world: World) -> None:
    room = await Room(world).open(nobody)
    sweep = await world.sweep()
    await sweep.once()  # that they were added was told by nobody
    writer = await change(room)
    room.worker.start(room.worker.lanes.run(room.lane, "a token"))
    await until(lambda: told(room, writer), "the row is done")
    assert await sweep.once() == 0


async def test_twin_the_sweep_tells_it_again(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    async def says_nothing(*_: Any) -> None:
        pass

    monkeypatch.setattr(LaneWorker, "_done", says_nothing)
    room = await Room(world).open(nobody)
    sweep = await world.sweep()
    await sweep.once()
    await change(room)
    await room.worker.lanes.run(room.lane, "a token")
    await room.cat.has(room.conversation, [1, 2])
    assert await sweep.once() == 1


async def test_c4_a_worker_that_dies_before_it_says_so_leaves_it_to_the_sweep(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It dies in the pass, before anybody was told."""
    room = await Room(world).open(nobody)
    sweep = await world.sweep()
    await sweep.once()
    reached = asyncio.Event()

    async def dies(*_: Any) -> None:
        reached.set()
        await asyncio.Event().wait()

    monkeypatch.setattr(room.worker.lanes, "_push", dies)
    await change(room)
    room.worker.start(room.worker.lanes.run(room.lane, "a token"))
    await asyncio.wait_for(reached.wait(), 10)
    room.worker.die()
    assert await sweep.once() == 1
    await room.cat.has(room.conversation, [1, 2])


async def test_c6_done_under_another_epoch_does_not_count(world: World) -> None:
    """The node loses what it had after the worker has told and said so: marks are made again."""
    room = await Room(world).open(nobody)
    sweep = await world.sweep()
    await sweep.once()
    writer = await change(room)
    room.worker.start(room.worker.lanes.run(room.lane, "a token"))
    await until(lambda: told(room, writer), "the row is done")
    epoch = sweep.bus.hot.epoch
    world.redis.flushall()
    await until(lambda: sweep.bus.hot.available and sweep.bus.hot.epoch != epoch, "another epoch")
    assert await sweep.once() == 2, "that they were added, and the change"
