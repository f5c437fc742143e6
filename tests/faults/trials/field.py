"""Where a trial takes place: a system, its crowd, the wires between its parts, and what may be done to them."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import signal

from delivery.lanes import lane_of, lease_key, queue_key
from devtools.processes import children
from tests.faults.rig import Rig
from tests.faults.trials.crowd import Crowd
from tests.support.patience import LONG, until
from tests.support.stack import System
from tests.support.wire import Wire


class Field:
    """``wires``: (process, "DATABASE_URL" or "HOT_URL") → the wire it has there, for faults that asked for it. ``hold_s``: how
    long what lasts does."""

    def __init__(self, system: System, wires: dict[tuple[str, str], Wire], hold_s: float) -> None:
        self.system = system
        self.rig = Rig(system)
        self.wires = wires
        self.hold_s = hold_s
        self.chance = random.Random()
        self.crowd: Crowd

    @property
    def gateway(self) -> str:
        """One of the gateways, by chance."""
        return self.chance.choice(["gateway-1", "gateway-2"])

    async def hold(self) -> None:
        """The fault lasts."""
        await asyncio.sleep(self.hold_s)

    async def moment(self, most: float = 1.0) -> None:
        await asyncio.sleep(self.chance.random() * most)

    def note_lanes(self) -> None:
        """Write down what groups wait for, for who looks why something did not come."""
        hot = self.rig.hot
        for group in (self.crowd.house, self.crowd.guests):
            lane = lane_of(group)
            holder, waiting = hot.get(lease_key(lane)), hot.xrange(queue_key(lane), count=1)
            self.crowd.chronicle.note(
                "lane", group=group, lane=lane, holder=str(holder), ends_ms=hot.pttl(lease_key(lane)),
                entries=hot.xlen(queue_key(lane)), first=str(waiting)[:200],
            )  # fmt: skip

    # what is done to a part

    async def kill(self, name: str) -> None:
        """kill -9, and a start a moment later, as a supervisor does."""
        self.system.kill(name)
        await self.moment()
        await self.run(name)

    async def run(self, name: str) -> None:
        async def runs() -> bool:
            try:
                await self.rig.run(name)
            except Exception:  # PostgreSQL: backends of the killed one still end
                return False
            return True

        await until(runs, f"{name} runs again", LONG)

    async def freeze(self, name: str) -> None:
        """SIGSTOP with all its children, and SIGCONT after ``hold_s``."""
        self._signal(name, signal.SIGSTOP)
        try:
            await self.hold()
        finally:
            self._signal(name, signal.SIGCONT)

    def _signal(self, name: str, number: int) -> None:
        pid = self.system.processes[name]
        assert pid is not None
        for one in [pid, *children(pid)]:
            with contextlib.suppress(ProcessLookupError):
                os.kill(one, number)

    async def end_in_order(self, name: str) -> None:
        """SIGTERM, and a start when it has ended."""
        await asyncio.to_thread(self.system.stop_part, name)
        await self.run(name)

    def clock(self, name: str, ms: int) -> None:
        """The clock of one process goes wrong by so much; 0: right again."""
        (self.system.data / f"clock_offset-{name}").write_text(str(ms))

    async def died(self, point: str, names: tuple[str, ...], timeout: float = 60) -> None:
        """Until one of these has died at a fault point; then it is started again."""
        self.rig.arm(point)

        def dead() -> list[str]:
            return [name for name in names if self.system.processes[name] is None]

        for name in await until(dead, f"one of {names} dies at {point}", timeout):
            await self.run(name)
