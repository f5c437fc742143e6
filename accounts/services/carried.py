"""Sanctions that go with a number: who is slowed down or limited, ends the account, or moves it to another number, and registers
the number anew is slowed down or limited still; and what a trigger did is a step of the ladder (``services/abuse.py``) still,
also when it is over. What is decided behind that, bans too, comes here as well (``services/late.py``).

Kept is a keyed hash of the number, until the sanction ends and is no step of the ladder any more, and no longer than a silent
account would keep the number: from then on whoever has it counts as somebody else (``recycling.changed_hands``). Called in the
transactions in which accounts end and numbers are taken, with the account locked.
"""

from __future__ import annotations

from typing import Any, Final

from django.conf import settings
from django.db.models import Q, QuerySet

from accounts.limits import DAY_MS
from accounts.locks import lock_hash
from accounts.models import Account, CarriedSanction, Sanction
from accounts.services import persons, sanctions
from accounts.services.sanctions import AUTOMATIC, BANS, CLASS_OF
from whatsapp.infra.clock import now_ms
from whatsapp.infra.limits import LIMITS

#: Nothing leads to who had the number.
_CARRIED: Final[dict[str, Any]] = {"carried": True}


#: Steps of the ladder that are kept of one account, the last ones.
_STEPS: Final = 10


def keep(*, account: Account, now: int) -> None:
    """The account ends, or moves to another number; it has the one of before still."""
    if not account.phone:
        return
    held = [one for one in sanctions.in_force_of(account.pk, now=now) if one.kind in CLASS_OF]
    for one in [*held, *_steps(account, now)]:
        keep_one(one, phone=account.phone, ended_at=now)


def keep_one(sanction: Sanction, *, phone: str, ended_at: int) -> None:
    """For whoever gets the number that the account had until ``ended_at`` (ms)."""
    most = ended_at + LIMITS.recycled_after_days * DAY_MS
    until = most if sanction.until is None else sanction.until
    if sanction.imposed_by == AUTOMATIC and sanction.step is not None:
        until = max(until, sanction.imposed_at + settings.ABUSE_MEMORY_MS)
    CarriedSanction.objects.update_or_create(
        sanction=sanction.pk,
        number=persons.number_hashes(phone)[0],
        defaults={
            "kind": sanction.kind,
            "reason": sanction.reason,
            "imposed_at": sanction.imposed_at,
            "imposed_by": sanction.imposed_by,
            "step": sanction.step,
            "until": sanction.until,
            "of_two": "approval" in sanction.evidence,
            "kept_until": min(until, most),
        },
    )


def lock(phone: str) -> None:
    """Until the end of the transaction nobody else takes over what is kept for the number, and nothing that was decided late is
    kept for it. Taken before the row of any account that has the number or gets it, so that nobody waits in a circle."""
    lock_hash(persons.number_hashes(phone)[0])


def come_back(*, account: Account, phone: str) -> None:
    """The account moves to a number that it may have had before: what it was sanctioned for itself is kept for nobody there."""
    own = Sanction.objects.filter(account=account).values("pk")
    CarriedSanction.objects.filter(number__in=persons.number_hashes(phone), sanction__in=own).delete()


def bans(phone: str, *, now: int) -> bool:
    """Whether a ban waits for whoever gets the number. Call it behind :func:`lock`."""
    return _kept(phone, now).filter(Q(until=None) | Q(until__gt=now), kind__in=list(BANS)).exists()


def _kept(phone: str, now: int) -> QuerySet[CarriedSanction]:
    return CarriedSanction.objects.filter(number__in=persons.number_hashes(phone), kept_until__gt=now)


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


def take_over(*, account: Account, now: int, but_bans: bool = False) -> None:
    """The account has its number: it gets what was kept for that, each as a sanction of its own that can be appealed against, and
    what is over as one that is over. What it got is kept no longer. It may be banned behind this, unless ``but_bans`` leaves
    those for the next one. Call it behind :func:`lock`."""
    if not account.phone:
        return
    rows = _kept(account.phone, now)
    if but_bans:
        rows = rows.exclude(kind__in=list(BANS))
    for row in rows.select_for_update().order_by("imposed_at", "pk"):
        # The clock again: who waited for a lock may have come before the end, and is behind it now.
        if row.until is not None and row.until <= max(now, now_ms()):
            _remember(account, row, now)
        else:
            sanctions.impose(
                account_id=account.pk,
                kind=row.kind,
                reason=row.reason,
                evidence={**_CARRIED, **({"approval": True} if row.of_two else {})},
                until=row.until,
                by=row.imposed_by,
                step=row.step,
                carried_from=row.sanction,
            )
        row.delete()
        account.refresh_from_db(fields=["limit_class", "banned_until"])


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
