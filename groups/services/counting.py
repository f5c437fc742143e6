"""The limits of what one user does to groups: each change is an event that every member is owed, and whoever is put into a group
was not asked."""

from __future__ import annotations

from accounts import limits, rates
from accounts.errors import Refused
from accounts.models import Account
from whatsapp.infra.clock import now_ms
from whatsapp.wire.errors import Code


def count_change(account: Account, number: int = 1) -> None:
    """So many changes at once, or none of them. Call it before a group is locked. Raises :class:`accounts.errors.Refused`
    (``rate_limited``)."""
    limits.count(
        scope="group_changes_hour",
        subject=str(account.pk),
        limit=limits.limit_for(account, "group_changes_per_hour"),
        window_ms=limits.HOUR_MS,
        now=now_ms(),
        number=number,
    )


def count_adds(account: Account, number: int) -> None:
    """So many people put into groups at once, or none of them, whether or not they turn out to be members already. Raises
    :class:`accounts.errors.Refused` (``rate_limited``)."""
    wait = rates.take(
        scope="group_adds_day",
        subject=str(account.pk),
        limit=limits.limit_for(account, "group_adds_per_day"),
        window_ms=limits.DAY_MS,
        now=now_ms(),
        number=number,
    )
    if wait:
        raise Refused(
            Code.RATE_LIMITED, "Too many people added to groups; try again later.", retry_after_ms=wait
        )
