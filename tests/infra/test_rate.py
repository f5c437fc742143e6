"""The limiter (GCRA) and the table of limits."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from whatsapp.infra.limits import Rate


def test_a_burst_of_the_whole_rate_then_one_by_one() -> None:
    rate = Rate()
    assert [rate.take(1_000.0, 5, 1_000) for _ in range(5)] == [0.0] * 5
    assert rate.take(1_000.0, 5, 1_000) == pytest.approx(200.0)
    assert rate.take(1_199.0, 5, 1_000) == pytest.approx(1.0)
    assert rate.take(1_200.0, 5, 1_000) == 0.0
    assert rate.take(1_200.0, 5, 1_000) > 0


def test_a_refusal_costs_nothing() -> None:
    rate = Rate()
    for _ in range(5):
        rate.take(0.0, 5, 1_000)
    for _ in range(100):
        assert rate.take(100.0, 5, 1_000) == pytest.approx(100.0)
    assert rate.take(200.0, 5, 1_000) == 0.0


@given(
    st.lists(st.floats(0, 400), min_size=1, max_size=200),
    st.integers(1, 50),
    st.sampled_from([1_000, 60_000]),
)
def test_never_more_than_burst_and_rate(gaps: list[float], count: int, period: int) -> None:
    """In any stretch of time at most ``count`` at once, and ``count`` a period on top; and what is told is true."""
    rate, now, allowed = Rate(), 0.0, []
    for gap in gaps:
        now += gap
        over = rate.take(now, count, period)
        if over:
            probe = Rate()
            probe.tat = rate.tat
            assert probe.take(now + over + 1e-3, count, period) == 0.0
        else:
            allowed.append(now)
    for first in range(len(allowed)):
        for last in range(first, len(allowed)):
            most = count + (allowed[last] - allowed[first]) * count / period + 1e-3
            assert last - first + 1 <= most


@given(st.integers(1, 50), st.integers(0, 100))
def test_who_keeps_to_the_rate_is_never_refused(count: int, extra: int) -> None:
    rate, step = Rate(), 1_000 / count
    assert all(rate.take(n * (step + extra), count, 1_000) == 0.0 for n in range(200))


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ('{"no_such_limit": 1}', "no_such_limit"),
        ('{"ping_ms": "1"}', "ping_ms"),
        ('{"ping_ms": true}', "ping_ms"),
        ("{", "JSON"),
        ('["ping_ms"]', "JSON"),
    ],
)
def test_a_wrong_table_stops_the_process_with_a_sentence(text: str, told: str) -> None:
    run = _load(text)
    assert run.returncode != 0
    last = run.stderr.strip().splitlines()[-1]
    assert "UnknownLimit" in last
    assert told in last


def test_overrides_count() -> None:
    assert _load(json.dumps({"ping_ms": 7})).stdout.strip() == "7"


def _load(limits: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", "from whatsapp.infra.limits import LIMITS; print(LIMITS.ping_ms)"],
        env={**os.environ, "WHATSAPP_LIMITS": limits},
        capture_output=True,
        text=True,
        check=False,
    )
