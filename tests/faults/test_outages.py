"""The hot node away, dead without a word, or hanging: what is remembered until it is back (C5, C6, C7, R6, R20)."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Sequence
from functools import partial

import pytest

from delivery.session import State
from tests.faults.engine import Process, Seat, World
from tests.gateway.phone import new_id
from tests.support.patience import until
from tests.support.wire import Wire
from whatsapp.infra import clock, valkey
from whatsapp.infra.directory import SessionEntry, parse_sessions, sessions_key
from whatsapp.infra.valkey import HotUnavailable, Valkey
from whatsapp.wire.errors import Close


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who gives no answer is given up sooner."""
    monkeypatch.setattr(valkey, "ANSWER_TIMEOUT_S", 0.5)


async def reachable(world: World) -> tuple[Process, Wire]:
    """A process with a wire before its hot node."""
    wire = await world.wire(world.hot_url)
    return await world.process(hot_url=wire.url), wire


async def take_away(process: Process, wire: Wire) -> None:
    wire.away()
    await until(lambda: not process.hot.available, "the hot node is away")


async def bring_back(process: Process, wire: Wire) -> None:
    wire.back()
    await until(lambda: process.hot.available, "the hot node is back")


async def a_millisecond() -> None:
    now = clock.now_ms()
    await until(lambda: clock.now_ms() > now, "a millisecond has passed")


def registered_or_closed(seat: Seat) -> bool:
    return bool(seat.session.generation or seat.screen.closed)


def record(world: World, seat: Seat) -> SessionEntry | None:
    """Where the hot node says that the device is."""
    session = seat.session
    raw = world.redis.get(sessions_key(session.user))
    assert raw is None or isinstance(raw, bytes)
    return parse_sessions(raw).get(session.device)


# -- R20: the session opened last stays ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "order", [(1, 0), (0, 1)], ids=["the newer is back first", "the older is back first"]
)
async def test_r20_of_two_sessions_opened_in_an_outage_the_later_stays(
    world: World, order: Sequence[int]
) -> None:
    sides = [await reachable(world), await reachable(world)]
    bob = await world.person()
    for process, wire in sides:
        await take_away(process, wire)
    seats: list[Seat] = []
    for process, _ in sides:
        seats.append(await process.seat(*bob))
        await a_millisecond()
    for number in order:
        sides[number][1].back()
        await until(partial(registered_or_closed, seats[number]), "it is registered")
    await until(lambda: any(seat.screen.closed for seat in seats), "one has gone")
    assert [seat.screen.closed for seat in seats] == [Close.REPLACED, 0]
    there = record(world, seats[1])
    assert there is not None
    assert there.process == sides[1][0].node.bus.process


async def test_r20_an_end_told_late_spares_the_newer_session(world: World) -> None:
    """The device leaves while its gateway has no hot node, and is back elsewhere before that gateway can say so."""
    process, wire = await reachable(world)
    other = await world.process()
    bob = await world.person()
    old = await process.seat(*bob)
    await take_away(process, wire)
    old.leave()
    new = await other.seat(*bob)
    await bring_back(process, wire)
    await (await process.seat(*await world.person())).sync()  # what waited for the node went before this
    there = record(world, new)
    assert there is not None
    assert there.process == other.node.bus.process
    assert new.screen.closed == 0


# -- records of who has left --------------------------------------------------------------------------------------------------


async def test_c6_who_opens_in_an_outage_is_told_what_waits(world: World) -> None:
    """``ready.pending`` comes from the store when there are no marks to count."""
    (bob, tablet), people = await world.person(), [await world.person() for _ in range(2)]
    process, wire = await reachable(world)
    for user, device in people:
        conversation = await world.direct(user, bob)
        for _ in range(2):
            await world.append(conversation, user, device, new_id())
    await take_away(process, wire)
    assert (await process.seat(bob, tablet, sync=False)).session.pending == 2


async def test_c6_who_leaves_in_an_outage_is_not_online(world: World) -> None:
    process, wire = await reachable(world)
    seat = await process.seat(*await world.person())
    await until(lambda: record(world, seat), "it is registered")
    await take_away(process, wire)
    seat.leave()
    await bring_back(process, wire)
    await until(lambda: record(world, seat) is None, "its record goes", 5)


async def test_c6_an_announcement_of_who_has_left_writes_nothing(world: World) -> None:
    process = await world.process()
    seat = await process.seat(*await world.person())
    seat.leave()
    await until(lambda: record(world, seat) is None, "its record goes")
    seat.session.away = True
    await process.node.sessions.announce(seat.session)
    assert record(world, seat) is None


