"""C1 to C5 with the client library as the people, judged by the same check: parts of the system are killed, the network goes
or is silent, and the client's own process is killed at any moment."""

from __future__ import annotations

import asyncio
import os
import random
from collections.abc import Awaitable, Callable

import pytest

from tests.faults.history import DISHONEST
from tests.faults.library import LibraryDevice
from tests.faults.rig import Rig, meeting
from tests.faults.town import Town
from tests.support.patience import LONG, PATIENCE, until
from whatsapp_client import Database

pytestmark = pytest.mark.needs_system


async def test_library_a_gateway_killed_while_it_handles_a_message(rig: Rig) -> None:
    async with meeting(rig, LibraryDevice) as cast:
        for point in ("append-ack", "before-mark", "mark-push"):
            # The network leads Ann to the first gateway while that one lives.
            cast.ann.urls.sort(key=lambda url: url != rig.one)
            cast.ann.network.cut()
            await until(lambda: cast.ann.client.state.status == "online", "Ann is back")
            rig.arm(point)
            await cast.say()
            await rig.died("gateway-1")
            rig.forget_heartbeats()
            await cast.all_here(cast.phone)
            await rig.run("gateway-1")
        await cast.say(2)
        await cast.laptop.online()
        await cast.all_here(cast.phone, cast.laptop)
        assert {device.seen.repeats for device in cast.devices} == {0}


async def test_library_a_rolling_restart(rig: Rig) -> None:
    """Each gateway is asked to end and comes back while two people write to each other."""
    async with meeting(rig, LibraryDevice) as cast:
        stop = asyncio.Event()

        async def chatter(device: LibraryDevice) -> None:
            while not stop.is_set():
                await device.say(cast.conversation, "x")

        talking = [asyncio.create_task(chatter(device)) for device in (cast.ann, cast.phone)]
        for name in ("gateway-1", "gateway-2"):
            count = len(cast.history.sends)
            await until(lambda n=count: len(cast.history.sends) > n + 20, "they write")
            await asyncio.to_thread(rig.system.stop_part, name)
            await rig.run(name)
        stop.set()
        await asyncio.gather(*talking)
        await cast.laptop.online()
        await cast.all_here(*cast.devices)
        assert 1012 in cast.ann.closes + cast.phone.closes
        assert {device.seen.repeats for device in cast.devices} == {0}


async def test_library_network_cut_down_and_silent(rig: Rig) -> None:
    async with meeting(rig, LibraryDevice) as cast:
        phone = cast.phone
        phone.network.down()
        written = [phone.client.send(cast.conversation, f"offline {i}") for i in range(5)]
        await cast.say(3)
        await until(lambda: phone.client.state.status == "waiting", "the phone waits for the network")
        phone.network.restore()
        async with asyncio.timeout(PATIENCE):
            await asyncio.gather(*[outgoing.sent() for outgoing in written])
        assert [outgoing.seq for outgoing in written] == sorted(outgoing.seq for outgoing in written)
        await cast.all_here(phone)

        # Half-open: neither side hears of it; the pings do.
        await until(lambda: phone.client.state.status == "online", "the phone is online")
        connects = phone.client.connects
        phone.network.silence()
        outgoing = phone.client.send(cast.conversation, "into the silence")
        await cast.say(2)
        await until(lambda: phone.client.state.status != "online", "the phone notices")
        phone.network.restore()
        async with asyncio.timeout(PATIENCE):
            await outgoing.sent()
        await cast.all_here(phone)
        assert phone.client.connects > connects
        assert phone.seen.repeats == 0


@pytest.mark.timeout(180)
async def test_library_whatever_comes(rig: Rig) -> None:
    chance = random.Random(int(os.environ.get("WHATSAPP_SEED", "5")))
    town = Town(rig, chance, LibraryDevice)
    await town.settle()

    async def killed_clients() -> None:
        """Half of the programs die at once, in the middle of what they do."""
        await asyncio.gather(*[device.kill() for device in chance.sample(town.devices, 3)])

    async def silence() -> None:
        device = chance.choice(town.devices)
        device.network.silence()
        await asyncio.sleep(1.5)
        device.network.restore()

    chatting = [asyncio.create_task(town.chat(device)) for device in town.devices]
    happenings: list[Callable[[], Awaitable[None]]] = [
        killed_clients, town.flush, town.postgres, killed_clients, town.worker, silence, town.both,
    ]  # fmt: skip
    chance.shuffle(happenings)
    try:
        for happens in happenings:
            await happens()
            sends = len(town.history.sends)
            await until(
                lambda n=sends: len(town.history.sends) > n + 30, f"{happens.__name__}: they go on", LONG
            )
        town.stop.set()
        await asyncio.gather(*chatting)
        await town.all_here()
        assert len(town.history.sends) > 200
        assert sum(device.kills for device in town.devices) == 6
        assert sum(device.seen.repeats for device in town.devices) == 0
    finally:
        for task in chatting:
            task.cancel()
        await asyncio.gather(*chatting, return_exceptions=True)
        await asyncio.gather(*[device.leave() for device in town.devices], return_exceptions=True)
        await rig.repair()


class Hasty(Database):
    """Says that it has committed, and does it half a second later."""

    def commit(self) -> None:
        if not self.commits:
            super().commit()
        elif self._in_turn and not getattr(self, "_late", None):
            self._late = asyncio.get_running_loop().call_later(0.5, self._really)

    def _really(self) -> None:
        self._late = None
        if self.broken is None:
            super().commit()


class HastyDevice(LibraryDevice):
    database = Hasty


async def test_library_twin_that_acks_before_it_commits(rig: Rig) -> None:
    async with meeting(rig, HastyDevice) as cast:
        for _ in range(20):
            await cast.say(3)
            await cast.phone.kill()
            if cast.history.found:
                break
        assert {problem.kind for problem in cast.history.found} == {DISHONEST}
