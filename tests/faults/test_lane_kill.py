"""Two workers have the lanes and one is killed at each step of a pass, while people on two gateways write and members come and
go: nothing is lost, nothing comes twice or out of order, and each gets what is owed (C3, C4, R13 to R17)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager

import pytest

from delivery.lanes import lane_of, lease_key, queue_key
from devtools import ports
from tests.faults.history import History
from tests.faults.people import Device
from tests.faults.rig import Rig, grow_up, stays
from tests.gateway.peer import Peer
from tests.gateway.phone import Phone, link, sign_up
from tests.groups.test_sockets import change, got, make, owed
from tests.support.patience import LONG, until
from tests.support.stack import System

pytestmark = [pytest.mark.needs_system, pytest.mark.slow]

WORKERS = ("fanout-1", "fanout-2")


@pytest.fixture(scope="module")
def rig() -> Iterator[Rig]:
    system = System(fanout=True, env={"WHATSAPP_TEST_BUILD": "1"})
    stack = system.stack
    stack.metrics_ports["fanout-2"] = ports.choose(
        {*stack.private_ports.values(), *stack.metrics_ports.values()}
    )
    stack.add(stack._celery("fanout-2", "fanout", "-P", "threads", "-c", "64"))
    with system:
        yield Rig(system)


class Room:
    """Ann with a phone at the first gateway and a laptop at the second, and Bob at the second, write; Dan reads. Cat is a member
    and goes, Eve comes."""

    def __init__(self, rig: Rig, phones: list[Phone], laptop: Phone) -> None:
        self.rig = rig
        self.history = History()
        self.ann, self.bob, self.dan, self.cat, self.eve = phones
        one, two = rig.one, rig.two
        self.writers = [
            Device(self.history, self.ann, [one]),
            Device(self.history, laptop, [two]),
            Device(self.history, self.bob, [two]),
        ]
        self.reader = Device(self.history, self.dan, [two])
        self.group = ""
        self._said = 0

    @property
    def devices(self) -> list[Device]:
        return [*self.writers, self.reader]

    @property
    def lane(self) -> int:
        return lane_of(self.group)

    async def say(self, writer: Device, count: int) -> None:
        for _ in range(count):
            self._said += 1
            await writer.say(self.group, f"{self._said}", timeout=LONG)

    async def idle(self) -> None:
        await until(lambda: not self.rig.hot.exists(lease_key(self.lane)), "the lane is given back")

    async def all_here(self) -> None:
        """Everybody has everything, once and in order."""
        for device in self.devices:
            await until(lambda d=device: not self.history.missing(d.id), f"{device.id} has all", LONG)
        self.history.check()

    def repeats(self) -> int:
        return sum(device.seen.repeats for device in self.devices)

    def dead(self) -> str | None:
        return next((name for name in WORKERS if self.rig.system.processes[name] is None), None)

    async def a_death(self, point: str) -> None:
        await until(self.dead, f"a worker dies at {point}", LONG)
        assert not self.rig.armed(point)


@asynccontextmanager
async def room(rig: Rig) -> AsyncIterator[tuple[Room, Peer, Peer]]:
    phones = list(await asyncio.gather(*[sign_up(rig.system) for _ in range(5)]))
    here = Room(rig, phones, await link(phones[0]))
    await grow_up(rig, [phone.user for phone in phones])
    await asyncio.gather(*[device.online() for device in here.devices])
    cats, eves = await Peer.open(rig.two, here.cat), await Peer.open(rig.one, here.eve)
    try:
        here.group = await make(here.ann, here.bob, here.dan, here.cat)
        here.history.talk(here.group, [here.ann.user, here.bob.user, here.dan.user])
        await until(lambda: got(cats, here.group) == [1, 2], "Cat is a member")
        await here.idle()
        yield here, cats, eves
    finally:
        for peer in (cats, eves):
            await peer.close()
        await asyncio.gather(*[device.leave() for device in here.devices], return_exceptions=True)
        await rig.repair()
        for name in WORKERS:
            if rig.system.processes[name] is None:
                await rig.run(name)


async def nothing_open(rig: Rig) -> bool:
    """Whether every row of the outbox is done."""
    async with rig.system.stored() as log:
        return bool(await log.open_rows() == 0)


@pytest.mark.parametrize("point", ["lane-take", "lane-mark", "lane-push", "lane-trim"])
async def test_c4_a_worker_is_killed_in_a_burst(rig: Rig, point: str) -> None:
    async with room(rig) as (here, cats, eves):
        if point == "lane-take":
            rig.arm(point)  # a lane is taken at the begin of a spell of talk
        talking = [asyncio.create_task(here.say(writer, 40)) for writer in here.writers]
        if point != "lane-take":
            await until(lambda: here.reader.got > 10, "the burst goes on")
            rig.arm(point)
        await change(here.ann, "PUT", f"/groups/{here.group}/members/{here.eve.user}", {})
        await here.a_death(point)
        await change(here.ann, "DELETE", f"/groups/{here.group}/members/{here.cat.user}")
        await asyncio.gather(*talking)
        # The burst may have been over when Cat went: what is said now is surely said without her.
        await asyncio.gather(*[here.say(writer, 1) for writer in here.writers])
        # The other worker goes on alone.
        await here.all_here()
        assert here.repeats() == 0
        for peer, phone in ((cats, here.cat), (eves, here.eve)):
            wanted = await owed(phone, here.group)
            await until(
                lambda p=peer, n=len(wanted): len(got(p, here.group)) >= n, "all that is owed is here", LONG
            )
            await peer.round_trip()
            assert got(peer, here.group) == wanted
        everything = 2 + 3 * 41 + 2  # what made the group, what was said, Eve came and Cat went
        assert 2 < len(await owed(here.cat, here.group)) <= everything - 3
        await until(lambda: nothing_open(rig), "every row is done, also the one whose report died", LONG)
        assert rig.hot.xlen(queue_key(here.lane)) == 0


async def killed_alone(here: Room, point: str) -> None:
    """One message, whose pass dies."""
    here.rig.arm(point)
    await here.say(here.writers[0], 1)
    await here.a_death(point)


async def test_twin_trimmed_before_it_is_marked_it_is_lost(rig: Rig) -> None:
    """R14 the wrong way round, by a gateway that waits for a report for ever (R13)."""
    async with room(rig) as (here, _, _):
        with rig.off("trim_last", "lost"):
            await killed_alone(here, "lane-mark")
            await stays(lambda: here.reader.got == 0, "somebody told Dan", 3.0)
            assert "lost" in here.history.kinds(here.reader.id)
        # The next message shows the hole.
        await here.say(here.writers[0], 1)
        await here.all_here()


async def test_trimmed_before_it_is_marked_the_writer_finds_it(rig: Rig) -> None:
    """The same death, and the writer looks: the row was never reported."""
    async with room(rig) as (here, _, _):
        with rig.off("trim_last"):
            await killed_alone(here, "lane-mark")
            await here.all_here()