# -- R6: a subscription that is dead ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("subscriptions_only", [False, True], ids=["node", "subscription"])
async def test_r6_a_subscription_that_died_without_a_word_is_noticed(
    world: World, impatient: None, subscriptions_only: bool
) -> None:
    """Its bytes vanish, nothing is reset: the process subscribes anew and opens its sessions again."""
    here = await world.process()
    there, wire = await reachable(world)
    ann, bob = await world.person(), await world.person()
    conversation = await world.direct(ann[0], bob[0])
    writing, seat = await here.seat(*ann), await there.seat(*bob)
    await writing.say(conversation)
    await seat.has(conversation, [1])
    term = there.hot.term
    wire.freeze(subscriptions_only=subscriptions_only)
    await until(lambda: there.hot.term > term, "a new term")
    await until(lambda: seat.session.term == there.hot.term, "its sessions are open again")
    await writing.say(conversation)
    await seat.has(conversation, [1, 2], 8)


# -- C5: receipts in an outage ------------------------------------------------------------------------------------------------


async def test_c5_a_receipt_of_an_outage_is_told_when_it_ends(world: World) -> None:
    """Bob reads while his gateway has no hot node; it is written before the node is back."""
    here = await world.process()
    there, wire = await reachable(world)
    ann, bob = await world.person(), await world.person()
    conversation = await world.direct(ann[0], bob[0])
    writing, seat = await here.seat(*ann), await there.seat(*bob)
    await writing.say(conversation)
    await seat.has(conversation, [1])
    await until(lambda: writing.told("delivered"), "Ann is told that it was delivered")
    await take_away(there, wire)
    there.node.receipts.read(seat.session, conversation, 1)
    await there.saved()
    assert (await world.log.receipts(conversation))[bob[0]].read == 1
    await bring_back(there, wire)
    await until(lambda: writing.told("read") == {(conversation, 1)}, "Ann is told that it was read", 8)


# -- C7: connections and keys -------------------------------------------------------------------------------------------------


async def test_c7_a_node_that_hangs_costs_no_connections(impatient: None) -> None:
    """It accepts and answers nothing: every attempt that is given up is closed."""
    closed = asyncio.Event()

    async def hang(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while await reader.read(65_536):
                pass
        closed.set()
        writer.close()

    async with await asyncio.start_server(hang, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        with pytest.raises(HotUnavailable):
            await Valkey(f"redis://:secret@127.0.0.1:{port}").start(wait=True)
        async with asyncio.timeout(5):
            await closed.wait()


async def test_c6_the_late_end_of_an_attempt_leaves_the_connection_alone(
    world: World, impatient: None
) -> None:
    wire = await world.wire(world.hot_url)
    wire.freeze(new_ones=True)
    client = Valkey(wire.url)
    lost: list[bool] = []
    client.on_lost = lambda: lost.append(True)
    await client.start()
    try:
        await until(lambda: wire.frozen >= 2, "an attempt was given up")
        wire.back()
        await until(lambda: client.connected, "it is connected")
        wire.cut(frozen_only=True)
        for _ in range(20):
            assert await client.run([("PING",)]) == [b"PONG"]
        assert not lost
    finally:
        await client.stop()


async def test_c7_an_unlinked_device_leaves_no_keys(world: World) -> None:
    process = await world.process()
    ann, bob = await world.person(), await world.person()
    conversation = await world.direct(ann[0], bob[0])
    seat, writing = await process.seat(*bob), await process.seat(*ann)
    seat.screen.acking = False
    await writing.say(conversation)
    await process.node.fanout.drained()
    assert await process.dirty(*bob) == {conversation: 1}
    process.node.sessions.end(seat.session, Close.UNLINKED, "unlinked")
    await process.node.sessions.forget(*bob)
    assert seat.session.state is State.CLOSED
    await until(lambda: not list(world.redis.scan_iter(f"*{bob[1]}*")), "its keys are gone")


async def test_c5_a_receipt_for_a_gateway_that_was_cut_off_is_told_when_it_is_back(world: World) -> None:
    """Bob's gateway has the hot node, Ann's has not for a while."""
    here, wire = await reachable(world)
    there = await world.process()
    ann, bob = await world.person(), await world.person()
    conversation = await world.direct(ann[0], bob[0])
    writing, seat = await here.seat(*ann), await there.seat(*bob)
    await writing.say(conversation)
    await seat.has(conversation, [1])
    await until(lambda: writing.told("delivered"), "Ann is told that it was delivered")
    await take_away(here, wire)
    there.node.receipts.read(seat.session, conversation, 1)
    await there.saved()
    await there.saved()
    await bring_back(here, wire)
    await until(lambda: writing.told("read") == {(conversation, 1)}, "Ann is told that it was read", 8)
