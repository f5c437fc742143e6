"""A room whose members are all connected, whatever server they talk to: when messages begin, who has them, what is counted."""

from __future__ import annotations

import asyncio
import random
import time
from array import array
from collections import Counter
from collections.abc import Sequence
from typing import Any

from bench.frames import Key

CONNECTS_AT_ONCE = 50
_KEPT_PROBLEMS = 20


class Sent:
    """One message on its way to everybody else."""

    __slots__ = ("began", "missing")

    def __init__(self, began: float, missing: int) -> None:
        self.began = began
        self.missing = missing


class Gathering:
    """A member has ``connect``, ``close``, ``got`` (messages of others that it has) and ``own`` (own ones that are stored, as the
    server said)."""

    def __init__(self, members: Sequence[Any], senders: int) -> None:
        self.members = members
        self._senders = self.members[:senders]
        self._under_way: dict[Key, Sent] = {}
        self._rates: list[asyncio.Task[None]] = []
        self.begun = self.deliveries = self.complete = 0
        self.statuses: Counter[str] = Counter()
        self._each = array("I")  # µs to one member, of one delivery in sixteen
        self._last = array("I")  # µs to the last member
        self.problems: Counter[str] = Counter()
        self.examples: list[str] = []

    def post(self, member: Any) -> Key:
        """Have the member write its next message. Returns what :meth:`received` will be told of it."""
        raise NotImplementedError

    async def connect(self) -> None:
        gate = asyncio.Semaphore(CONNECTS_AT_ONCE)

        async def one(member: Any) -> None:
            async with gate:
                await member.connect()

        await asyncio.gather(*map(one, self.members))

    def open_rate(self, per_second: float, seed: int) -> None:
        """Begin messages at random (exponential gaps) whatever becomes of the earlier ones."""
        self._rates.append(
            asyncio.get_running_loop().create_task(self._open_rate(per_second, random.Random(seed)))
        )

    def received(self, message_id: Key) -> None:
        self.deliveries += 1
        sent = self._under_way.get(message_id)
        if sent is None:
            self.problem("duplicate_or_unknown_message")
            return
        sent.missing -= 1
        if not sent.missing:
            self.complete += 1
            self.completed(sent, time.perf_counter())
            del self._under_way[message_id]
        elif not self.deliveries % 16:
            self._each.append(max(0, int((time.perf_counter() - sent.began) * 1e6)))

    def completed(self, sent: Sent, now: float) -> None:
        """Everybody has it."""
        self._last.append(max(0, int((now - sent.began) * 1e6)))

    def answered(self, member: Any, status: str) -> None:
        """A message of this member is stored."""
        del member  # for rooms that write again then
        self.statuses[status] += 1

    def problem(self, kind: str, text: str = "") -> None:
        self.problems[kind] += 1
        if len(self.examples) < _KEPT_PROBLEMS:
            self.examples.append(f"{kind}: {text}" if text else kind)

    def mark(self) -> dict[str, Any]:
        each, self._each = self._each, array("I")
        last, self._last = self._last, array("I")
        return {
            "begun": self.begun,
            "deliveries": self.deliveries,
            "queued": self.statuses["queued"],
            "latency_us": {"each": each.tolist(), "last": last.tolist()},
        }

    def end(self) -> None:
        """Begin no more."""
        for task in self._rates:
            task.cancel()

    def waits(self) -> bool:
        """Whether something is under way."""
        return bool(self._under_way)

    async def stop(self, timeout_s: float) -> dict[str, Any]:
        """Begin no more and wait for what is under way."""
        self.end()
        deadline = time.monotonic() + timeout_s
        while self.waits() and time.monotonic() < deadline:
            await asyncio.sleep(0.02)
        lost = sum(sent.missing for sent in self._under_way.values())
        stored = sum(member.own for member in self.members)
        for member in self.members:
            if not lost and member.got + member.own != stored:
                self.problem("count_differs", f"{member.got} and {member.own} of {stored}")
        return {
            "begun": self.begun,
            "lost": lost,
            "problems": dict(self.problems),
            "examples": self.examples,
        }

    def close(self) -> None:
        for member in self.members:
            member.close()

    async def _open_rate(self, per_second: float, chance: random.Random) -> None:
        due = time.perf_counter()
        while True:
            now = time.perf_counter()
            while due <= now:
                # From when it was due: a late generator must not hide a wait.
                self._begin(chance.choice(self._senders), due)
                due += chance.expovariate(per_second)
            await asyncio.sleep(due - now)

    def _begin(self, member: Any, at: float) -> None:
        key = self.post(member)  # nothing is read before this returns
        self._under_way[key] = Sent(at, len(self.members) - 1)
        self.begun += 1
