"""People who chat while something is done to the servers, and how long each ✓ took in which phase."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from typing import Any

import httpx

from tests.faults.history import History
from tests.faults.people import Device
from tests.gateway.phone import couple
from tests.support.noted import note
from tests.support.patience import until
from whatsapp.wire import frames

#: How long one message may take over all its attempts, and a phase until all have theirs, seconds. Ten times what a quiet machine
#: needs: two cores carry four nodes here, and whatever else runs on them.
PATIENCE_S = 900.0
#: A writer's pause between two messages, seconds: two cores carry three nodes, two gateways and us.
PAUSE_S = 0.01


async def _couple(system: Any) -> Any:
    """Two people and their conversation; None while a system that was just started is slow, or has no majority."""
    try:
        return await couple(system)
    except httpx.HTTPError:
        return None
    except AssertionError as error:
        if '"code":"unavailable"' not in str(error):
            raise
        return None


class Load:
    """Pairs of people; the first of each writes, one message after the other, each until it has its ✓."""

    def __init__(self) -> None:
        self.history = History()
        self.writers: list[Device] = []
        self.readers: list[Device] = []
        self.conversations: list[str] = []
        self.took: list[tuple[str, float]] = []  # phase, seconds from the first attempt to the ✓
        self.phase = "quiet"
        self.settled = 0.0  # when the last phase had a ✓ of every writer
        self._stop = asyncio.Event()
        self._writing: list[asyncio.Task[None]] = []

    @classmethod
    @contextlib.asynccontextmanager
    async def on(cls, system: Any, pairs: int = 4) -> AsyncIterator[Load]:
        load = cls()
        urls = [gateway["ws"] for gateway in system.gateways.values()]
        for number in range(pairs):
            ann, bob, conversation = await until(lambda: _couple(system), "REST answers", PATIENCE_S)
            load.history.talk(conversation, [ann.user, bob.user])
            load.conversations.append(conversation)
            own = [*urls[number % len(urls) :], *urls[: number % len(urls)]]
            load.writers.append(Device(load.history, ann, [*own]))
            load.readers.append(Device(load.history, bob, [*reversed(own)]))
        everybody = [*load.writers, *load.readers]
        await asyncio.gather(*[device.online(timeout=PATIENCE_S) for device in everybody])
        load._writing = [
            asyncio.create_task(load._write(*one))
            for one in zip(load.writers, load.conversations, strict=True)
        ]
        keeping = [asyncio.create_task(load._keep(reader)) for reader in load.readers]
        try:
            yield load
        finally:
            for task in [*load._writing, *keeping]:
                task.cancel()
            await asyncio.gather(*load._writing, *keeping, return_exceptions=True)
            await asyncio.gather(*[device.leave() for device in everybody], return_exceptions=True)

    async def _keep(self, reader: Device) -> None:
        """Back at the next gateway when its socket has ended."""
        while True:
            if not reader.alive:
                await reader.connect(timeout=PATIENCE_S)
            await asyncio.sleep(0.05)

    async def _write(self, device: Device, conversation: str) -> None:
        number = 0
        while not self._stop.is_set():
            number += 1
            started, phase = time.monotonic(), self.phase
            await device.say(conversation, f"message {number}", timeout=PATIENCE_S)
            self.took.append((phase, time.monotonic() - started))
            await asyncio.sleep(PAUSE_S)

    @property
    def confirmed(self) -> int:
        return len(self.took)

    def unavailable(self, device: Device) -> int:
        """How many of its sends were answered so."""
        return sum(isinstance(one, frames.Error) and one.code == "unavailable" for one in device.answers)

    async def goes_on(self, phase: str, count: int) -> None:
        """In this phase, until every writer has ``count`` more ✓."""
        self.phase = phase
        print(f"\n{time.strftime('%H:%M:%S')} {phase}", end="", flush=True)
        # A message under way at the change counts to the phase before.
        sent = {device.id: self._ticks(device) for device in self.writers}
        for device in self.writers:
            await until(
                lambda d=device: self._failed() or self._ticks(d) > sent[d.id],
                f"{phase}: the first ✓ of each",
                PATIENCE_S,
            )
        self.settled = time.monotonic()
        for device in self.writers:
            await until(
                lambda d=device: self._failed() or self._ticks(d) >= sent[d.id] + count,
                f"{phase}: they go on",
                PATIENCE_S,
            )
        self._raise()

    def _ticks(self, device: Device) -> int:
        return sum(isinstance(one, frames.StatusUpdate) for one in device.answers)

    def _failed(self) -> bool:
        return any(task.done() for task in self._writing)

    def _raise(self) -> None:
        for task in self._writing:
            if task.done():
                task.result()

    async def all_is_well(self) -> None:
        """They end, and everybody has everything that was confirmed, once and in order."""
        self._stop.set()
        await asyncio.gather(*self._writing)
        for device in self.readers:
            await until(lambda d=device: not self.history.missing(d.id), "all is here", PATIENCE_S)
        self.history.check(*[device.id for device in self.readers])

    # what is printed

    def figures(self) -> dict[str, dict[str, float]]:
        found = {}
        for phase in dict.fromkeys(phase for phase, _ in self.took):
            times = sorted(seconds * 1000 for name, seconds in self.took if name == phase)
            found[phase] = {
                "confirmed": len(times),
                "p50_ms": round(times[len(times) // 2], 1),
                "p99_ms": round(times[min(len(times) - 1, len(times) * 99 // 100)], 1),
                "max_ms": round(times[-1], 1),
            }
        return found

    def tell(self, name: str) -> None:
        """Print the figures, and add them to the file that ``./dev faults --json`` names."""
        figures = self.figures()
        answers = sum(map(self.unavailable, self.writers))
        print(f"\n{name}: {self.confirmed} confirmed, {answers} answers 'unavailable'")
        for phase, row in figures.items():
            print(
                f"  {phase:34} {row['confirmed']:6.0f} ✓   p50 {row['p50_ms']:7.1f}   p99 {row['p99_ms']:8.1f}"
                f"   max {row['max_ms']:8.1f} ms"
            )
        noted = {"confirmed": self.confirmed, "unavailable": answers, "phases": figures}
        note(lambda known: known.update({name: noted}))
