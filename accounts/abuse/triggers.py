"""The table of triggers, read from the settings, and when one of them fires. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured

#: Counted one by one: messages that were stored (one to a group is one), members that the user added to groups.
NUMBERS: Final = frozenset(("messages", "adds"))
#: Counted once each, about: conversations that were written to, those among them whose other member had not accepted the user,
#: those in which such a one answered, those that something was forwarded to.
SETS: Final = frozenset(("recipients", "strangers", "replies", "forwards"))
#: People whose reports of the user count; PostgreSQL knows them.
REPORTS: Final = "reports"
HOURS: Final = (1, 24)

#: (signal, hours) → how many, over the last so many hours.
Counts = Mapping[tuple[str, int], float]


@dataclass(frozen=True)
class Trigger:
    name: str
    signal: str
    hours: int
    threshold: float
    first: int
    share: float | None = None
    answered_below: float | None = None

    def value(self, counts: Counts) -> float:
        """What it compares. Who has answered is no stranger any more."""
        found = counts.get((self.signal, self.hours), 0.0)
        if self.signal == "strangers" and self.answered_below is None:
            found -= counts.get(("replies", self.hours), 0.0)
        return max(found, 0.0)

    def fires(self, counts: Counts, factor: float) -> bool:
        """``factor``: of this account's thresholds."""
        value = self.value(counts)
        if value < self.threshold * factor:
            return False
        if self.share is not None:
            recipients = counts.get(("recipients", self.hours))
            if recipients is None or value < self.share * recipients:
                return False  # None: Valkey is away, nobody knows
        replies = counts.get(("replies", self.hours), 0.0)
        return self.answered_below is None or replies < self.answered_below * value


@dataclass(frozen=True)
class Table:
    triggers: tuple[Trigger, ...]
    #: Signal → the hours over which somebody asks for it.
    needed: Mapping[str, tuple[int, ...]]
    #: From how many on in one bucket an account is looked at. A window lies over two buckets, so half of a threshold is in one.
    marks: Mapping[tuple[str, int], float]


def table() -> Table:
    """Raises ``ImproperlyConfigured``: what the settings say makes no sense."""
    least = min(settings.ABUSE_NEW_FACTOR, settings.ABUSE_OLD_FACTOR, *settings.ABUSE_CLASS_FACTORS.values())
    rows = tuple((name, tuple(sorted(row.items()))) for name, row in settings.ABUSE_TRIGGERS.items())
    return _table(rows, min(least, 1.0), len(settings.ABUSE_STEPS))


@lru_cache(maxsize=8)
def _table(rows: tuple[tuple[str, tuple[tuple[str, Any], ...]], ...], least: float, steps: int) -> Table:
    triggers = tuple(_trigger(name, dict(row), steps) for name, row in rows)
    needed: dict[str, set[int]] = {}
    marks: dict[tuple[str, int], float] = {}
    for one in triggers:
        asked = [one.signal]
        if one.signal == "strangers":
            asked.append("replies")
        if one.share is not None:
            asked.append("recipients")
        for signal in asked:
            needed.setdefault(signal, set()).add(one.hours)
        if one.signal != REPORTS:
            key = (one.signal, one.hours)
            marks[key] = min(marks.get(key, float("inf")), one.threshold * least / 2)
    needed.pop(REPORTS, None)
    return Table(triggers, {signal: tuple(sorted(hours)) for signal, hours in needed.items()}, marks)


def _trigger(name: str, row: dict[str, Any], steps: int) -> Trigger:
    try:
        found = Trigger(name=name, **row)
        sound = (
            found.signal in NUMBERS | SETS | {REPORTS}
            and found.hours in ((24,) if found.signal == REPORTS else HOURS)
            and found.threshold > 0
            and 0 <= found.first < steps
            and all(part is None or 0 < part <= 1 for part in (found.share, found.answered_below))
        )
    except TypeError:
        sound = False
    if not sound:
        raise ImproperlyConfigured(f"ABUSE_TRIGGERS: {name!r} is no trigger.")
    return found
