"""C1 to C4: a gateway is killed at each fault point, with the recipient's devices offline and at the other gateway."""

from __future__ import annotations

import asyncio
import signal

import pytest

from tests.faults.history import LOST
from tests.faults.people import Device
from tests.faults.rig import Cast, Rig, meeting, stays
from tests.support.patience import LONG, until
from whatsapp.wire import frames

pytestmark = pytest.mark.needs_system

#: Long enough for two rounds of the sweep (one a second).
SWEEPS_S = 2.5
POINTS = ["append-ack", "ack-mark", "before-mark", "mark-push"]


async def send_into_death(rig: Rig, cast: Cast, point: str) -> None:
    """Ann's gateway dies while it handles one more message; she sends it again over the other gateway."""
    rig.arm(point)
    await cast.say()
    await rig.died("gateway-1")
    assert not rig.armed(point)
    await until(lambda: 1006 in cast.ann.closes, "Ann's socket ends")


@pytest.mark.parametrize("point", POINTS)
async def test_c1_killed_gateway_loses_nothing(rig: Rig, point: str) -> None:
    async with meeting(rig) as cast:
        await send_into_death(rig, cast, point)
        assert cast.history.sends[-1].attempts <= 2
        rig.forget_heartbeats()
        await cast.all_here(cast.phone)
        # One more, so that order is seen too, then the one who was away.
        await cast.say(2)
        await cast.laptop.online()
        await cast.all_here(cast.phone, cast.laptop)


@pytest.mark.parametrize(
    ("point", "marked"), [("append-ack", False), ("before-mark", False), ("mark-push", True)]
)
async def test_twin_without_sweep_it_is_lost(rig: Rig, point: str, marked: bool) -> None:
    """What was marked reaches who comes back; the phone that is connected hears of nothing before the 60 s check."""
    async with meeting(rig) as cast:
        with rig.off("sweep"):
            await send_into_death(rig, cast, point)
            rig.forget_heartbeats()
            await cast.laptop.online()
            await stays(lambda: cast.history.missing(cast.phone.id), "the phone heard of it", SWEEPS_S)
            assert cast.history.kinds(cast.phone.id) == {LOST}
            if marked:  # it reads until its set is empty, which a store that pauses makes longer
                await until(lambda: not cast.history.missing(cast.laptop.id), "the laptop has it")
            assert cast.history.kinds(cast.laptop.id) == (set() if marked else {LOST})
        await cast.all_here(cast.phone, cast.laptop)


async def test_v2_retry_over_the_other_gateway_is_a_duplicate(rig: Rig) -> None:
    """The append was durable and unanswered: the second attempt gets the first result."""
    async with meeting(rig) as cast:
        await send_into_death(rig, cast, "append-ack")
        again = cast.history.sends[-1]
        assert (again.attempts, again.duplicate) == (2, True)
        async with rig.system.stored() as log:
            stored = [one.message_id for one in await log.events(cast.conversation)]
        assert stored.count(again.message_id) == 1


async def test_c4_killed_while_a_backlog_is_read(rig: Rig) -> None:
    """The device comes back at the other gateway and goes on from what it acknowledged."""
    async with meeting(rig) as cast:
        await cast.say(250)
        rig.arm("sync-batch")
        cast.laptop.urls = [rig.one, rig.two]
        await cast.laptop.connect()
        await rig.died("gateway-1")
        assert cast.laptop.got < 253
        await cast.laptop.online(rig.two)
        await cast.all_here(cast.phone, cast.laptop)


@pytest.mark.timeout(400)
async def test_c3_killed_under_load(rig: Rig) -> None:
    """Two people write to each other without a pause while a gateway is killed twice, at whatever moment that is."""
    async with meeting(rig) as cast:
        stop = asyncio.Event()

        async def chatter() -> None:
            while not stop.is_set():
                await cast.say()

        async def answer() -> None:
            while not stop.is_set():
                await cast.phone.say(cast.conversation, "yes")

        talking = [asyncio.create_task(chatter()), asyncio.create_task(answer())]
        for _ in range(2):
            confirmed = len(cast.history.sends)
            await until(lambda n=confirmed: len(cast.history.sends) > n + 150, "150 more sends", LONG)
            rig.system.kill("gateway-1", signal.SIGKILL)
            await until(lambda n=confirmed: len(cast.history.sends) > n + 250, "100 more sends", LONG)
            rig.forget_heartbeats()
            await rig.run("gateway-1")
            await cast.ann.cut()
            await cast.ann.online(rig.one)
        stop.set()
        await asyncio.gather(*talking)
        await cast.laptop.online()
        await cast.all_here(*cast.devices)


async def test_sigterm_under_load_loses_nothing(rig: Rig) -> None:
    """A deploy: a slot for each socket, what is in flight is finished, 1012; the others notice a reconnect."""
    async with meeting(rig) as cast:
        stop = asyncio.Event()

        async def chatter(device: Device) -> None:
            while not stop.is_set():
                await device.say(cast.conversation, "x")

        await cast.phone.leave()
        await cast.phone.online(rig.one)
        talking = [asyncio.create_task(chatter(device)) for device in (cast.ann, cast.phone)]
        await until(lambda: len(cast.history.sends) > 100, "100 sends", LONG)
        peer = cast.ann.peer
        assert peer is not None
        await asyncio.to_thread(rig.system.stop_part, "gateway-1")
        assert rig.system.stack.children["gateway-1"].process.returncode == 0  # type: ignore[union-attr]
        assert cast.ann.closes[0] == 1012
        slot = next(frame for frame in peer.log if isinstance(frame, frames.Reconnect))
        assert (slot.reason, slot.after_ms < 5_000) == ("deploy", True)
        count = len(cast.history.sends)
        await until(lambda: len(cast.history.sends) > count + 50, "they go on over the other gateway", LONG)
        stop.set()
        await asyncio.gather(*talking)
        await cast.laptop.online(rig.two)
        await cast.all_here(cast.phone, cast.laptop)
