"""A system that a module of fault tests owns, with its fault points, its switches and its hot node at hand."""

from __future__ import annotations

import asyncio
import contextlib
import signal
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

from delivery.inbox import dirty_key
from tests.faults.history import History
from tests.faults.people import Device
from tests.gateway.phone import couple, link
from tests.support.patience import LONG, PATIENCE, until
from tests.support.stack import System
from whatsapp.infra import hot_sync
from whatsapp.infra.bus import ALIVE_TTL_MS

HOUR_MS = 3_600_000
PARTS = ("postgres", "valkey", "worker-1", "gateway-1", "gateway-2")


class Rig:
    """``system`` must be of a test build."""

    def __init__(self, system: System) -> None:
        self.system = system
        self.folder: Path = system.data / "faults"
        self.folder.mkdir(exist_ok=True)
        self.hot: Any = hot_sync.client(system.hot_url, socket_timeout=5)

    # addresses

    @property
    def one(self) -> str:
        return self.system.gateways["gateway-1"]["ws"]

    @property
    def two(self) -> str:
        return self.system.gateways["gateway-2"]["ws"]

    # faults

    def arm(self, point: str) -> None:
        """The next process that comes to this point dies there."""
        (self.folder / f"kill-{point}").touch()

    def armed(self, point: str) -> bool:
        return (self.folder / f"kill-{point}").exists()

    @contextlib.contextmanager
    def off(self, *protections: str) -> Iterator[None]:
        files = [self.folder / f"off-{protection}" for protection in protections]
        for file in files:
            file.touch()
        try:
            yield
        finally:
            for file in files:
                file.unlink(missing_ok=True)

    async def died(self, name: str) -> None:
        """Until a part has died at a fault point."""
        await until(lambda: self.system.processes[name] is None, f"{name} dies")

    def forget_heartbeats(self) -> None:
        """Make the dead look dead at once, not only after ``ALIVE_TTL_MS``; the living beat again within a second."""
        assert ALIVE_TTL_MS
        keys = list(self.hot.scan_iter("gw:{*}:alive", count=1000))
        if keys:
            self.hot.delete(*keys)

    async def run(self, name: str) -> None:
        """Start a part again, as the supervisor of ``./dev up`` does."""
        await asyncio.to_thread(self.system.restart, name)

    def move_clock(self, ms: int) -> None:
        """Every process of the system is this far ahead."""
        (self.system.data / "clock_offset").write_text(str(ms))

    async def repair(self) -> None:
        """All parts live, no point is armed, every protection is on."""
        for file in self.folder.iterdir():
            file.unlink(missing_ok=True)
        (self.system.data / "clock_offset").unlink(missing_ok=True)
        for name in PARTS:
            with contextlib.suppress(KeyError):
                if self.system.processes[name] is None:
                    await self.run(name)
                else:
                    self.system.kill(name, signal.SIGCONT)


class Cast:
    """Ann at the first gateway, who writes; Bob with a phone at the second and a laptop that is offline. The laptop has been
    here before, so its dirty set is complete and only a mark tells it of something new."""

    def __init__(self, history: History, ann: Any, phone: Any, laptop: Any, conversation: str) -> None:
        self.history = history
        self.ann = ann
        self.phone = phone
        self.laptop = laptop
        self.conversation = conversation
        self._count = 0

    @classmethod
    async def meet(cls, rig: Rig, device: Any = Device) -> Cast:
        """``device``: what they use, :class:`Device` or one that behaves like it."""
        ann, bob, conversation = await until(lambda: _couple(rig), "REST answers", LONG)
        second = await link(bob)
        history = History()
        history.talk(conversation, [ann.user, bob.user])
        one, two = rig.one, rig.two
        cast = cls(
            history,
            device(history, ann, [one, two]),
            device(history, bob, [two, one]),
            device(history, second, [two, one]),
            conversation,
        )
        await grow_up(rig, [ann.user, bob.user])
        await asyncio.gather(*[device.online() for device in cast.devices])
        await cast.say(3)
        await cast.all_here(cast.phone, cast.laptop)
        await cast.laptop.leave()
        # Its last acks are written behind; a mark that is still there would make it read the conversation at its return.
        await until(lambda: not cast.marks(rig, cast.laptop), "the laptop's set is empty")
        return cast

    @property
    def devices(self) -> list[Any]:
        return [self.ann, self.phone, self.laptop]

    async def say(self, count: int = 1, *, timeout: float = PATIENCE) -> None:
        for _ in range(count):
            self._count += 1
            await self.ann.say(self.conversation, f"message {self._count}", timeout=timeout)

    async def all_here(self, *devices: Any, timeout: float = PATIENCE) -> None:
        """Until these devices have everything that was confirmed; then the contract is checked."""
        for device in devices:
            await until(lambda d=device: not self.history.missing(d.id), f"{device.id} has all", timeout)
        self.history.check(*[device.id for device in devices])

    def marks(self, rig: Rig, device: Any) -> dict[bytes, float]:
        """The dirty set of a device."""
        return dict(rig.hot.zrange(dirty_key(device.phone.user, device.id), 0, -1, withscores=True))

    async def leave(self) -> None:
        await asyncio.gather(*[device.leave() for device in self.devices], return_exceptions=True)


async def _couple(rig: Rig) -> Any:
    """Two people and their conversation; None while a connection that died with an earlier server is met once more."""
    try:
        return await couple(rig.system)
    except AssertionError as error:
        if '"code":"unavailable"' not in str(error):
            raise
        return None


async def stays(check: Callable[[], object], what: str, seconds: float) -> None:
    """For what must not happen: ``check()`` holds now and for so long. Ends at the first moment in which it does not."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + seconds
    while loop.time() < deadline:
        assert check(), what
        await asyncio.sleep(0.02)


async def grow_up(rig: Rig, users: list[str]) -> None:
    """Let the devices be older than ``NEW_DEVICE_MS``: a younger one rebuilds its dirty set at each opening."""
    async with rig.system.stored() as log:
        await log.grow_up(users, HOUR_MS)


@contextlib.asynccontextmanager
async def meeting(rig: Rig, device: Any = Device) -> AsyncIterator[Cast]:
    """A :class:`Cast` in a sound system; afterwards the system is repaired."""
    cast = await Cast.meet(rig, device)
    try:
        yield cast
    finally:
        await cast.leave()
        await rig.repair()
