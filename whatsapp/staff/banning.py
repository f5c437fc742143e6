"""Bans by staff, and their ends: one person decides about up to ``STAFF_BAN_DAYS`` days, two about longer ones and about the end
of what two have decided (``approvals.py``), wherever in the admin the button is.

Each deed returns what became of it: True, False (there was nothing to do), or :data:`ASKED`. Whether somebody may ask is the
caller's check; whether they may approve, that of the approval.
"""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from typing import Any, Final

from django.conf import settings
from django.contrib.auth.models import User
from django.db import transaction

from accounts.errors import Refused
from accounts.installations import lock
from accounts.limits import DAY_MS
from accounts.models import Account, Device, InstallationBan, Sanction
from accounts.services import bans, cases, sanctions
from whatsapp.infra.clock import now_ms
from whatsapp.staff import approvals, audit, fresh_eyes
from whatsapp.staff.approvals import Named
from whatsapp.staff.models import Approval
from whatsapp.staff.times import shown

#: Said to who asks.
ASKED: Final = "A second person has to agree now: it waits under “Second person”."
SECOND: Final = "staff.approve_ban"

BAN: Final = "account.long_ban"  # subject: the account
LIFT_ALL: Final = "account.lift_bans"
LIFT: Final = "sanction.lift"  # subject: the sanction
GRANT: Final = "sanction.grant_appeal"
BAN_DEVICE: Final = "device.long_ban"  # subject: the device
LIFT_DEVICE: Final = "device.lift_ban"


def of_two(sanction: Sanction) -> bool:
    """Whether it is a ban in force that two have decided."""
    decided = sanction.kind == Sanction.Kind.PERMANENT or "approval" in sanction.evidence
    return decided and sanction.kind in sanctions.BANS and sanction.in_force(now_ms())


def ban(account: Account, by: User, days: int, reason: str) -> bool | str:
    if days > settings.STAFF_BAN_DAYS:
        return _ask(BAN, account.pk, by, reason, days=days)
    _ban(account, by, days, reason, {})
    return True


def lift_all(account: Account, by: User, reason: str) -> bool | str:
    """End every ban of an account."""
    with transaction.atomic():
        _lock(account.pk)
        if not any(map(of_two, sanctions.in_force_of(account.pk, now=now_ms()))):
            return _lift_all(account, by, reason)
    return _ask(LIFT_ALL, account.pk, by, reason)


def lift(sanction: Sanction, by: User, reason: str) -> bool | str:
    if of_two(sanction):
        return _ask(LIFT, sanction.pk, by, reason) if sanction.lifted_at is None else False
    return _lift(sanction, by, reason)


def decide_appeal(sanction: Sanction, by: User, reason: str, *, grant: bool) -> bool | str:
    """Turned down by one person; granting lifts the sanction, and overturns the decision of its case. By somebody else than who
    has decided it (``fresh_eyes.py``)."""
    if fresh_eyes.needed(sanction, by):
        return fresh_eyes.OWN
    with transaction.atomic():
        cases.hold_of(sanction)
        _lock(sanction.account_id)
        # Its owner may ask at this moment.
        found = Sanction.objects.select_for_update().get(pk=sanction.pk)
        if not (grant and found.appeal == Sanction.Appeal.ASKED and of_two(found)):
            return _decide(found, by, reason, grant=grant)
    return _ask(GRANT, sanction.pk, by, reason)


def ban_device(device: Device, by: User, days: int, reason: str) -> bool | str:
    """A device has one ban: that of two is not made shorter by one."""
    with transaction.atomic():
        device = _lock_device(device)
        if days <= settings.STAFF_BAN_DAYS and not device_of_two(device):
            _ban_device(device, by, days, reason)
            return True
    return _ask(BAN_DEVICE, device.pk, by, reason, days=days)


