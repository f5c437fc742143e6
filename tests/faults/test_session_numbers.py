"""Two sessions of a device: the one opened last stays, in whatever order their registrations come (R20), and no record outlives
its session (C6). A hot node that hangs is the story of :mod:`tests.faults.test_hot_hangs`, outages that of ``test_outages``."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec
import pytest

from delivery.inbox import _REGISTER, _UNREGISTER, Registration
from delivery.session import Session, State
from delivery.sessions import Sessions
from tests.faults.engine import Process, Seat, World
from tests.faults.test_outages import a_millisecond, reachable, take_away
from tests.support.patience import until
from whatsapp.infra import clock
from whatsapp.infra.directory import SessionEntry, parse_sessions, sessions_key
from whatsapp.infra.valkey import HotUnavailable
from whatsapp.wire.errors import Close


def entry(world: World, seat: Seat) -> SessionEntry | None:
    """What the hot node says of where the device is."""
    session = seat.session
    raw = world.redis.get(sessions_key(session.user))
    assert raw is None or isinstance(raw, bytes)
    return parse_sessions(raw).get(session.device)


def is_registered(world: World, seat: Seat, process: Process) -> bool:
    found = entry(world, seat)
    number = seat.session.generation
    return bool(number) and found == (process.node.bus.process, number, "online")


def by_arrival(process: Process) -> None:
    """Without the order of openings: whoever is being opened takes the place of whatever record there is."""
    before, found, rest = _REGISTER.partition("if old and (")
    assert found
    above = "if old and tonumber(old[2]) >= number then number = tonumber(old[2]) + 1 end\n"
    inbox, hub = process.node.inbox, process.node.hub
    ordered, arrived = inbox._register, process.hot.script(before + above + rest.split("\nend\n", 1)[1])
    register = inbox.register

    def is_opening(request: Registration) -> bool:
        session = hub.get(request.user, request.device)
        return session is not None and session.state is State.OPENING and not session.generation

    async def first_or_again(requests: list[Registration]) -> Any:
        # The commands are made before anything is waited for.
        inbox._register = arrived if all(map(is_opening, requests)) else ordered
        return await register(requests)

    inbox.register = first_or_again  # type: ignore[method-assign, assignment]


def nothing_is_later(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a look at a record with a higher number: it is always a later session's."""
    monkeypatch.setattr(Sessions, "_is_later", lambda *_: False)


class Held:
    """The next registration of a process is sent when it may."""

    def __init__(self, process: Process) -> None:
        self.asked, self.go = asyncio.Event(), asyncio.Event()
        inbox = process.node.inbox
        register = inbox.register

        async def held(requests: list[Registration]) -> Any:
            inbox.register = register  # type: ignore[method-assign]
            self.asked.set()
            await self.go.wait()
            return await register(requests)

        inbox.register = held  # type: ignore[method-assign, assignment]


# -- the one opened last stays --------------------------------------------------------------------------------------------------


async def overtaken(world: World, *, arrival: bool = False) -> list[int]:
    """The registration of the first comes behind that of the second. The close codes of both, in the order of openings."""
    here, there = await world.process(), await world.process()
    bob = await world.person()
    if arrival:
        by_arrival(here)
    held = Held(here)
    old = Seat(here, *bob)
    opening = asyncio.create_task(old.open(sync=False))
    await held.asked.wait()
    await a_millisecond()
    new = await there.seat(*bob, sync=False)
    held.go.set()
    await opening
    await until(lambda: old.screen.closed or new.screen.closed, "one has gone")
    return [old.screen.closed, new.screen.closed]


async def test_r20_who_is_registered_late_takes_nobodys_place(world: World) -> None:
    assert await overtaken(world) == [Close.REPLACED, 0]


async def test_r20_twin_by_arrival(world: World) -> None:
    assert await overtaken(world, arrival=True) == [0, Close.REPLACED]


async def clocks_differ(world: World, monkeypatch: pytest.MonkeyPatch, ahead_ms: int) -> list[int]:
    """The clock of the first one's gateway is ahead by so much; 0: both are opened in one millisecond."""
    here, there = await world.process(), await world.process()
    bob = await world.person()
    now = clock.now_ms()
    monkeypatch.setattr(clock, "now_ms", lambda: now + ahead_ms)
    old = await here.seat(*bob, sync=False)
    monkeypatch.setattr(clock, "now_ms", lambda: now)
    new = await there.seat(*bob, sync=False)
    await until(lambda: old.screen.closed or new.screen.closed, "one has gone")
    if not new.screen.closed:
        assert new.session.generation == old.session.generation + 1
        await until(lambda: is_registered(world, new, there), "its record stands")
    return [old.screen.closed, new.screen.closed]


@pytest.mark.parametrize("ahead_ms", [0, 60_000])
async def test_r20_the_later_stays_although_its_number_is_not_higher(
    world: World, monkeypatch: pytest.MonkeyPatch, ahead_ms: int
) -> None:
    assert await clocks_differ(world, monkeypatch, ahead_ms) == [Close.REPLACED, 0]


@pytest.mark.parametrize("ahead_ms", [0, 60_000])
async def test_r20_twin_numbers_alone(world: World, monkeypatch: pytest.MonkeyPatch, ahead_ms: int) -> None:
    nothing_is_later(monkeypatch)
    assert await clocks_differ(world, monkeypatch, ahead_ms) == [0, Close.REPLACED]


