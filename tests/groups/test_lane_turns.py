"""Large passes go a few at a time, in the order they came, and a small one waits for none of them."""

from __future__ import annotations

import asyncio

import pytest

from delivery.lane_turns import AT_ONCE, SMALL, Turns
from delivery.lane_worker import LaneWorker
from delivery.store.values import Logged, RosterHead


class Passes:
    """Passes that are held until the test lets them go."""

    def __init__(self) -> None:
        self.turns = Turns()
        self.inside: list[str] = []
        self.began: list[str] = []
        self.leave: dict[str, asyncio.Event] = {}

    def start(self, name: str, members: int, seconds: float = 60.0) -> asyncio.Task[None]:
        self.leave[name] = asyncio.Event()
        return asyncio.create_task(self._run(name, members, seconds))

    async def _run(self, name: str, members: int, seconds: float) -> None:
        async with asyncio.timeout(seconds) as limit, self.turns.of(members, limit, seconds):
            self.began.append(name)
            self.inside.append(name)
            await self.leave[name].wait()
            self.inside.remove(name)


async def _settle() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


@pytest.fixture
async def passes() -> Passes:
    return Passes()


async def test_a_small_pass_waits_for_no_large_one(passes: Passes) -> None:
    large = [passes.start(f"large {n}", 1_024) for n in range(AT_ONCE + 2)]
    await _settle()
    assert passes.inside == [f"large {n}" for n in range(AT_ONCE)]
    small = passes.start("small", SMALL)
    await _settle()
    assert "small" in passes.inside
    for name in passes.leave:
        passes.leave[name].set()
    await asyncio.gather(*large, small)
    assert passes.began == ["large 0", "large 1", "small", "large 2", "large 3"]


async def test_the_wait_for_a_turn_is_no_part_of_a_pass(passes: Passes) -> None:
    holders = [passes.start(f"holder {n}", 1_024) for n in range(AT_ONCE)]
    await _settle()
    waits = passes.start("waits", 1_024, seconds=0.05)
    await asyncio.sleep(0.15)
    assert not waits.done()
    passes.leave["holder 0"].set()
    with pytest.raises(TimeoutError):  # from here on it counts
        await waits
    assert passes.began[-1] == "waits"
    passes.leave["holder 1"].set()
    await asyncio.gather(*holders)


async def test_a_pass_that_fails_gives_its_turn_back(passes: Passes) -> None:
    for n in range(AT_ONCE + 1):
        with pytest.raises(TimeoutError):
            await passes.start(f"slow {n}", 1_024, seconds=0.01)
    assert len(passes.began) == AT_ONCE + 1


async def test_in_a_pass_with_a_large_group_small_ones_do_not_wait() -> None:
    """The pass itself, over a store and a bus that only say what they were asked."""
    reached: list[list[str]] = []
    worker = LaneWorker.__new__(LaneWorker)
    worker._turns = Turns()
    heads = {"large": RosterHead(9, 1, 1_024), "small": RosterHead(9, 1, 3), "gone": None}

    class Heads:
        async def roster_heads(self, ids: list[str]) -> dict[str, RosterHead]:
            return {id_: head for id_ in ids if (head := heads[id_]) is not None}

    async def reach(by_conversation: dict[str, object], *_: object) -> int:
        reached.append(sorted(by_conversation))
        return 1

    worker._store = Heads()  # type: ignore[assignment]
    worker._reach = reach  # type: ignore[method-assign,assignment]
    holders = [asyncio.Event() for _ in range(AT_ONCE)]

    async def hold(event: asyncio.Event) -> None:
        async with worker._turns.of(1_024, None, 60):
            await event.wait()

    tasks = [asyncio.create_task(hold(event)) for event in holders]
    await _settle()
    events = [Logged(name, 1, 1, "", "", "", "text", b"", 0, 0) for name in heads]
    waits = asyncio.create_task(worker._fan_out(events))
    await _settle()
    assert reached == [["gone", "small"]]
    for event in holders:
        event.set()
    assert await waits == 2
    assert reached == [["gone", "small"], ["large"]]
    await asyncio.gather(*tasks)