def lift_device(device: Device, by: User, reason: str) -> bool | str:
    with transaction.atomic():
        device = _lock_device(device)
        if device.banned_until is None:
            return False
        if not device_of_two(device):
            _lift_device(device, by, reason)
            return True
    return _ask(LIFT_DEVICE, device.pk, by, reason)


def device_of_two(device: Device) -> bool:
    """Whether two have banned the installation that is behind it, also if this device was unlinked before. What they decided
    about it last counts."""
    now, same, ban = now_ms(), [str(device.pk)], None
    if device.installation is not None:
        ban = InstallationBan.objects.filter(installation=device.installation, until__gt=now).first()
        if ban is not None and ban.of_two:
            return True
        # Of one that was banned by an earlier version.
        known = Device.objects.filter(installation=device.installation)
        same = [str(pk) for pk in known.values_list("pk", flat=True)]
    if ban is None and not device.is_banned(now):
        return False
    decided = Approval.objects.filter(
        kind__in=(BAN_DEVICE, LIFT_DEVICE), subject__in=same, state=Approval.State.APPROVED
    )
    last = decided.order_by("-decided_at").first()
    return last is not None and last.kind == BAN_DEVICE


# -- deeds ----------------------------------------------------------------------------------------------------------------


def _lock(account_id: uuid.UUID) -> None:
    """Until the end of the transaction no second person decides about the account. Nothing is asked under it: what is asked may
    wait for what is being decided, and that for this."""
    Account.objects.select_for_update(no_key=True).filter(pk=account_id).first()


def _lock_device(device: Device) -> Device:
    """As :func:`_lock`; the device as it is now. In the order of :mod:`accounts.services.bans`."""
    lock(bytes(device.installation) if device.installation is not None else None)
    return Device.objects.select_for_update().get(pk=device.pk)


def _ask(kind: str, subject: uuid.UUID, by: User, reason: str, **payload: Any) -> str:
    try:
        approvals.ask(kind, str(subject), payload, by, reason)
    except approvals.Refusal as refusal:
        return str(refusal)
    return ASKED


def _ban(account: Account, by: User, days: int, reason: str, evidence: dict[str, Any]) -> None:
    until = now_ms() + days * DAY_MS
    with transaction.atomic():
        sanctions.impose(
            account_id=account.pk, kind=Sanction.Kind.SUSPENSION, reason="by_hand", evidence=evidence, until=until,
            by=by.get_username(),
        )  # fmt: skip
        message = f"Banned until {shown(until)}: {reason}"
        audit.record(by=by, on=account, action="account.banned", message=message)


def _lift_all(account: Account, by: User, reason: str) -> bool:
    with transaction.atomic():
        if not sanctions.lift_bans(account_id=account.pk, by=by.get_username(), reason=reason):
            return False
        audit.record(by=by, on=account, action="account.ban_lifted", message=f"Ban lifted: {reason}")
    return True


def _lift(sanction: Sanction, by: User, reason: str) -> bool:
    with transaction.atomic():
        if not sanctions.lift(sanction=sanction, by=by.get_username(), reason=reason):
            return False
        audit.record(by=by, on=sanction, action="sanction.lifted", message=f"Lifted: {reason}")
    return True


def _decide(sanction: Sanction, by: User, reason: str, *, grant: bool) -> bool:
    try:
        with transaction.atomic():
            case = cases.hold_of(sanction)
            sanctions.decide_appeal(sanction=sanction, by=by.get_username(), grant=grant, reason=reason)
            said = "granted" if grant else "not granted"
            audit.record(by=by, on=sanction, action="appeal.decided", message=f"Appeal {said}: {reason}")
            if grant and case is not None and cases.overturn(case, sanction, f"appeal granted: {reason}"):
                audit.record(
                    by=by, on=case, action="case.overturned", message=f"Overturned by an appeal: {reason}"
                )
    except Refused:
        return False
    return True


