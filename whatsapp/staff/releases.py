"""The end of a legal hold takes two: one asks, another one approves (``whatsapp.staff.approvals``)."""

from __future__ import annotations

from typing import Final

from django.contrib.auth.models import User
from django.db import transaction

from accounts.errors import Refused
from accounts.models import LegalHold
from accounts.services import holds
from whatsapp.infra.clock import now_ms
from whatsapp.staff import approvals, audit
from whatsapp.staff.models import Approval
from whatsapp.staff.times import shown

#: The kind of approval; its subject is the hold.
RELEASE: Final = "holds.release"
PLACE_PERMISSION: Final = "accounts.place_hold"
RELEASE_PERMISSION: Final = "accounts.release_hold"


def register() -> None:
    """Called once, at start."""
    approvals.register(RELEASE, _approved, RELEASE_PERMISSION, title="End of a legal hold", details=_details)


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


def _details(approval: Approval) -> list[tuple[str, str]]:
    hold = LegalHold.objects.filter(pk=approval.subject).first()
    if hold is None:
        return [("Hold", "gone")]
    return [
        ("User", str(hold.user)),
        ("Matter", hold.matter),
        ("Placed", f"{shown(hold.placed_at)} UTC by {hold.placed_by}"),
        (
            "Other holds",
            "yes" if holds.in_force().filter(user=hold.user).exclude(pk=hold.pk).exists() else "no",
        ),
    ]
