"""Sanctions that outlive their account: who is slowed down or limited, ends the account and registers the number anew is slowed
down or limited still; and what a trigger did is a step of the ladder (``services/abuse.py``) still, also when it is over.

Kept is a keyed hash of the number, until the sanction ends and is no step of the ladder any more, and no longer than a silent
account would keep the number: from then on whoever has it counts as somebody else (``recycling.changed_hands``). Bans that are in
force need none of this: who is banned cannot end the account. Called in the transactions in which accounts end and numbers are
taken, with the account locked.
"""

from __future__ import annotations

from typing import Any, Final

from django.conf import settings

from accounts.limits import DAY_MS
from accounts.models import Account, CarriedSanction, Sanction
from accounts.services import persons, sanctions
from accounts.services.sanctions import AUTOMATIC, CLASS_OF
from whatsapp.infra.limits import LIMITS

#: Nothing leads to who had the number.
_CARRIED: Final[dict[str, Any]] = {"carried": True}


#: Steps of the ladder that are kept of one account, the last ones.
_STEPS: Final = 10


def keep(*, account: Account, now: int) -> None:
    """The account ends; it has its number still."""
    if not account.phone:
        return
    most = now + LIMITS.recycled_after_days * DAY_MS
    held = [one for one in sanctions.in_force_of(account.pk, now=now) if one.kind in CLASS_OF]
    for one in [*held, *_steps(account, now)]:
        until = most if one.until is None else one.until
        if one.imposed_by == AUTOMATIC and one.step is not None:
            until = max(until, one.imposed_at + settings.ABUSE_MEMORY_MS)
        CarriedSanction.objects.update_or_create(
            sanction=one.pk,
            defaults={
                "number": persons.number_hashes(account.phone)[0],
                "kind": one.kind,
                "reason": one.reason,
                "imposed_at": one.imposed_at,
                "imposed_by": one.imposed_by,
                "step": one.step,
                "until": one.until,
                "kept_until": min(until, most),
            },
        )


def _steps(account: Account, now: int) -> list[Sanction]:
    """What is over and still counts for the next step."""
    found = Sanction.objects.filter(
        account=account,
        imposed_by=AUTOMATIC,
        step__isnull=False,
        lifted_at=None,
        until__lte=now,
        imposed_at__gt=now - settings.ABUSE_MEMORY_MS,
    )
    return list(found.order_by("-imposed_at", "-pk")[:_STEPS])


def take_over(*, account: Account, now: int) -> None:
    """The account has just got its number: it gets what was kept for that, each as a sanction of its own that can be appealed
    against, and what is over as one that is over. What it got is kept no longer."""
    if not account.phone:
        return
    found = CarriedSanction.objects.select_for_update().filter(
        number__in=persons.number_hashes(account.phone), kept_until__gt=now
    )
    for row in found.order_by("imposed_at", "pk"):
        if row.until is not None and row.until <= now:
            _remember(account, row, now)
        else:
            sanctions.impose(
                account_id=account.pk,
                kind=row.kind,
                reason=row.reason,
                evidence=_CARRIED,
                until=row.until,
                by=row.imposed_by,
                step=row.step,
                carried_from=row.sanction,
            )
        row.delete()
        account.refresh_from_db(fields=["limit_class"])


def _remember(account: Account, row: CarriedSanction, now: int) -> None:
    """It has no effect, but the next step is above it, for as long as it would have been on the account of before."""
    Sanction.objects.create(
        account=account,
        kind=row.kind,
        reason=row.reason,
        evidence=_CARRIED,
        imposed_at=row.imposed_at,
        imposed_by=row.imposed_by,
        until=row.until,
        ended_at=now,
        step=row.step,
        carried_from=row.sanction,
    )
