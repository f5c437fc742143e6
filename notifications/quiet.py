"""Quiet hours of a device: minutes of the day by the clock on its wall, which is set forward and back."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, tzinfo
from typing import Final
from zoneinfo import ZoneInfo

_MINUTE_MS: Final = 60_000


def quiet_until(now: int, start: int | None, end: int | None, time_zone: str) -> int:
    """When the quiet hours that ``now`` (ms) lies in end, in ms; 0: it lies in none.

    ``start``, ``end``: minutes of the day; an end that is not after the start is one of the next day, and the same minute twice
    is no quiet hours. What counts is what the clock shows: where it is set forward over the end, they end with that; of an hour
    that it shows twice both are quiet, or neither is. Where it is set back over their start, they go on.
    """
    if start is None or end is None or start == end:
        return 0
    zone = _zone(time_zone)
    minute = _minute(now, zone)
    if not _inside(minute, start, end):
        return 0
    day = _local(now, zone).date() + timedelta(days=minute >= end)
    for fold in (0, 1):  # the second time, if the clock shows it twice and the first one is over
        ends = datetime(day.year, day.month, day.day, end // 60, end % 60, tzinfo=zone, fold=fold)
        at = int(ends.timestamp() * 1000)
        if at > now:
            break
    while at > now + _MINUTE_MS and not _inside(_minute(at - _MINUTE_MS, zone), start, end):
        at -= _MINUTE_MS  # the clock never shows the end: from its time before the jump back to the jump
    return at


def _inside(minute: int, start: int, end: int) -> bool:
    return start <= minute < end if start < end else minute >= start or minute < end


def _minute(at: int, zone: tzinfo) -> int:
    local = _local(at, zone)
    return local.hour * 60 + local.minute


def _local(at: int, zone: tzinfo) -> datetime:
    return datetime.fromtimestamp(at / 1000, zone)


def _zone(name: str) -> tzinfo:
    """UTC for a zone that this machine does not know (any more)."""
    try:
        return ZoneInfo(name)
    except (KeyError, ValueError, OSError):
        return UTC
