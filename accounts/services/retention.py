"""What the retention has done and has left undone, day by day (``whatsapp/infra/retention.py`` has the table)."""

from __future__ import annotations

import logging
from typing import Final, NamedTuple

from django.db import connection, connections, transaction

from accounts.models import RetentionDay
from whatsapp.infra import metrics, retention
from whatsapp.infra.clock import now_ms
from whatsapp.infra.retention import DAY_MS

log = logging.getLogger(__name__)

_PURGED: Final = """
INSERT INTO accounts_retentionday AS d (policy, day, purged, ran_at) VALUES (%s, %s, %s, %s)
ON CONFLICT (policy, day) DO UPDATE SET purged = d.purged + excluded.purged, ran_at = greatest(d.ran_at, excluded.ran_at)
"""
_CHECKED: Final = """
INSERT INTO accounts_retentionday AS d (policy, day, purged, overdue, checked_at) VALUES (%s, %s, 0, %s, %s)
ON CONFLICT (policy, day) DO UPDATE SET overdue = excluded.overdue, checked_at = excluded.checked_at
"""


class Told(NamedTuple):
    """Of one policy. Times in ms, None: never within ``days``."""

    purged: int  # within the days asked for
    last_purged: int | None  # the start of the last day on which something was
    ran_at: int | None
    overdue: int | None  # at the last check
    checked_at: int | None


def note(name: str, number: int) -> None:
    """``retention.purged`` calls it."""
    now = now_ms()
    with connection.cursor() as cursor:
        cursor.execute(_PURGED, [name, now // DAY_MS, number, now])


def check(now: int) -> dict[str, int]:
    """Look through every store for what should be gone, and write down how much that is. Returns policy → overdue; a policy
    whose store does not answer is left out, and is looked at again with the next check."""
    found: dict[str, int] = {}
    for policy in retention.policies():
        try:
            with transaction.atomic():
                left = policy.left(now)
        except Exception as error:
            # One store that is away must not keep the others from being looked at. The age of the check tells of it.
            log.warning("the retention of %s could not be checked: %s", policy.name, type(error).__name__)
            continue
        if left is None:
            continue
        found[policy.name] = left
        if left:
            log.warning("%s of the policy %s should be gone", left, policy.name)
        with connection.cursor() as cursor:
            cursor.execute(_CHECKED, [policy.name, now // DAY_MS, left, now])
    return found


def told(now: int, days: int = 30) -> dict[str, Told]:
    """Policy → what was purged within the last days, and what is overdue."""
    found: dict[str, Told] = {}
    rows = RetentionDay.objects.filter(day__gt=now // DAY_MS - days).order_by("day")
    for row in rows.iterator():
        before = found.get(row.policy, Told(0, None, None, None, None))
        found[row.policy] = Told(
            before.purged + row.purged,
            row.day * DAY_MS if row.purged else before.last_purged,
            row.ran_at if row.ran_at is not None else before.ran_at,
            row.overdue if row.checked_at is not None else before.overdue,
            row.checked_at if row.checked_at is not None else before.checked_at,
        )
    return found


def show() -> None:
    """As metrics of this process. Every worker says the same."""
    current = metrics.seldom(_current, 60)
    metrics.source(
        "whatsapp_retention_overdue",
        "Rows or objects that should be gone, by policy, at the last check; 10,000 stands for more, too.",
        lambda: {name: one.overdue for name, one in current().items() if one.overdue is not None},
        ("policy",),
    )
    metrics.source(
        "whatsapp_retention_check_age_seconds",
        "Since a policy was last checked.",
        lambda: {
            name: max(0, now_ms() - one.checked_at) / 1000
            for name, one in current().items()
            if one.checked_at is not None
        },
        ("policy",),
    )


def _current() -> dict[str, Told]:
    try:
        known = {policy.name for policy in retention.policies()}
        return {name: one for name, one in told(now_ms(), 7).items() if name in known}
    finally:
        connections.close_all()  # of this thread, which ends with the scrape
