"""The end of a legal hold takes two: one asks, another one approves (``whatsapp.staff.approvals``)."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from typing import Final

from django.contrib.auth.models import User
from django.db import transaction

from accounts.errors import Refused
from accounts.models import Account, LegalHold
from accounts.services import holds
from whatsapp.infra.clock import now_ms
from whatsapp.staff import approvals, audit
from whatsapp.staff.approvals import Named
from whatsapp.staff.models import Approval
from whatsapp.staff.times import shown

#: The kind of approval; its subject is the hold.
RELEASE: Final = "holds.release"
PLACE_PERMISSION: Final = "accounts.place_hold"
RELEASE_PERMISSION: Final = "accounts.release_hold"


def register() -> None:
    """Called once, at start."""
    approvals.register(
        RELEASE,
        _approved,
        RELEASE_PERMISSION,
        asks=PLACE_PERMISSION,
        title="End of a legal hold",
        about=_about,
        details=_details,
    )


def ask(hold: LegalHold, by: User, reason: str) -> Approval:
    """Raises :class:`approvals.Refusal`."""
    if hold.released_at is not None:
        raise approvals.Refusal("This hold is released already.")
    return approvals.ask(RELEASE, str(hold.pk), {}, by, reason)


def asked_for(hold: LegalHold) -> Approval | None:
    """What waits for the second person, if somebody has asked for its end."""
    waiting = Approval.objects.filter(kind=RELEASE, subject=str(hold.pk), state=Approval.State.WAITING)
    return waiting.filter(expires_at__gt=now_ms()).first()


def _approved(approval: Approval, by: User) -> None:
    hold = LegalHold.objects.filter(pk=approval.subject).first()
    if hold is None:
        raise approvals.Refusal("The hold is gone.")
    try:
        with transaction.atomic():
            holds.release(hold=hold, by=by.get_username(), reason=approval.reason)
            audit.record(
                by=by, on=hold, action="hold.released", message=f"Legal hold released: {approval.reason}"
            )
    except Refused as refused:
        raise approvals.Refusal(refused.message) from None


def _about(found: Sequence[Approval]) -> dict[uuid.UUID, list[Named]]:
    """The hold by its reference, and whose it is; who is erased has a random id."""
    known = LegalHold.objects.in_bulk([uuid.UUID(each.subject) for each in found])
    users = set(
        Account.objects.filter(pk__in=[hold.user for hold in known.values()]).values_list("pk", flat=True)
    )
    said: dict[uuid.UUID, list[Named]] = {}
    for each in found:
        if hold := known.get(uuid.UUID(each.subject)):
            whose = approvals.user_named(hold.user) if hold.user in users else Named("User", "erased")
            said[each.pk] = [Named("Hold", hold.matter, "accounts_legalhold_change", str(hold.pk)), whose]
    return said


def _details(approval: Approval) -> list[tuple[str, str]]:
    hold = LegalHold.objects.filter(pk=approval.subject).first()
    if hold is None:
        return [("Hold", "gone")]
    return [
        ("Placed", f"{shown(hold.placed_at)} UTC by {hold.placed_by}"),
        (
            "Other holds",
            "yes" if holds.in_force().filter(user=hold.user).exclude(pk=hold.pk).exists() else "no",
        ),
    ]
