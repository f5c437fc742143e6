"""What a pass of a lane costs, counted at the node: marks coalesced, one publish per gateway process, a frame encoded once."""

from __future__ import annotations

from typing import Any

import pytest

from delivery import parcels as parcels_module
from delivery import session as session_module
from delivery.parcels import parcels, weight
from delivery.store.values import Logged
from tests.faults.engine import Seat, World
from tests.faults.test_lanes import Room, nobody
from tests.gateway.phone import new_id
from tests.support.patience import until
from whatsapp.infra import bus as bus_module

MESSAGES = 12  # one pass takes them: the first takes 16 entries


async def crowded(world: World) -> tuple[Room, list[Seat]]:
    """Besides Ann, Ben and Cat: nine people on three gateways and one who is away. Nobody acks, so nothing else is published."""
    room = await Room(world).open(nobody)
    third = await world.process(submit_lane=nobody)
    people = [await world.person() for _ in range(10)]
    await room.change("member_added", joins=tuple(user for user, _ in people))
    away = people.pop()
    (await third.seat(*away)).leave()
    seats = [
        await (room.here, room.there, third)[number % 3].seat(*person) for number, person in enumerate(people)
    ]
    for seat in (room.ann, room.ben, room.cat):
        # They were there already, and nobody told them of the others.
        seat.node.live.poke(room.conversation, 2, [seat.session.user])
    seats += [room.ben, room.cat]
    for seat in seats:
        await until(lambda s=seat: 2 in s.seqs(room.conversation), "they know each other")
        seat.screen.acking = False
    for process in (room.here, room.there, third):
        await process.saved()
    room.worker.bus.hot.on_term.clear()
    return room, seats


def calls(world: World, command: str) -> int:
    stats: Any = world.redis.info("commandstats")
    return int(stats.get(f"cmdstat_{command}", {}).get("calls", 0))


async def test_a_pass_marks_a_device_once_and_publishes_once_per_process(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    room, seats = await crowded(world)
    encoded: list[int] = []
    item_frame = session_module.item_frame

    def counted(logged: Logged) -> Any:
        encoded.append(logged.seq)
        return item_frame(logged)

    for number in range(MESSAGES):
        await room.ann.say(room.conversation, str(number))
        await room.here.node.fanout.drained()
    assert room.queued() == MESSAGES
    monkeypatch.setattr(session_module, "item_frame", counted)
    world.redis.config_resetstat()
    token = (room.holder() or b"").decode()
    assert await room.worker.lanes.run(room.lane, token) == 1, "one pass took all of them"
    wanted = list(range(3, 3 + MESSAGES))
    for seat in seats:
        await until(lambda s=seat: s.seqs(room.conversation)[-MESSAGES:] == wanted, "everybody has them")
    # Eleven devices besides Ann's, one of them away; each is marked once for twelve messages.
    devices = len(seats) + 1
    assert calls(world, "zadd") == devices
    assert calls(world, "mget") == 1, "one look-up"
    assert calls(world, "spublish") == 3 + 1, "to three gateways, and the report"
    assert sorted(encoded) == sorted(3 * wanted), (
        "a frame is encoded once on each gateway, for whoever gets it"
    )


async def test_twin_a_pass_for_each_entry_costs_each_time(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("delivery.lane_worker.FIRST_ENTRIES", 1)
    monkeypatch.setattr("delivery.lane_worker.PASS_ENTRIES", 1)
    room, seats = await crowded(world)
    for number in range(MESSAGES):
        await room.ann.say(room.conversation, str(number))
        await room.here.node.fanout.drained()
    world.redis.config_resetstat()
    token = (room.holder() or b"").decode()
    assert await room.worker.lanes.run(room.lane, token) == MESSAGES
    assert calls(world, "zadd") == MESSAGES * (len(seats) + 1)
    assert calls(world, "spublish") >= 3 * MESSAGES


# -- C7: bytes of a publish -----------------------------------------------------------------------------------------------------

BODY = 60_000


async def long_pass(world: World, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The lengths of the publishes of a pass that carries 40 long messages."""
    monkeypatch.setattr("delivery.lane_worker.FIRST_ENTRIES", 256)
    room = await Room(world).open(nobody)
    for _ in range(40):
        ids = [(seat, seat.send(room.conversation, "x" * BODY)) for seat in (room.ann, room.ben)]
        for seat, message_id in ids:
            await seat.answer(message_id)
    await room.here.node.fanout.drained()
    lengths: list[int] = []
    hot = room.worker.bus.hot
    run = hot.run

    async def seen(commands: Any) -> Any:
        published = [len(command[2]) for command in commands if command[0] == "SPUBLISH"]
        assert sum(published) <= max(bus_module.FLIGHT_BYTES, *published, 0), "in flight together"
        lengths.extend(published)
        return await run(commands)

    monkeypatch.setattr(hot, "run", seen)
    token = (room.holder() or b"").decode()
    assert await room.worker.lanes.run(room.lane, token) == 1
    await room.cat.has(room.conversation, list(range(1, 82)))
    return lengths


async def test_c7_a_publish_is_bounded(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    lengths = await long_pass(world, monkeypatch)
    assert max(lengths) <= bus_module.PUBLISH_BYTES
    assert sum(lengths) > 2 * 80 * BODY, "two gateways got everything"


async def test_c7_twin_a_pass_is_one_publish(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("delivery.lane_worker.PARCEL_BYTES", 1 << 40)
    monkeypatch.setattr(parcels_module, "PARCEL_BYTES", 1 << 40)
    lengths = await long_pass(world, monkeypatch)
    assert max(lengths) > 80 * BODY


def test_parcels_keep_order_and_users(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parcels_module, "PARCEL_BYTES", 1_000)

    def event(conversation: str, seq: int, size: int) -> Logged:
        return Logged(conversation, seq, 0, "", "", "", "text", b"x" * size, 1, 1)

    parts = [
        ([event("a", 1, 100), event("a", 2, 5_000), event("a", 3, 100), event("a", 4, 100)], ["ann", "ben"]),
        ([event("b", 1, 10)], ["cat"]),
        ([event("c", seq, 400) for seq in range(1, 8)], [new_id() for _ in range(3)]),
    ]
    cut = list(parcels(parts))
    flat = [(event, users) for parcel in cut for events, users in parcel for event in events]
    assert flat == [(event, users) for events, users in parts for event in events]
    for parcel in cut:
        size = sum(weight(event) for events, _ in parcel for event in events)
        assert size <= 1_000 or sum(len(events) for events, _ in parcel) == 1
    assert list(parcels([])) == []
