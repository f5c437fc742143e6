"""Self-clocked batches: one in flight, order kept, nothing lost but what a failure is told."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from whatsapp.infra.batcher import AskBatcher, Batcher
from whatsapp.infra.spacing import Spacing


class Gate:
    """A ``run`` that holds each batch until it is let go."""

    def __init__(self) -> None:
        self.batches: list[list[int]] = []
        self.at_once = 0
        self.most = 0
        self.go = asyncio.Semaphore(0)
        self.entered = asyncio.Semaphore(0)

    async def run(self, batch: list[int]) -> None:
        self.batches.append(batch)
        self.at_once += 1
        self.most = max(self.most, self.at_once)
        self.entered.release()
        await self.go.acquire()
        self.at_once -= 1


async def test_what_arrives_meanwhile_is_the_next_batch() -> None:
    gate = Gate()
    batcher = Batcher(gate.run)
    for item in (1, 2, 3):
        batcher.add(item)
    await gate.entered.acquire()
    for item in (4, 5):
        batcher.add(item)
    assert len(batcher) == 2
    assert not batcher.idle
    gate.go.release()
    await gate.entered.acquire()
    batcher.add(6)
    gate.go.release()
    gate.go.release()
    await batcher.drained()
    assert gate.batches == [[1, 2, 3], [4, 5], [6]]
    assert gate.most == 1
    assert batcher.idle
    batcher.add(7)  # it starts again
    gate.go.release()
    await batcher.drained()
    assert gate.batches[-1] == [7]


async def test_a_batch_is_bounded() -> None:
    gate = Gate()
    for _ in range(3):
        gate.go.release()
    batcher = Batcher(gate.run, max_batch=4)
    for item in range(10):
        batcher.add(item)
    await batcher.drained()
    assert gate.batches == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]


async def test_take_removes_only_what_waits() -> None:
    gate = Gate()
    batcher = Batcher(gate.run)
    batcher.add(1)
    await gate.entered.acquire()
    for item in range(2, 7):
        batcher.add(item)
    assert batcher.take(lambda item: item % 2 == 1) == [3, 5]
    gate.go.release()
    gate.go.release()
    await batcher.drained()
    assert gate.batches == [[1], [2, 4, 6]]


async def test_a_failure_does_not_end_it(caplog: pytest.LogCaptureFixture) -> None:
    done: list[int] = []

    async def run(batch: list[int]) -> None:
        if 1 in batch:
            batcher.add(2)
            raise ValueError("no")
        done.extend(batch)

    batcher = Batcher(run)
    batcher.add(1)
    await batcher.drained()
    assert done == [2]
    assert "failed" in caplog.text


async def test_questions_get_their_own_answers() -> None:
    async def run(items: list[int]) -> list[int]:
        await asyncio.sleep(0)
        return [item * item for item in items]

    asks: AskBatcher[int] = AskBatcher(run, 7)
    assert await asyncio.gather(*[asks.ask(n) for n in range(50)]) == [n * n for n in range(50)]


async def test_a_failure_reaches_every_asker_of_its_batch_only() -> None:
    calls = 0

    async def run(items: list[int]) -> list[int]:
        nonlocal calls
        calls += 1
        if calls == 1:
            raise ConnectionError("away")
        return items

    asks: AskBatcher[int] = AskBatcher(run, 2)
    cancelled = asks.ask(0)
    cancelled.cancel()
    answers = await asyncio.gather(*[asks.ask(n) for n in range(1, 4)], return_exceptions=True)
    assert isinstance(answers[0], ConnectionError)
    assert answers[1:] == [2, 3]


async def test_batches_that_come_too_fast_gather() -> None:
    """Nothing is lost or reordered, and what comes alone, or in a burst, waits for nothing."""
    loop = asyncio.get_running_loop()
    batches: list[list[int]] = []

    async def run(batch: list[int]) -> None:
        batches.append(batch)

    every_s, burst = 60.0, 3
    batcher = Batcher(run, spacing=Spacing(every_s, burst))
    for item in range(burst + 1):
        batcher.add(item)
        await asyncio.wait_for(batcher.drained(), 10)
    assert batches == [[0], [1], [2], [3]]
    began = loop.time()
    for item in range(4, 8):
        batcher.add(item)
        await asyncio.sleep(0)
    assert (len(batches), len(batcher)) == (burst + 1, 4) or loop.time() - began > every_s
    assert batcher._task is not None
    batcher._task.cancel()


async def test_what_gathered_is_one_batch_in_order() -> None:
    batches: list[list[int]] = []

    async def run(batch: list[int]) -> None:
        batches.append(batch)

    batcher = Batcher(run, spacing=Spacing(0.2, 0))
    batcher.add(0)
    await batcher.drained()
    for item in range(1, 5):
        batcher.add(item)
    await asyncio.wait_for(batcher.drained(), 20)
    assert batches == [[0], [1, 2, 3, 4]]


@given(st.lists(st.floats(0, 0.02), min_size=1, max_size=200), st.integers(0, 8))
def test_over_any_stretch_a_spacing_lets_through_its_burst_and_one_a_time(
    gaps: list[float], burst: int
) -> None:
    spacing, now = Spacing(0.005, burst), 0.0
    for number, gap in enumerate(gaps, 1):
        now += gap
        now += spacing.wait(now)
        assert number <= burst + 1 + now / 0.005 + 1e-6
    assert spacing.wait(now + 1) == 0
