"""Quiet hours by the clock on the wall: over midnight, and where it is set forward and back."""

from __future__ import annotations

from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest

from notifications.quiet import quiet_until

BERLIN = "Europe/Berlin"


def ms(text: str, zone: str = "UTC", fold: int = 0) -> int:
    return int(datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(zone), fold=fold).timestamp() * 1000)


def until(now: int, start: str, end: str, zone: str = "UTC") -> str:
    """The end in UTC, "" for none."""
    minutes = [int(text[:2]) * 60 + int(text[3:]) for text in (start, end)]
    found = quiet_until(now, *minutes, zone)
    return datetime.fromtimestamp(found / 1000, UTC).isoformat(timespec="minutes")[:16] if found else ""


@pytest.mark.parametrize(
    ("now", "wanted"),
    [
        ("2026-06-01T21:59", ""),
        ("2026-06-01T22:00", "2026-06-02T07:00"),
        ("2026-06-02T00:00", "2026-06-02T07:00"),
        ("2026-06-02T06:59:59", "2026-06-02T07:00"),
        ("2026-06-02T07:00", ""),
        ("2026-12-31T23:30", "2027-01-01T07:00"),
    ],
)
def test_over_midnight(now: str, wanted: str) -> None:
    assert until(ms(now), "22:00", "07:00") == wanted


@pytest.mark.parametrize(
    ("now", "wanted"),
    [("12:59", ""), ("13:00", "2026-06-01T14:30"), ("14:29", "2026-06-01T14:30"), ("14:30", "")],
)
def test_within_a_day(now: str, wanted: str) -> None:
    assert until(ms(f"2026-06-01T{now}"), "13:00", "14:30") == wanted


def test_none() -> None:
    now = ms("2026-06-01T23:00")
    assert quiet_until(now, None, None, "UTC") == 0
    assert until(now, "23:00", "23:00") == ""


def test_by_the_clock_of_the_device() -> None:
    now = ms("2026-06-01T22:30", BERLIN)
    assert until(now, "22:00", "07:00", BERLIN) == "2026-06-02T05:00"
    assert until(now, "22:00", "07:00") == "", "it is 20:30 there"
    assert until(ms("2026-06-01T22:30"), "22:00", "07:00", "Mars/Olympus") == "2026-06-02T07:00"


def test_the_night_of_the_hour_that_is_left_out() -> None:
    """29 March 2026: two o'clock is three."""
    evening = ms("2026-03-28T23:00", BERLIN)
    assert until(evening, "22:00", "07:00", BERLIN) == "2026-03-29T05:00"
    for now in (evening, ms("2026-03-29T01:50", BERLIN)):
        assert until(now, "22:00", "02:30", BERLIN) == "2026-03-29T01:00", "half past two never comes"
    assert until(ms("2026-03-29T03:00", BERLIN), "22:00", "02:30", BERLIN) == ""


def test_the_night_of_the_hour_that_comes_twice() -> None:
    """25 October 2026: three o'clock is two again."""
    assert until(ms("2026-10-24T23:00", BERLIN), "22:00", "07:00", BERLIN) == "2026-10-25T06:00"
    first, second = ms("2026-10-25T02:15", BERLIN), ms("2026-10-25T02:15", BERLIN, fold=1)
    assert until(first, "22:00", "02:30", BERLIN) == "2026-10-25T00:30"
    assert until(second, "22:00", "02:30", BERLIN) == "2026-10-25T01:30"
    assert until(ms("2026-10-25T02:45", BERLIN), "22:00", "02:30", BERLIN) == ""


@pytest.mark.parametrize("zone", [BERLIN, "America/New_York", "Australia/Lord_Howe", "Asia/Kathmandu"])
def test_they_end_where_they_end(zone: str) -> None:
    """Over the days on which clocks are set: the minute before is quiet, that minute is not."""
    for day in ("2026-03-28T12:00", "2026-03-07T12:00", "2026-10-24T12:00", "2026-04-04T12:00"):
        begins = ms(day)
        for start, end in ((22 * 60, 2 * 60 + 30), (60, 150), (100, 170)):
            ends = {
                quiet_until(at, start, end, zone) for at in range(begins, begins + 24 * 3_600_000, 7 * 60_000)
            }
            assert len(ends - {0}) in (1, 2)
            for at in ends - {0}:
                assert not quiet_until(at, start, end, zone)
                assert quiet_until(at - 60_000, start, end, zone) == at
