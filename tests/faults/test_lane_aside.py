"""An entry that no pass can fan out is taken out of its lane; its row stays open and is marked by another way (C4, C7)."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Any

import pytest

from delivery import outbox as outbox_module
from delivery.aside import aside_key
from delivery.lanes import lane_of
from delivery.store.values import Change
from tests.faults.engine import World, saved
from tests.faults.rig import stays
from tests.faults.test_lanes import Room, nobody
from tests.gateway.phone import new_id
from tests.support.patience import until
from whatsapp.infra import clock, metrics

Off = Callable[..., None]


async def neighbour(room: Room) -> str:
    """Another group of the same people in the same lane."""
    other = new_id()
    while lane_of(other) != room.lane:
        other = new_id()
    await room.world.store.create_group(other, clock.now_ms())
    added = Change(new_id(), "member_added", b"\x80", joins=tuple(user for user, _ in room.people))
    await room.world.store.change(new_id(), other, room.people[0][0], [added], clock.now_ms())
    return other


def poisonous(room: Room, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """What says "poison" is more than the worker can take; the sizes of the passes that failed."""
    lanes, failed = room.worker.lanes, []
    fan_out = lanes._fan_out

    async def fails(events: Any, *more: Any) -> Any:
        if any(event.content == b"poison" for event in events):
            failed.append(len(events))
            raise RuntimeError("a fault in our code")
        return await fan_out(events, *more)

    monkeypatch.setattr(lanes, "_fan_out", fails)
    return failed


async def poisoned(world: World, monkeypatch: pytest.MonkeyPatch) -> tuple[Room, str, list[int]]:
    """Twelve messages wait in a lane; the seventh is one that fails. A neighbour's come behind them."""
    room = await Room(world).open(nobody)
    other = await neighbour(room)
    failed = poisonous(room, monkeypatch)
    for number in range(12):
        await room.ann.say(room.conversation, "poison" if number == 6 else str(number))
        await room.here.node.fanout.drained()
    await room.ben.say(other, "from next door")
    await room.here.node.fanout.drained()
    room.worker.submit(room.lane, (room.holder() or b"").decode())
    return room, other, failed


async def test_c4_a_poisonous_entry_is_set_aside_and_marked_by_its_writer(
    world: World, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(outbox_module, "OVERDUE_S", 0.5)
    before = sum(metrics.ASIDE.values.values())
    with caplog.at_level(logging.ERROR, "delivery.aside"):
        room, other, failed = await poisoned(world, monkeypatch)
        await room.cat.has(other, [1, 2])
        await room.cat.has(room.conversation, list(range(1, 14)))
        await until(lambda: room.queued() == 0, "the lane is empty")
    await until(lambda: saved(world, room.here), "its row is done by the replay")
    assert len(failed) <= 8, f"halved, not tried one by one: {failed}"
    ((_, note),) = world.redis.xrange(aside_key(room.lane))
    assert note[b"conversations"].decode() == room.conversation
    assert note[b"writer"].decode() == room.here.node.fanout.progress.writer
    assert note[b"error"] == b"RuntimeError"
    assert b"poison" not in b"".join(note.values())
    assert sum(metrics.ASIDE.values.values()) == before + 1
    assert [record.getMessage().startswith(f"row {int(note[b'row'])} of") for record in caplog.records] == [
        True
    ]
    assert int(world.redis.get(f"{{lane:{room.lane}}}:bytes") or 0) == 0


async def test_c4_twin_a_poisonous_entry_blocks_its_lane(
    world: World, monkeypatch: pytest.MonkeyPatch, off: Off
) -> None:
    off("aside")
    room, other, _ = await poisoned(world, monkeypatch)
    room.worker.start(room.worker.lanes.look_for_orphans())
    await stays(lambda: room.cat.seqs(other) in ([], [1]), "the neighbour's message got by", 3.0)
    assert room.queued() == 13


async def test_c4_what_fails_while_nothing_else_waits_does_not_spin(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outbox_module, "OVERDUE_S", 0.5)
    room = await Room(world).open()
    failed = poisonous(room, monkeypatch)
    await room.ann.say(room.conversation, "poison")
    await room.cat.has(room.conversation, [1, 2])
    await room.ann.say(room.conversation, "and on")
    await room.cat.has(room.conversation, [1, 2, 3])
    assert failed == [1, 1, 1]


async def test_who_lost_the_lease_sets_nothing_aside(world: World) -> None:
    room = await Room(world).open(nobody)
    await room.ann.say(room.conversation)
    await room.here.node.fanout.drained()
    ((id_, fields),) = world.redis.xrange(f"{{lane:{room.lane}}}:queue")
    await asyncio.wait_for(
        room.worker.lanes._aside.put(room.lane, "of another", id_, fields[b"b"], RuntimeError()), 5
    )
    assert room.queued() == 1
    assert not world.redis.exists(aside_key(room.lane))
