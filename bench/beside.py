"""What goes on beside the load that is measured: quiet groups and pairs of people, and how long their messages take.

A latency belongs to the phase in which its message was due, whenever it ends: a wait that outlasts its phase is not hidden in
the next one.
"""

from __future__ import annotations

import asyncio
import random
import time
from array import array
from bisect import bisect_right
from collections import Counter
from typing import Any

from bench.couples import Life, Tally
from bench.frames import Codec
from bench.gatherings import Sent
from bench.lives import Pairs
from bench.rooms import Room


class Phases:
    """Which phase a moment belongs to, and µs of what was due in each, by kind."""

    def __init__(self) -> None:
        self._begins: list[float] = []
        self._names: list[str] = []
        self.latencies: dict[str, dict[str, array[int]]] = {}
        self.begin("start")

    def begin(self, name: str) -> None:
        self._begins.append(time.perf_counter())
        self._names.append(name)

    def took(self, kind: str, due: float, done: float) -> None:
        name = self._names[max(0, bisect_right(self._begins, due) - 1)]
        into = self.latencies.setdefault(kind, {}).setdefault(name, array("I"))
        into.append(max(0, int((done - due) * 1e6)))


class QuietRoom(Room):
    """A group whose members are all connected. ``queued`` counts by the phase in which the answer came."""

    def __init__(
        self,
        codec: Codec,
        kind: str,
        group: str,
        people: list[dict[str, str]],
        content: bytes,
        phases: Phases,
    ) -> None:
        super().__init__(codec, group, people, len(people), content)
        self.kind = kind
        self._phases = phases

    def completed(self, sent: Sent, now: float) -> None:
        self._phases.took(self.kind, sent.began, now)

    def write(self, chance: random.Random, due: float) -> None:
        self._begin(chance.choice(self.members), due)


class _PhasedTally(Tally):
    def __init__(self, phases: Phases) -> None:
        super().__init__()
        self._phases = phases

    def complete(self, life: Life, at: float) -> None:
        super().complete(life, at)
        self._phases.took("pair", life.began, life.received)


class Beside:
    """Rooms and pairs of one generator. ``rooms``: ``{"kind", "group", "people"}``; ``pairs`` as of :class:`Pairs`."""

    def __init__(
        self, codec: Codec, rooms: list[dict[str, Any]], pairs: list[dict[str, Any]], content: bytes
    ) -> None:
        self._phases = Phases()
        self.rooms = [
            QuietRoom(codec, room["kind"], room["group"], room["people"], content, self._phases)
            for room in rooms
        ]
        self.pairs = Pairs(codec, pairs, content, _PhasedTally(self._phases))
        self._tasks: list[asyncio.Task[None]] = []

    async def connect(self) -> None:
        for room in self.rooms:
            await room.connect()
        await self.pairs.connect()

    def rate(self, per_room: float, per_pair: float, seed: int) -> None:
        """Messages at random times (exponential gaps): so many a second in each room, and in each pair."""
        for number, room in enumerate(self.rooms):
            room.open_rate(per_room, seed + number)
        if self.pairs.peers and per_pair:
            self.pairs.open_rate(per_pair * len(self.pairs.peers) / 2, seed)

    def in_turn(self, per_second: float) -> None:
        """Messages at even distances, one room after the other, instead of :meth:`rate`."""
        self._tasks.append(asyncio.get_running_loop().create_task(self._in_turn(per_second)))

    async def _in_turn(self, per_second: float) -> None:
        due, number, chance = time.perf_counter(), 0, random.Random(0)
        while True:
            while due <= (now := time.perf_counter()):
                self.rooms[number % len(self.rooms)].write(chance, due)
                number, due = number + 1, due + 1 / per_second
            await asyncio.sleep(due - now)

    def mark(self, phase: str) -> dict[str, Any]:
        """A phase ends, and ``phase`` begins: counts so far."""
        self._phases.begin(phase)
        queued: Counter[str] = Counter()
        for room in self.rooms:
            queued[room.kind] += room.statuses["queued"]
        return {
            "at": time.perf_counter(),
            "begun": sum(room.begun for room in self.rooms) + self.pairs.tally.started,
            "queued": dict(queued),
        }

    async def stop(self, timeout_s: float) -> dict[str, Any]:
        """Begin no more, wait for what is under way, check; µs by kind and phase."""
        for task in self._tasks:
            task.cancel()
        found, lost = await asyncio.gather(
            asyncio.gather(*(room.stop(timeout_s) for room in self.rooms)), self.pairs.stop(timeout_s)
        )
        self.pairs.check()
        report = self.pairs.tally.report()
        problems, examples = Counter(report["problems"]), list(report["examples"])
        for room in found:
            problems.update(room["problems"])
            examples += room["examples"]
            lost += room["lost"]
        if lost:
            problems["lost"] += lost
        self.close()
        return {
            "latency_us": {
                kind: {name: values.tolist() for name, values in by.items()}
                for kind, by in self._phases.latencies.items()
            },
            "problems": dict(problems),
            "examples": examples[:20],
        }

    def close(self) -> None:
        for room in self.rooms:
            room.close()
        self.pairs.close()
