"""Many people at once, and what happens to the system meanwhile."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from tests.faults.history import History
from tests.faults.people import Device
from tests.faults.rig import Rig, grow_up
from tests.gateway.phone import link, sign_up
from tests.support.patience import LONG, until

Event = Callable[[], Awaitable[None]]


class Town:
    """Three people with two devices each, all in conversation with each other. ``device``: what they use; ``patience_s``: how
    long they wait for an answer."""

    def __init__(
        self, rig: Rig, chance: random.Random, device: Any = Device, patience_s: float = LONG
    ) -> None:
        self.rig = rig
        self.patience_s = patience_s
        self.chance = chance
        self.history = History()
        self.device = device
        self.devices: list[Any] = []
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
            self.devices.append(self.device(self.history, phone, urls))
        await asyncio.gather(*[device.online() for device in self.devices])

    async def chat(self, device: Any) -> None:
        """Write, now and then lose the socket, come back."""
        count = 0
        while not self.stop.is_set():
            count += 1
            if self.chance.random() < 0.02 and device.alive:
                await device.cut()
                await asyncio.sleep(self.chance.random() / 2)
            if not device.alive:
                await device.connect(timeout=self.patience_s)
            conversation = self.chance.choice(self.conversations[device.phone.user])
            await device.say(conversation, f"{device.id} {count}", timeout=self.patience_s)
            await asyncio.sleep(self.chance.random() / 20)

    async def all_here(self) -> None:
        for device in self.devices:
            if not device.alive:
                await device.online(timeout=self.patience_s)
            await until(lambda d=device: not self.history.missing(d.id), f"{device.id} has all", LONG)
        self.history.check()

    async def live_through(self, events: Sequence[Event], steps: int) -> None:
        """They chat while one event comes after the other; then everybody has what was confirmed, once and in order."""
        chatting = [asyncio.create_task(self.chat(device)) for device in self.devices]
        try:
            for event in self.chance.choices(events, k=steps):
                await event()
                sends = len(self.history.sends)
                await until(
                    lambda n=sends: len(self.history.sends) > n + 30,
                    f"{event.__name__}: they go on",
                    self.patience_s + 20,
                )
            self.stop.set()
            await asyncio.gather(*chatting)
            await self.all_here()
        finally:
            for task in chatting:
                task.cancel()
            await asyncio.gather(*chatting, return_exceptions=True)
            await asyncio.gather(*[device.leave() for device in self.devices], return_exceptions=True)
            await self.rig.repair()

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
        await until(self._postgres_runs, "PostgreSQL runs again", LONG)

    async def _postgres_runs(self) -> bool:
        try:
            await self.rig.run("postgres")
        except Exception:  # backends of the killed one still end
            return False
        return True

    async def cassandra(self) -> None:
        """The only node of the log."""
        self.rig.system.kill("cassandra-1")
        await self.rig.run("cassandra-1")

    async def worker(self) -> None:
        self.rig.system.kill("worker-1")
        await self.rig.run("worker-1")

    async def both(self) -> None:
        """A gateway and the hot node."""
        await asyncio.gather(self.gateway(), self.valkey())
