"""C1 to C6 under whatever comes: people chat while parts are killed, flushed and cut in a random order, then all is checked.

Another order: ``WHATSAPP_SEED=17 ./dev test tests/faults/test_chaos.py --all``. A failure names its seed.
"""

from __future__ import annotations

import asyncio
import os
import random
from collections.abc import Awaitable, Callable

import pytest

from tests.faults.history import History
from tests.faults.people import Device
from tests.faults.rig import Rig, grow_up
from tests.gateway.peer import link, sign_up, until

pytestmark = pytest.mark.needs_system

STEPS = 8
SEEDS = [int(os.environ["WHATSAPP_SEED"])] if "WHATSAPP_SEED" in os.environ else [1, 2]


class Town:
    """Three people with two devices each, all in conversation with each other."""

    def __init__(self, rig: Rig, chance: random.Random) -> None:
        self.rig = rig
        self.chance = chance
        self.history = History()
        self.devices: list[Device] = []
        self.conversations: dict[str, list[str]] = {}  # user → conversations
        self.stop = asyncio.Event()

    async def settle(self) -> None:
        people = [await sign_up(self.rig.system) for _ in range(3)]
        phones = [phone for person in people for phone in (person, await link(person))]
        for i, one in enumerate(people):
            for other in people[:i]:
                conversation = await one.direct(other)
                self.history.talk(conversation, [one.user, other.user])
                for user in (one.user, other.user):
                    self.conversations.setdefault(user, []).append(conversation)
        await grow_up(self.rig, [person.user for person in people])
        for phone in phones:
            urls = [self.rig.one, self.rig.two]
            self.chance.shuffle(urls)
            self.devices.append(Device(self.history, phone, urls))
        await asyncio.gather(*[device.online() for device in self.devices])

    async def chat(self, device: Device) -> None:
        """Write, now and then lose the socket, come back."""
        count = 0
        while not self.stop.is_set():
            count += 1
            if self.chance.random() < 0.02 and device.alive:
                await device.cut()
                await asyncio.sleep(self.chance.random() / 2)
            if not device.alive:
                await device.connect(timeout=40)
            conversation = self.chance.choice(self.conversations[device.phone.user])
            await device.say(conversation, f"{device.id} {count}", timeout=40)
            await asyncio.sleep(self.chance.random() / 20)

    async def all_here(self) -> None:
        for device in self.devices:
            if not device.alive:
                await device.online(timeout=40)
            await until(lambda d=device: not self.history.missing(d.id), f"{device.id} has all", 70)
        self.history.check()

    # what happens to them

    async def gateway(self) -> None:
        name = self.chance.choice(["gateway-1", "gateway-2"])
        self.rig.system.kill(name)
        await asyncio.sleep(self.chance.random())
        await self.rig.run(name)

    async def valkey(self) -> None:
        self.rig.system.kill("valkey")
        await asyncio.sleep(self.chance.random())
        await self.rig.run("valkey")

    async def flush(self) -> None:
        self.rig.hot.flushall()

    async def postgres(self) -> None:
        self.rig.system.kill("postgres")
        await until(self._postgres_runs, "PostgreSQL runs again", 40)

    async def _postgres_runs(self) -> bool:
        try:
            await self.rig.run("postgres")
        except Exception:  # backends of the killed one still end
            return False
        return True

    async def worker(self) -> None:
        self.rig.system.kill("worker-1")
        await self.rig.run("worker-1")

    async def both(self) -> None:
        """A gateway and the hot node."""
        await asyncio.gather(self.gateway(), self.valkey())


@pytest.mark.timeout(180)
@pytest.mark.parametrize("seed", SEEDS)
async def test_c1_to_c6_whatever_comes(rig: Rig, seed: int) -> None:
    chance = random.Random(seed)
    town = Town(rig, chance)
    await town.settle()
    chatting = [asyncio.create_task(town.chat(device)) for device in town.devices]
    events: list[Callable[[], Awaitable[None]]] = [
        town.gateway, town.valkey, town.flush, town.postgres, town.worker, town.both,
    ]  # fmt: skip
    try:
        for event in chance.choices(events, k=STEPS):
            await event()
            sends = len(town.history.sends)
            await until(lambda n=sends: len(town.history.sends) > n + 30, f"{event.__name__}: they go on", 60)
        town.stop.set()
        await asyncio.gather(*chatting)
        await town.all_here()
        assert len(town.history.sends) > 250
    finally:
        for task in chatting:
            task.cancel()
        await asyncio.gather(*chatting, return_exceptions=True)
        await asyncio.gather(*[device.leave() for device in town.devices], return_exceptions=True)
        await rig.repair()
