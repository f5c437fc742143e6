"""When a circuit breaker opens, tries and closes; with the clock moved by hand."""

from __future__ import annotations

import asyncio

import pytest
from prometheus_client import generate_latest

from delivery.store.errors import Busy
from delivery.store.guarded import CircuitOpen, guarded
from delivery.store.interface import Unavailable
from whatsapp.infra.breaker import CLOSED, HALF_OPEN, OPEN, Breaker, Policy


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def breaker(clock: Clock) -> Breaker:
    return Breaker("node", "operation", Policy(failures=5, open_s=5.0), clock)


def began(breaker: Breaker) -> int:
    number = breaker.begin()
    assert number is not None
    return number


def fail(breaker: Breaker, times: int = 1) -> None:
    for _ in range(times):
        breaker.failed(began(breaker))


def test_failures_in_a_row_open_it(breaker: Breaker) -> None:
    fail(breaker, 4)
    breaker.succeeded(began(breaker))
    fail(breaker, 4)
    assert breaker.state == CLOSED
    fail(breaker)
    assert breaker.state == OPEN
    assert breaker.begin() is None


def test_one_trial_after_its_time(breaker: Breaker, clock: Clock) -> None:
    fail(breaker, 5)
    clock.now += 4.9
    assert breaker.begin() is None
    assert breaker.opens_in_s == pytest.approx(0.1)
    clock.now += 0.1
    assert breaker.state == HALF_OPEN
    trial = began(breaker)
    assert breaker.begin() is None, "only one at a time"
    breaker.succeeded(trial)
    assert breaker.state == CLOSED
    fail(breaker, 4)
    assert breaker.state == CLOSED, "failures before it opened do not count any more"


def test_a_trial_that_fails_opens_it_for_as_long_again(breaker: Breaker, clock: Clock) -> None:
    fail(breaker, 5)
    clock.now += 5
    fail(breaker)
    clock.now += 4.9
    assert breaker.begin() is None
    clock.now += 0.1
    assert breaker.begin() is not None


def test_a_trial_that_is_cancelled_makes_room_for_another(breaker: Breaker, clock: Clock) -> None:
    fail(breaker, 5)
    clock.now += 5
    breaker.cancelled(began(breaker))
    assert breaker.begin() is not None


def test_calls_that_began_before_it_opened_do_not_count(breaker: Breaker, clock: Clock) -> None:
    """A server that freezes fails all calls that are under way, one after the other, for as long as a time-out lasts."""
    early = [began(breaker) for _ in range(8)]
    for number in early[:5]:
        breaker.failed(number)
    assert breaker.state == OPEN
    clock.now += 4
    breaker.failed(early[5])
    breaker.succeeded(early[6])
    assert breaker.state == OPEN
    clock.now += 1
    trial = began(breaker)
    breaker.failed(early[7])
    breaker.succeeded(trial)
    assert breaker.state == CLOSED


def test_none_of_it_without_a_limit(clock: Clock) -> None:
    breaker = Breaker("node", "operation", Policy(failures=0), clock)
    fail(breaker, 100)
    assert breaker.state == CLOSED


class Store:
    """What of a store a test needs: each operation ends as ``ends`` says."""

    def __init__(self) -> None:
        self.ends: type[BaseException] | None = None
        self.asked: list[str] = []
        self.holds = asyncio.Event()
        self.holds.set()

    async def pages(self, requests: list[str]) -> list[str]:
        return await self._ask("pages", requests)

    async def append(self, writer: str, sends: list[str], now: int) -> list[str]:
        return await self._ask("append", sends)

    async def _ask(self, name: str, given: list[str]) -> list[str]:
        self.asked.append(name)
        await self.holds.wait()
        if self.ends is not None:
            raise self.ends
        return given


def around(store: Store, **policy: float) -> Store:
    return guarded(store, "test", Policy(**policy))  # type: ignore[arg-type, return-value]


async def test_each_operation_of_a_store_has_its_own() -> None:
    store = Store()
    behind = around(store, failures=5, open_s=1000)
    store.ends = Unavailable
    for _ in range(5):
        with pytest.raises(Unavailable) as raised:
            await behind.append("w", [], 0)
        assert not isinstance(raised.value, CircuitOpen)
    with pytest.raises(CircuitOpen):
        await behind.append("w", [], 0)
    assert store.asked == ["append"] * 5
    store.ends = None
    assert await behind.pages(["x"]) == ["x"]
    shown = generate_latest()
    assert b'whatsapp_breaker_state{node="test",operation="append"} 2.0' in shown
    assert b'whatsapp_breaker_opened_total{node="test",operation="append"} 1.0' in shown
    assert b'whatsapp_breaker_refused_total{node="test",operation="append"} 1.0' in shown
    assert b'whatsapp_breaker_state{node="test",operation="pages"}' not in shown


async def test_what_is_held_by_others_and_what_is_wrong_with_a_call_opens_nothing() -> None:
    store = Store()
    behind = around(store, failures=5, open_s=1000)
    for ends in (Busy, ValueError):
        store.ends = ends
        for _ in range(20):
            with pytest.raises(ends):
                await behind.append("w", [], 0)
    assert len(store.asked) == 40


async def test_a_cancelled_call_opens_nothing_and_holds_no_trial() -> None:
    store = Store()
    behind = around(store, failures=1, open_s=0)
    store.ends = Unavailable
    with pytest.raises(Unavailable):
        await behind.append("w", [], 0)
    store.ends = None
    store.holds.clear()
    trial = asyncio.create_task(behind.append("w", [], 0))
    while len(store.asked) < 2:
        await asyncio.sleep(0)
    trial.cancel()
    with pytest.raises(asyncio.CancelledError):
        await trial
    store.holds.set()
    assert await behind.append("w", ["a"], 0) == ["a"]


async def test_a_thousand_callers_of_a_dead_store_make_five_calls_and_one_trial() -> None:
    store = Store()
    behind = around(store, failures=5, open_s=0)
    store.ends = Unavailable
    for _ in range(5):
        with pytest.raises(Unavailable):
            await behind.pages([])
    store.holds.clear()
    waiting = [asyncio.create_task(behind.pages([str(n)])) for n in range(1000)]
    while len(store.asked) < 6:
        await asyncio.sleep(0)
    store.ends = None
    store.holds.set()
    ends = await asyncio.gather(*waiting, return_exceptions=True)
    assert len(store.asked) == 6
    assert [type(end) for end in ends].count(CircuitOpen) == 999
    assert await behind.pages(["again"]) == ["again"]
