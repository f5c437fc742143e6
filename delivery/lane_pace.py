"""When a lane's next pass begins: busy lanes gather, and what two gateways brought the wrong way round is put right."""

from __future__ import annotations

import math
from collections.abc import Sequence

from delivery.lanes import Entry
from whatsapp.infra import faults

#: A pass costs about as much for one message as for several: every socket is written to once. So passes are the further apart
#: the more their lane delivers: 5 ms for each thousand deliveries a second, and 0.1 s at most, which nobody sees in a group in
#: which so much is said. ``docs/bench.md`` has what it brings.
GATHER_S_PER_DELIVERY = 5e-6
GATHER_MAX_S = 0.1
_MEMORY_S = 0.5  # of the rate

#: An entry that is missing between others is given this long. Without it, every session would wait for it, then read the log.
HOLE_WAIT_S = 0.1
HOLE_STEP_S = 0.002
MAX_KNOWN = 10_000


class Pace:
    """How far apart the passes of one lane are."""

    def __init__(self, now: float) -> None:
        self._at = now
        self._rate = 0.0  # deliveries (an event at a connected user) a second

    def gap(self, began: float, deliveries: int) -> float:
        """Seconds from ``began`` (loop time of the pass that made these deliveries) to the next pass."""
        passed = max(began - self._at, 1e-3)
        self._at = began
        keep = math.exp(-passed / _MEMORY_S)
        self._rate = keep * self._rate + (1 - keep) * deliveries / passed
        return min(GATHER_MAX_S, self._rate * GATHER_S_PER_DELIVERY)


class Order:
    """What has passed, per conversation, while one worker holds the lane."""

    def __init__(self) -> None:
        self._passed: dict[str, int] = {}
        self._since = 0.0  # loop time since which a hole is waited for, 0: none

    def wait(self, entries: Sequence[Entry], now: float) -> bool:
        """Whether something is missing that may still come: append order is the store's, the order of the entries is not."""
        if not self._hole(entries) or faults.off("lane-order"):
            self._since = 0.0
            return False
        self._since = self._since or now
        if now - self._since < HOLE_WAIT_S:
            return True
        self._since = 0.0
        return False

    def passed(self, entries: Sequence[Entry]) -> None:
        if len(self._passed) > MAX_KNOWN:
            self._passed.clear()
        for entry in entries:
            for event in entry.events:
                if self._passed.get(event.conversation, 0) < event.seq:
                    self._passed[event.conversation] = event.seq

    def _hole(self, entries: Sequence[Entry]) -> bool:
        coming: dict[str, set[int]] = {}
        for entry in entries:
            for event in entry.events:
                if event.seq > self._passed.get(event.conversation, 0):
                    coming.setdefault(event.conversation, set()).add(event.seq)
        for conversation, seqs in coming.items():
            first = self._passed.get(conversation, min(seqs) - 1) + 1
            if max(seqs) - first + 1 != len(seqs):
                return True
        return False
