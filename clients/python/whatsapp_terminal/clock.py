"""Times as people say them. Everything takes milliseconds since the epoch; ``now`` too, so that tests choose it."""

from __future__ import annotations

import datetime as dt
from functools import lru_cache

#: Days begin at a multiple of it, ms, in every time zone of today: what is known of one holds for all of its times.
QUARTER = 15 * 60_000


def local(ms: int) -> dt.datetime:
    """The local time of a server's clock; nonsense becomes the nearest time that exists."""
    seconds = min(max(ms / 1000, 0.0), 253_370_000_000.0)
    return dt.datetime.fromtimestamp(seconds, tz=dt.UTC).astimezone()


def time_of_day(ms: int) -> str:
    return f"{local(ms):%H:%M}" if ms else ""


def day(ms: int, now: int) -> str:
    """The words of a day separator."""
    return _day(ms // QUARTER, now // QUARTER)


@lru_cache(8192)
def _day(quarter: int, now_quarter: int) -> str:
    ms, now = quarter * QUARTER, now_quarter * QUARTER
    then, today = local(ms).date(), local(now).date()
    days = (today - then).days
    if days == 0:
        return "Today"
    if days == 1:
        return "Yesterday"
    if 1 < days < 7:
        return f"{then:%A}"
    if then.year == today.year:
        return f"{then.day} {then:%B}"
    return f"{then.day} {then:%B %Y}"


def short(ms: int, now: int) -> str:
    """For the chat list: the time today, else the day."""
    return _short(ms // 60_000, now // QUARTER) if ms else ""


@lru_cache(8192)
def _short(minute: int, now_quarter: int) -> str:
    ms, now = minute * 60_000, now_quarter * QUARTER
    then, today = local(ms).date(), local(now).date()
    days = (today - then).days
    if days == 0:
        return time_of_day(ms)
    if days == 1:
        return "Yesterday"
    if 1 < days < 7:
        return f"{then:%a}"
    return f"{then:%d.%m.%y}"


def last_seen(ms: int | None, now: int) -> str:
    if not ms:
        return "offline"
    seconds = max(0, now - ms) / 1000
    if seconds < 60:
        return "last seen just now"
    if seconds < 3600:
        return f"last seen {int(seconds // 60)} min ago"
    word = day(ms, now)
    word = word.lower() if word in ("Today", "Yesterday") else word
    return f"last seen {word} at {time_of_day(ms)}"


def duration(seconds: float) -> str:
    """A wait: ``40 s``, ``12 min``, ``3 h``, ``7 days``."""
    if seconds < 90:
        return f"{max(0, round(seconds))} s"
    if seconds < 5400:
        return f"{round(seconds / 60)} min"
    if seconds < 2 * 86_400:
        return f"{round(seconds / 3600)} h"
    return f"{round(seconds / 86_400)} days"


def left(seconds: float) -> str:
    """What is left to a message that disappears, short: ``<1 min``, ``12 min``, ``3 h``, ``6 d``."""
    if seconds < 60:
        return "<1 min"
    if seconds < 3600:
        return f"{int(seconds // 60)} min"
    if seconds < 86_400:
        return f"{int(seconds // 3600)} h"
    return f"{int(seconds // 86_400)} d"


def span(seconds: float) -> str:
    """How long a timer is: ``24 hours``, ``7 days``, ``30 s``."""
    for size, word in ((86_400, "day"), (3600, "hour"), (60, "minute")):
        if seconds >= size and seconds % size == 0 and (size, seconds) != (86_400, 86_400):
            count = int(seconds // size)
            return f"{count:,} {word}{'s' if count > 1 else ''}"
    return duration(seconds)
