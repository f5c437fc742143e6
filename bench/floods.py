"""The flooded group of :mod:`bench.flood`: a few members write as fast as they get their ✓, or at a rate."""

from __future__ import annotations

import time
from typing import Any

from bench.frames import Codec
from bench.rooms import Member, Room


class FloodedRoom(Room):
    """Those who are connected, of a group that may be much larger; each sees everything that the others write."""

    def __init__(
        self, codec: Codec, group: str, people: list[dict[str, str]], senders: int, content: bytes
    ) -> None:
        super().__init__(codec, group, people, senders, content)
        self._flooding = False
        self.stored = 0

    def flood(self, in_flight: int) -> None:
        """Each sender keeps so many messages under way to their ✓."""
        self._flooding = True
        for member in self._senders:
            for _ in range(in_flight):
                self._begin(member, time.perf_counter())

    def answered(self, member: Member, status: str) -> None:
        super().answered(member, status)
        self.stored += 1
        if self._flooding:
            self._begin(member, time.perf_counter())

    def end(self) -> None:
        """Nobody begins a message any more; what is under way comes."""
        self._flooding = False
        super().end()

    def counts(self) -> dict[str, Any]:
        return {
            "at": time.perf_counter(),
            "begun": self.begun,
            "stored": self.stored,
            "queued": self.statuses["queued"],
            "deliveries": self.deliveries,
            "under_way": len(self._under_way),
        }
