"""The gateway's wheel of pings goes on whatever happens to one connection."""

from __future__ import annotations

from chats.gateway import Gateway


class Counting:
    slot = 0

    def __init__(self, fails: str = "") -> None:
        self.fails = fails
        self.turns = 0

    def ping(self) -> None:
        if self.fails == "ping":
            raise RuntimeError("ping")

    def check_slow(self, now: float) -> None:
        if self.fails == "check":
            raise RuntimeError("check")
        self.turns += 1


async def test_one_that_fails_keeps_nobody_from_a_turn() -> None:
    gateway = object.__new__(Gateway)
    sound = [Counting() for _ in range(5)]
    gateway.connections = {Counting("ping"), *sound, Counting("check")}  # type: ignore[arg-type]
    for tick in range(3):
        gateway.turn_wheel(tick * 30)
    assert [connection.turns for connection in sound] == [3] * 5
