"""The limit of changes by one user: each is an event that every member of a group is owed."""

from __future__ import annotations

from accounts import limits
from accounts.models import Account
from whatsapp.infra.clock import now_ms
from whatsapp.infra.limits import LIMITS


def count_change(account: Account, number: int = 1) -> None:
    """So many changes at once, or none of them. Call it before a group is locked. Raises :class:`accounts.errors.Refused`
    (``rate_limited``)."""
    limits.count(
        scope="group_changes_hour",
        subject=str(account.pk),
        limit=LIMITS.group_changes_per_hour,
        window_ms=limits.HOUR_MS,
        now=now_ms(),
        number=number,
    )
