"""Processes whose clocks are far apart: what one of them acknowledges, none of the others declares void (R23), and no lease is
opened again before it is dead (R24). Each with the twin in which everybody goes by the own clock."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Sequence

import pytest

from delivery.store.cassandra import clocks
from delivery.store.cassandra.session import Cassandra, Statement
from delivery.store.values import Outcome
from tests.cassandra import test_leases
from tests.cassandra.test_leases import Pair, pair
from tests.cassandra.two_gateways import Faulty, Two, is_event, two
from tests.contract.people import T0, new_id, seqs
from whatsapp.infra import clock
from whatsapp.infra.exposition import generate_latest

__all__ = ["pair", "two"]  # fixtures

AHEAD_S = 20.0


class Wall:
    """The clock of this process, as it is set."""

    def __init__(self, session: Cassandra, monkeypatch: pytest.MonkeyPatch) -> None:
        self._session = session
        self._now = clock.now_ms
        self.ahead_s = 0.0
        monkeypatch.setattr(clock, "now_ms", lambda: self._now() + round(self.ahead_s * 1000))
        monkeypatch.setattr(clocks, "_wall_ms", lambda: time.time_ns() / 1e6 + self.ahead_s * 1000)

    async def is_ahead(self, seconds: float) -> None:
        """Of a process that has measured it; 0: of one whose clock is right."""
        self.ahead_s = seconds
        await clocks.measure(self._session)


@pytest.fixture
def wall(two: Two, monkeypatch: pytest.MonkeyPatch) -> Wall:
    return Wall(two.session, monkeypatch)


@pytest.fixture
def own_clock_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clocks, "_both_ms", lambda: (clock.now_ms(), clock.now_ms()))


class Meanwhile(Faulty):
    """A session on which something happens before events are written."""

    then: Callable[[], Awaitable[None]] | None = None

    async def batch(self, statements: Sequence[Statement], *, logged: bool = False) -> None:
        if self.then is not None and any(is_event(one) for one in statements):
            then, self.then = self.then, None
            await then()
        await super().batch(statements, logged=logged)


async def acknowledged_meanwhile(two: Two, wall: Wall, ahead_s: float, behind_s: float) -> None:
    """One gateway is about to write what it has a number for, when somebody reads over another whose clock is ahead."""
    one = two.people.send()
    session = Meanwhile(two.session)
    for part in (two.first, two.first._documents, two.first._documents.hot):
        for name in ("_db", "_session"):
            if hasattr(part, name):
                setattr(part, name, session)

    async def look() -> None:
        await wall.is_ahead(ahead_s)
        assert seqs((await two.page()).events) == []
        await wall.is_ahead(behind_s)

    await wall.is_ahead(behind_s)
    session.then = look
    (result,) = (await two.first.append(new_id(), [one], T0)).results
    assert result.outcome is Outcome.STORED
    await wall.is_ahead(0)
    assert seqs((await two.page()).events) == [result.seq], "acknowledged, and lost"


@pytest.mark.parametrize(("ahead_s", "behind_s"), [(AHEAD_S, 0.0), (0.0, -AHEAD_S), (AHEAD_S, -AHEAD_S)])
async def test_r23_a_clock_far_ahead_declares_nothing_void(
    two: Two, wall: Wall, ahead_s: float, behind_s: float
) -> None:
    await acknowledged_meanwhile(two, wall, ahead_s, behind_s)


@pytest.mark.usefixtures("own_clock_alone")
@pytest.mark.parametrize(("ahead_s", "behind_s"), [(AHEAD_S, 0.0), (0.0, -AHEAD_S)])
async def test_twin_r23_a_clock_far_ahead_declares_void_what_is_acknowledged(
    two: Two, wall: Wall, ahead_s: float, behind_s: float
) -> None:
    with pytest.raises(AssertionError, match="acknowledged, and lost"):
        await acknowledged_meanwhile(two, wall, ahead_s, behind_s)


async def opened_again(pair: test_leases.Pair, wall: Wall) -> None:
    """A process whose clock is ahead finds a lease that was closed a moment ago."""
    mark = await pair.mark(pair.one)
    await pair.one.close(mark)
    await wall.is_ahead(AHEAD_S)
    assert await pair.other.usable("c") is None, "it is opened before it is dead"


async def test_r24_a_clock_far_ahead_opens_no_lease_again(
    pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    await opened_again(pair, Wall(pair.session, monkeypatch))


@pytest.mark.usefixtures("own_clock_alone")
async def test_twin_r24_a_clock_far_ahead_opens_a_lease_again(
    pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(AssertionError, match="before it is dead"):
        await opened_again(pair, Wall(pair.session, monkeypatch))


async def test_a_clock_that_is_set_between_two_looks_changes_nothing_to_its_harm(wall: Wall) -> None:
    """It goes by the later of the two times where it is to be late, and by the earlier where it is to be early."""
    await wall.is_ahead(0)
    assert clocks.latest_ms() == clocks.earliest_ms() == clock.now_ms()
    for set_by_s in (AHEAD_S, -AHEAD_S):
        wall.ahead_s = set_by_s
        assert clocks.latest_ms() - clocks.earliest_ms() == pytest.approx(AHEAD_S * 1000, abs=500)
        assert clock.now_ms() in (clocks.latest_ms(), clocks.earliest_ms())


async def test_how_far_clocks_are_apart_is_shown(wall: Wall) -> None:
    await wall.is_ahead(AHEAD_S)
    name = "whatsapp_store_clock_skew_seconds{"
    (line,) = (line for line in generate_latest().decode().splitlines() if line.startswith(name))
    assert float(line.split()[-1]) == pytest.approx(AHEAD_S, abs=1)
    await wall.is_ahead(0)
