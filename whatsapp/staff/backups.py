"""Backups, as the archive of ``./dev up --backups`` says that they are: for the first page, as a metric, and for the check of
retention. An archive that has stopped says nothing any more, so what counts is how long ago it spoke."""

from __future__ import annotations

from typing import Final

from django.db import connections

from whatsapp.infra import metrics
from whatsapp.infra.clock import now_ms
from whatsapp.staff.health import Health
from whatsapp.staff.models import Backups
from whatsapp.staff.times import ago

_HOUR_MS: Final = 3_600_000
#: It looks every 30 s; to make a base backup of a large database takes it longer.
SILENT_MS: Final = _HOUR_MS
#: There is one a day.
BASE_MS: Final = 30 * _HOUR_MS
#: The policy: sealed ones end by their age, all but the newest (``devtools/backup.py``, ``KEEP_S``).
KEPT_MS: Final = 14 * 24 * _HOUR_MS


def known() -> Backups | None:
    """None: there is no archive, or it never had everything."""
    return Backups.objects.first()


def overdue(now: int) -> int:
    """1 when the oldest base backup should have been ended before ``now``, with its key."""
    found = known()
    return int(found is not None and found.sealed and found.number > 1 and found.oldest_at < now - KEPT_MS)


def health() -> Health:
    """For the first page."""
    found = known()
    if found is None:
        return Health("Backups", "none", [("archive", "none has told what it has")])
    now = now_ms()
    facts = [
        ("complete", ago(found.looked_at, now)),
        ("newest base", ago(found.newest_at, now)),
        ("oldest base", ago(found.oldest_at, now)),
        ("kept", str(found.number)),
        ("sealed", "yes" if found.sealed else "no"),
    ]
    late = _age(now, found.looked_at) > SILENT_MS or _age(now, found.newest_at) > BASE_MS
    return Health("Backups", "late" if late else "up", facts)


def show() -> None:
    """As a metric of this process. Every worker says the same."""
    metrics.source(
        "whatsapp_backups_age_seconds",
        "Since the archive of the backups had everything, and since the newest base backup ended; nothing where none ever ran.",
        metrics.seldom(_current, 60),
        ("what",),
    )


def ages(now: int) -> dict[tuple[str], float]:
    found = known()
    if found is None:
        return {}
    return {("archive",): _age(now, found.looked_at) / 1000, ("base",): _age(now, found.newest_at) / 1000}


def _age(now: int, at: int) -> int:
    """In ms. What is far ahead, of a clock that went back since, is not new: nobody would be told until the clock is there."""
    return abs(now - at)


def _current() -> dict[tuple[str], float]:
    try:
        return ages(now_ms())
    finally:
        connections.close_all()  # of this thread, which ends with the scrape