@pytest.mark.parametrize("own", [True, False], ids=["of its own gateway", "of another one"])
async def test_r20_a_record_of_its_own_gateway_is_no_later_sessions(world: World, own: bool) -> None:
    """A session that was opened in an outage finds a record with a higher number: the clock of this gateway was set back, or a
    session was opened elsewhere since."""
    process, wire = await reachable(world)
    bob = await world.person()
    await take_away(process, wire)
    seat = await process.seat(*bob)
    number = clock.now_ms() + 1_000
    whose = process.node.bus.process if own else "another"
    record = msgspec.json.encode({seat.session.device: [whose, number, "online"]})
    world.redis.set(sessions_key(seat.session.user), record)
    wire.back()
    await until(lambda: seat.session.generation or seat.screen.closed, "it is judged")
    assert seat.screen.closed == (0 if own else Close.REPLACED)
    assert seat.session.generation == (number + 1 if own else 0)


# -- an opening that is carried out twice ----------------------------------------------------------------------------------------


async def carried_out_twice(world: World) -> tuple[Seat, Process]:
    """Its registration is carried out twice before an answer is heard."""
    process = await world.process()
    inbox = process.node.inbox
    register, times = inbox.register, 0

    async def unheard(requests: list[Registration]) -> Any:
        nonlocal times
        times += 1
        answer = await register(requests)
        if times <= 2:
            raise HotUnavailable("carried out, the answer is lost")
        return answer

    inbox.register = unheard  # type: ignore[method-assign, assignment]
    seat = await process.seat(*await world.person(), sync=False)
    await until(lambda: seat.session.generation or seat.screen.closed, "it is judged")
    return seat, process


async def test_r20_an_opening_that_is_carried_out_twice_is_one(world: World) -> None:
    seat, process = await carried_out_twice(world)
    assert seat.screen.closed == 0
    assert seat.session.generation == seat.session.opened_at
    assert is_registered(world, seat, process)


async def test_r20_twin_a_session_does_not_know_its_own_record(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    nothing_is_later(monkeypatch)
    unknown = _REGISTER.replace(" and old[1] ~= ARGV[2]", "")
    assert unknown != _REGISTER
    monkeypatch.setattr("delivery.inbox._REGISTER", unknown)
    seat, _ = await carried_out_twice(world)
    assert seat.screen.closed == Close.REPLACED


# -- records of who has left -----------------------------------------------------------------------------------------------------


async def taken_place(world: World) -> tuple[Seat, Seat]:
    """A session takes the place of another one at their gateway, and leaves before it is registered. The second is of somebody
    else, whose record was removed behind theirs."""
    process = await world.process()
    bob = await world.person()
    old = await process.seat(*bob, sync=False)
    await until(lambda: is_registered(world, old, process), "it is registered")
    witness = await process.seat(*await world.person(), sync=False)
    new = Seat(process, *bob)
    opening = asyncio.create_task(new.open(sync=False))
    await asyncio.sleep(0)  # the others' turn: it is here, and not yet asked for
    new.leave()
    await opening
    assert old.screen.closed == Close.REPLACED
    witness.leave()
    await until(lambda: entry(world, witness) is None, "the other's record is removed")
    return old, new


async def test_c6_who_goes_unregistered_takes_along_whose_place_it_took(world: World) -> None:
    old, new = await taken_place(world)
    assert entry(world, old) is None
    assert not new.session.generation


async def test_c6_twin_each_removes_its_own_alone(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    own = _UNREGISTER.replace("tonumber(old[2]) > tonumber(ARGV[3])", "tonumber(old[2]) ~= tonumber(ARGV[3])")
    assert own != _UNREGISTER
    monkeypatch.setattr("delivery.inbox._UNREGISTER", own)
    old, _ = await taken_place(world)
    assert entry(world, old) is not None


async def come_back(world: World, monkeypatch: pytest.MonkeyPatch, *, keeps: bool) -> bool:
    """A device leaves and is back in the same millisecond, before its record is removed. Whether its record stands."""
    process = await world.process()
    bob = await world.person()
    now = clock.now_ms()
    monkeypatch.setattr(clock, "now_ms", lambda: now)
    old = await process.seat(*bob, sync=False)
    removing = process.node.sessions._unregister
    remove, asked, go = removing._run, asyncio.Event(), asyncio.Event()

    async def held(sessions: list[Session]) -> None:
        removing._run = remove
        asked.set()
        await go.wait()

    removing._run = held
    (await process.seat(*await world.person(), sync=False)).leave()
    await asked.wait()
    old.leave()
    new = await process.seat(*bob, sync=False)
    assert new.session.generation == old.session.generation
    if not keeps:
        monkeypatch.setattr(process.node.sessions._hub, "get", lambda *_: None)
    go.set()
    await removing.drained()
    return entry(world, new) is not None


async def test_c6_who_is_back_at_once_keeps_its_record(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    assert await come_back(world, monkeypatch, keeps=True)


async def test_c6_twin_who_has_gone_removes_it(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    assert not await come_back(world, monkeypatch, keeps=False)
