"""Sanctions that outlive their account: who is slowed down or limited, ends the account and registers the number anew is slowed
down or limited still.

Kept is a keyed hash of the number, until the sanction ends, and no longer than a silent account would keep the number: from then
on whoever has it counts as somebody else (``recycling.changed_hands``). Bans need none of this: who is banned cannot end the
account. Called in the transactions in which accounts end and numbers are taken, with the account locked.
"""

from __future__ import annotations

from accounts.limits import DAY_MS
from accounts.models import Account, CarriedSanction
from accounts.services import persons, sanctions
from accounts.services.sanctions import CLASS_OF
from whatsapp.infra.limits import LIMITS


def keep(*, account: Account, now: int) -> None:
    """The account ends; it has its number still."""
    if not account.phone:
        return
    most = now + LIMITS.recycled_after_days * DAY_MS
    for one in sanctions.in_force_of(account.pk, now=now):
        if one.kind not in CLASS_OF:
            continue
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
                "kept_until": most if one.until is None else min(one.until, most),
            },
        )


def take_over(*, account: Account, now: int) -> None:
    """The account has just got its number: it gets what was kept for that, each as a sanction of its own that can be appealed
    against. What it got is kept no longer."""
    if not account.phone:
        return
    found = CarriedSanction.objects.select_for_update().filter(
        number__in=persons.number_hashes(account.phone), kept_until__gt=now
    )
    for row in found.order_by("imposed_at", "pk"):
        sanctions.impose(
            account_id=account.pk,
            kind=row.kind,
            reason=row.reason,
            evidence={"carried": True},
            until=row.until,
            by=row.imposed_by,
            step=row.step,
            carried_from=row.sanction,
        )
        row.delete()
        account.refresh_from_db(fields=["limit_class"])
