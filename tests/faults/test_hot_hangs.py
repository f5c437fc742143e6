"""The hot node hangs, and carries out later what it was asked meanwhile, for sessions nobody waits for any more (C6, R20)."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Callable, Iterator

import pytest

from tests.faults.engine import Process, Seat, World
from tests.faults.rig import stays
from tests.support.patience import until
from whatsapp.infra import valkey
from whatsapp.infra.directory import SessionEntry, parse_sessions, sessions_key

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


def entry(world: World, seat: Seat) -> SessionEntry | None:
    session = seat.session
    raw = world.redis.get(sessions_key(session.user))
    assert raw is None or isinstance(raw, bytes)
    return parse_sessions(raw).get(session.device)


async def known(world: World, *processes: Process) -> None:
    """The scripts of each are known at the server, which carries out nothing else by itself."""
    for process in processes:
        seat = await process.seat(*await world.person())
        seat.leave()
        await until(lambda s=seat: entry(world, s) is None, "records were written and removed")


def is_registered(world: World, seat: Seat, process: Process) -> bool:
    found = entry(world, seat)
    return found is not None and found == (process.node.bus.process, seat.session.generation, "online")


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