def _ban_device(device: Device, by: User, days: int, reason: str, *, of_two: bool = False) -> None:
    until = now_ms() + days * DAY_MS
    with transaction.atomic():
        bans.ban_device(device=device, until=until, of_two=of_two)
        message = f"Device banned until {shown(until)}: {reason}"
        audit.record(by=by, on=device, action="device.banned", message=message)


def _lift_device(device: Device, by: User, reason: str) -> None:
    with transaction.atomic():
        bans.lift_device(device=device)
        audit.record(by=by, on=device, action="device.ban_lifted", message=f"Device ban lifted: {reason}")


# -- the second person ----------------------------------------------------------------------------------------------------


def _find(model: Any, approval: Approval) -> Any:
    found = model.objects.filter(pk=approval.subject).first() if approval.subject else None
    if found is None:
        raise approvals.Refusal("What it is about is gone.")
    return found


def _carry_out(approval: Approval, by: User) -> None:
    reason, kind, done = approval.reason, approval.kind, True
    try:
        if kind == BAN:
            evidence = {"approval": str(approval.pk)}
            _ban(_find(Account, approval), by, approval.payload["days"], reason, evidence)
        elif kind == LIFT_ALL:
            done = _lift_all(_find(Account, approval), by, reason)
        elif kind == LIFT:
            done = _lift(_find(Sanction, approval), by, reason)
        elif kind == GRANT:
            done = _decide(_find(Sanction, approval), by, reason, grant=True)
        elif kind == BAN_DEVICE:
            _ban_device(_find(Device, approval), by, approval.payload["days"], reason, of_two=True)
        else:
            _lift_device(_find(Device, approval), by, reason)
    except Refused as refused:
        raise approvals.Refusal(str(refused)) from None
    if not done:
        raise approvals.Refusal("Somebody has done that already.")


def _about(found: Sequence[Approval]) -> dict[uuid.UUID, list[Named]]:
    """Whose it is, and what of theirs, where the subject is no account."""
    subjects = {each.pk: uuid.UUID(each.subject) for each in found}
    devices = Device.objects.in_bulk(
        [subjects[each.pk] for each in found if each.kind in (BAN_DEVICE, LIFT_DEVICE)]
    )
    imposed = Sanction.objects.in_bulk([subjects[each.pk] for each in found if each.kind in (LIFT, GRANT)])
    said: dict[uuid.UUID, list[Named]] = {}
    for each in found:
        subject = subjects[each.pk]
        if device := devices.get(subject):
            what = Named("Device", device.name or str(subject), "accounts_device_change", str(subject))
            said[each.pk] = [what, approvals.user_named(device.user_id)]
        elif sanction := imposed.get(subject):
            text = f"{sanction.get_kind_display()}, {shown(sanction.imposed_at)} UTC"
            what = Named("Sanction", text, "accounts_sanction_change", str(subject))
            said[each.pk] = [what, approvals.user_named(sanction.account_id)]
        elif each.kind in (BAN, LIFT_ALL):
            said[each.pk] = [approvals.user_named(subject)]
    return said


def _details(approval: Approval) -> list[tuple[str, str]]:
    """For how long."""
    days = approval.payload.get("days")
    return [("Days", f"{days:,}, from the approval on")] if days else []


def register() -> None:
    """Called once, at start."""
    users, imposed, devices = "accounts.change_account", "accounts.change_sanction", "accounts.change_device"
    for kind, asks, title in (
        (BAN, users, "Ban a user for long"),
        (LIFT_ALL, users, "Lift a ban that two decided"),
        (LIFT, imposed, "Lift a sanction that two decided"),
        (GRANT, imposed, "Grant the appeal against what two decided"),
        (BAN_DEVICE, devices, "Ban a device for long"),
        (LIFT_DEVICE, devices, "Lift a device's ban that two decided"),
    ):
        approvals.register(kind, _carry_out, SECOND, asks=asks, title=title, about=_about, details=_details)
