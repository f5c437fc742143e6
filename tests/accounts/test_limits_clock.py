"""Limits that are counted in PostgreSQL, behind a clock that had jumped ahead and is right again."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import pytest

from accounts import limits, rates
from accounts.errors import Refused
from accounts.models import Allowance, LimitHit
from whatsapp.infra.clock import now_ms

pytestmark = pytest.mark.django_db

WINDOW: Final = limits.HOUR_MS
MOST: Final = 3
SUBJECT: Final = {"scope": "tests", "subject": "ann", "window_ms": WINDOW}


def count(now: int) -> int:
    """How long one has to wait, ms; 0: it was counted."""
    try:
        limits.count(**SUBJECT, limit=MOST, now=now)  # type: ignore[arg-type]
    except Refused as refused:
        return refused.retry_after_ms or -1
    return 0


def take(now: int) -> int:
    return rates.take(**SUBJECT, limit=MOST, now=now)  # type: ignore[arg-type]


@pytest.mark.parametrize("one", [count, take])
@pytest.mark.parametrize("ahead", [30 * WINDOW, 400 * 24 * WINDOW], ids=["a day", "a year"])
def test_what_was_counted_far_ahead_counts_for_nothing(one: Callable[[int], int], ahead: int) -> None:
    now = now_ms()
    for _ in range(MOST):
        assert one(now + ahead) == 0
    assert one(now + ahead) > 0
    for _ in range(MOST):
        assert one(now) == 0
    assert 0 < one(now) <= WINDOW


@pytest.mark.parametrize("one", [count, take])
def test_a_small_jump_counts_and_nobody_waits_for_longer_than_two_windows(one: Callable[[int], int]) -> None:
    """Clocks of two processes differ: whoever goes from one to the other begins nothing anew."""
    now = now_ms()
    for ahead in (5_000, WINDOW - 1):
        LimitHit.objects.all().delete()
        Allowance.objects.all().delete()
        for _ in range(MOST):
            assert one(now + ahead) == 0
        assert 0 < one(now) <= 2 * WINDOW
        assert one(now + 2 * WINDOW) == 0


def test_what_is_left_says_the_same() -> None:
    now = now_ms()
    for _ in range(MOST):
        limits.note(scope="tests", subject="ann", now=now + 30 * WINDOW)
        assert take(now + 30 * WINDOW) == 0
    assert limits.wait(**SUBJECT, limit=MOST, now=now) == 0  # type: ignore[arg-type]
    assert limits.latest(**SUBJECT, now=now, most=MOST) == []  # type: ignore[arg-type]
    assert rates.used(**SUBJECT, limit=MOST, now=now) == 0  # type: ignore[arg-type]
