"""The hot node hangs, and carries out later what it was asked meanwhile, for sessions nobody waits for any more (C6, R20)."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import Callable, Iterator

import pytest

from tests.faults.engine import Process, Seat, World
from tests.faults.rig import stays
from tests.faults.test_outages import a_millisecond
from tests.faults.test_session_numbers import by_arrival, entry, is_registered
from tests.support.patience import until
from whatsapp.infra import valkey
from whatsapp.wire.errors import Close

Hang = Callable[[], contextlib.AbstractContextManager[None]]


@pytest.fixture
def hang(world: World, one_hot_url: str, monkeypatch: pytest.MonkeyPatch) -> Hang:
    """``with hang():`` the server stands still; who asks it gives up after half a second. Then it reads what has been written to
    it, whoever is still there."""
    monkeypatch.setattr(valkey, "ANSWER_TIMEOUT_S", 0.5)
    pid = int(world.redis.info("server")["process_id"])

    @contextlib.contextmanager
    def hanging() -> Iterator[None]:
        os.kill(pid, signal.SIGSTOP)
        try:
            yield
        finally:
            os.kill(pid, signal.SIGCONT)

    return hanging


async def known(world: World, *processes: Process) -> None:
    """The scripts of each are known at the server, which carries out nothing else by itself."""
    for process in processes:
        seat = await process.seat(*await world.person())
        seat.leave()
        await until(lambda s=seat: entry(world, s) is None, "records were written and removed")


async def test_r20_a_session_is_not_replaced_by_its_own_registration(world: World, hang: Hang) -> None:
    """Who connects while the hot node hangs is served from the store; what it was registered by then is carried out later."""
    process = await world.process()
    await known(world, process)
    bob = await world.person()
    with hang():
        seat = await process.seat(*bob)
        assert not seat.session.generation
    await until(lambda: seat.session.generation or seat.screen.closed, "it is registered")
    assert seat.screen.closed == 0
    await until(lambda: is_registered(world, seat, process), "its record stands")
    await stays(lambda: seat.screen.closed == 0, "it was replaced by itself", 1.0)


async def test_r20_a_session_is_not_replaced_by_an_earlier_one_that_has_ended(
    world: World, hang: Hang
) -> None:
    here, there = await world.process(), await world.process()
    await known(world, here, there)
    bob = await world.person()
    with hang():
        old = await here.seat(*bob)
        old.leave()
        new = await there.seat(*bob)
    await until(lambda: new.session.generation or new.screen.closed, "it is registered")
    assert new.screen.closed == 0
    await until(lambda: is_registered(world, new, there), "its record stands")
    await stays(lambda: new.screen.closed == 0, "it was replaced by who has gone", 1.0)


async def overtaken(world: World, hang: Hang, *, long: bool, arrival: bool = False) -> tuple[Process, Seat]:
    """A device opens at one gateway, leaves, and opens at another one, whose connection the node reads first when it goes on.
    ``long``: both have given up theirs by then."""
    here, there = await world.process(), await world.process()
    if arrival:
        by_arrival(here)
        by_arrival(there)
    await known(world, here, there)
    bob = await world.person()
    old, new = Seat(here, *bob), Seat(there, *bob)
    with hang():
        # What has something to be read first is read first.
        first = asyncio.create_task(there.hot.run([("PING",)]))
        await asyncio.sleep(0)
        opening = asyncio.create_task(old.open(sync=False))
        await until(lambda: here.hot.commands.waits_s, "its registration is on the way")
        old.leave()
        await a_millisecond()
        again = asyncio.create_task(new.open(sync=False))
        await until(lambda: new.session.opened_at, "it has begun")
        await asyncio.sleep(0)
        if long:
            await until(lambda: not here.hot.available and not there.hot.available, "both have given up")
    await asyncio.gather(first, opening, again, return_exceptions=True)
    await until(lambda: new.session.generation or new.screen.closed, "it is judged")
    return there, new


@pytest.mark.parametrize("long", [False, True], ids=["it is heard", "they have given up"])
async def test_r20_an_earlier_one_that_has_left_is_read_behind_it(
    world: World, hang: Hang, long: bool
) -> None:
    there, new = await overtaken(world, hang, long=long)
    await until(lambda: is_registered(world, new, there) or new.screen.closed, "its record stands")
    await stays(lambda: new.screen.closed == 0, "it was replaced by who has gone", 1.0)
    assert is_registered(world, new, there)


@pytest.mark.parametrize("long", [False, True], ids=["it is heard", "they have given up"])
async def test_r20_twin_by_arrival(world: World, hang: Hang, long: bool) -> None:
    _, new = await overtaken(world, hang, long=long, arrival=True)
    await until(lambda: new.screen.closed == Close.REPLACED, "it was replaced by who has gone")


async def test_c6_who_came_and_went_while_it_hung_is_not_online(world: World, hang: Hang) -> None:
    process = await world.process()
    await known(world, process)
    bob = await world.person()
    with hang():
        seat = await process.seat(*bob)
        seat.leave()
    await until(lambda: process.hot.available, "it answers again")
    # Another one's record, of the same new term, is written behind what was left over.
    await until(
        lambda: entry(world, seat) is None and process.node.sessions._left_over == [], "no record is left"
    )
    witness = await process.seat(*await world.person())
    await until(lambda: is_registered(world, witness, process), "records are written")
    await stays(lambda: entry(world, seat) is None, "who has gone is said to be online", 1.0)
