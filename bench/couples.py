"""Pairs of devices under load, whatever server they talk to: when messages begin, and what is counted of them."""

from __future__ import annotations

import asyncio
import random
import time
from array import array
from collections import Counter
from collections.abc import Sequence
from typing import Any, Protocol

from bench.frames import Key

READ_AFTER_S = 0.02
STEPS = ("sent", "received", "delivered", "read")
_CONNECTS_AT_ONCE = 50
_KEPT_PROBLEMS = 20


class Life:
    """One message; times in seconds of the monotonic clock, 0 while it has not happened."""

    __slots__ = ("began", "delivered", "key", "missing", "received", "sent", "seq", "seq_num")

    def __init__(self, key: Key, seq_num: int, began: float) -> None:
        self.key = key
        self.seq_num = seq_num
        self.began = began
        self.seq = 0
        self.sent = self.received = self.delivered = 0.0
        self.missing = 3  # ✓, delivered, read


class Tally:
    """What happened to all pairs of this process. ``latency`` holds µs per step of the lives completed since the last mark."""

    def __init__(self) -> None:
        self.started = 0
        self.completed = 0
        self._reported = 0
        self.problems: Counter[str] = Counter()
        self.examples: list[str] = []
        self.receipt_frames = 0
        self.latency = {step: array("I") for step in STEPS}

    def problem(self, kind: str, text: str = "") -> None:
        """``kind`` is counted, the first few are kept with their text."""
        self.problems[kind] += 1
        if len(self.examples) < _KEPT_PROBLEMS:
            self.examples.append(f"{kind}: {text}" if text else kind)

    def complete(self, life: Life, at: float) -> None:
        self.completed += 1
        if not life.received:
            self.problem("receipt_without_message", str(life.key))
        began, latency = life.began, self.latency
        for step, when in zip(STEPS, (life.sent, life.received, life.delivered, at), strict=True):
            if when:  # a step that this load does not have is no latency of 0
                latency[step].append(max(0, int((when - began) * 1e6)))

    def mark(self) -> dict[str, array[int]]:
        """Begin a new window; returns the latencies of the one that ends."""
        latency, self.latency = self.latency, {step: array("I") for step in STEPS}
        return latency

    def report(self) -> dict[str, Any]:
        """What happened since the last report: lives begun, problems and examples of them."""
        begun, self._reported = self.started - self._reported, self.started
        problems, self.problems = self.problems, Counter()
        examples, self.examples = self.examples, []
        return {"begun": begun, "problems": dict(problems), "examples": examples}


class Device(Protocol):
    """One side of a pair."""

    again: bool  # begin a new life when one is complete

    async def connect(self) -> None: ...
    def begin(self, at: float) -> None: ...
    def close(self) -> None: ...


class Couples:
    """All pairs of this process under load."""

    def __init__(self, devices: Sequence[Device], tally: Tally) -> None:
        self.tally = tally
        self.devices = devices
        self._rate: asyncio.Task[None] | None = None

    async def connect(self) -> None:
        gate = asyncio.Semaphore(_CONNECTS_AT_ONCE)

        async def one(device: Device) -> None:
            async with gate:
                await device.connect()

        await asyncio.gather(*map(one, self.devices))

    def saturate(self, in_flight: int) -> None:
        """Keep ``in_flight`` lives under way, evenly over the devices."""
        each, more = divmod(in_flight, len(self.devices))
        for number, device in enumerate(self.devices):
            device.again = True
            for _ in range(each + (number < more)):
                device.begin(time.perf_counter())

    def open_rate(self, per_second: float, seed: int) -> None:
        """Begin lives at random (exponential gaps) whatever becomes of the earlier ones."""
        self._rate = asyncio.get_running_loop().create_task(self._open_rate(per_second, random.Random(seed)))

    async def _open_rate(self, per_second: float, chance: random.Random) -> None:
        due = time.perf_counter()
        while True:
            now = time.perf_counter()
            while due <= now:
                # From when it was due, not from when we got to it: a late generator must not hide a wait.
                chance.choice(self.devices).begin(due)
                due += chance.expovariate(per_second)
            await asyncio.sleep(due - now)

    async def stop(self, timeout_s: float) -> int:
        """Begin no more and wait for those under way; returns how many never completed."""
        if self._rate is not None:
            self._rate.cancel()
            self._rate = None
        for device in self.devices:
            device.again = False
        deadline = time.monotonic() + timeout_s
        while (left := self.tally.started - self.tally.completed) and time.monotonic() < deadline:
            await asyncio.sleep(0.02)
        return left

    def check(self) -> None:
        """When nothing is under way: whether the two of each pair have the same; what differs is a problem of the tally."""

    def close(self) -> None:
        for device in self.devices:
            device.close()
