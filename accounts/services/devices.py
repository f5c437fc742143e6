"""Linking and unlinking devices, here and in the engine in one transaction."""

from __future__ import annotations

import uuid
from typing import Literal

from django.db import transaction
from django.db.models import F
from django.db.models.lookups import IsNull

from accounts import endings, events
from accounts.errors import Refused
from accounts.limits import limit_for
from accounts.models import Account, Device, RefreshToken
from accounts.services import prekeys
from delivery.store.sync import store
from whatsapp.infra.clock import now_ms
from whatsapp.wire.errors import Code

#: By another device of the user, by itself, for not being used, by staff; "ended": with its account.
Reason = Literal["removed", "logout", "idle", "staff", "ended"]


def check_room(*, account: Account) -> int:
    """How many devices an account has whose row the caller has locked. Raises :class:`Refused` (``limit_exceeded``) when there
    is no room for another."""
    count = Device.objects.filter(user=account, unlinked_at=None).count()
    most = limit_for(account, "devices_per_user")
    if count >= most:
        raise Refused(
            Code.LIMIT_EXCEEDED,
            f"An account has at most {most} devices; remove one first.",
            details={"limit": most},
        )
    return count


def link_device(
    *,
    account: Account,
    name: str,
    registration_id: int | None,
    now: int,
    installation: bytes | None = None,
    linked_by: Device | None = None,
    history_since: int = 0,
) -> Device:
    """A new device of an account whose row the caller has locked. The first is primary.

    ``linked_by``: the device that let it in; ``history_since``: it is owed what was said since then (ms), 0: what comes from
    now on. Raises :class:`Refused` (``limit_exceeded``).
    """
    count = check_room(account=account)
    device = Device.objects.create(
        user=account,
        name=name,
        primary=count == 0,
        registration_id=registration_id,
        installation=installation,
        linked_by=linked_by,
        linked_at=now,
        last_seen_at=now,
        session_from=now,
    )
    store.link_device(str(account.pk), str(device.pk), now, history_since)
    if count:
        data: dict[str, str | int] = {"deviceId": str(device.pk), "name": name, "at": now}
        if linked_by is not None:
            data["linkedBy"] = str(linked_by.pk)
        events.notice(user_id=str(account.pk), kind="device_linked", data=data)
    return device


def unlink_device(
    *, account: Account, device_id: uuid.UUID, reason: Reason = "removed", by: Device | None = None
) -> None:
    """Remove a device: its tokens are void, its socket closes, its backlog ends, the user's other devices are told. The oldest
    one left becomes primary, of those on which the number was verified if there are any.

    ``by``: the device that asks for it. Raises :class:`Refused`: ``not_found`` (the account has no such linked device),
    ``forbidden`` (one that was let in by a code would take the place of the primary one).
    """
    now = now_ms()
    with transaction.atomic():
        # The account's row serializes linking and unlinking, so there is one primary and the limit holds.
        Account.objects.select_for_update().get(pk=account.pk)
        device = (
            Device.objects.select_for_update().filter(pk=device_id, user=account, unlinked_at=None).first()
        )
        if device is None:
            raise Refused(Code.NOT_FOUND, "You have no such device.")
        if device.primary and by is not None and by.linked_by_id is not None and by.pk != device.pk:
            raise Refused(
                Code.FORBIDDEN,
                "Verify the number on another device, and remove the primary device from there.",
            )
        was_primary = device.primary
        end_device(device=device, now=now, reason=reason)
        tell_removed(device=device)
        if was_primary:
            # Rather one on which the number was verified than one that was let in by a code.
            heir = (
                Device.objects.filter(user=account, unlinked_at=None)
                .order_by(IsNull(F("linked_by"), False), "linked_at", "pk")
                .first()
            )
            if heir is not None:
                heir.primary = True
                heir.save(update_fields=["primary"])


def end_device(*, device: Device, now: int, reason: Reason) -> None:
    """Unlink a device, here and in the engine, and name no other one primary. Call it inside a transaction that has locked
    the account and the device."""
    device.primary, device.unlinked_at, device.unlinked_for = False, now, reason
    device.save(update_fields=["primary", "unlinked_at", "unlinked_for"])
    RefreshToken.objects.filter(device=device).delete()
    store.unlink_device(str(device.user_id), str(device.pk), now)
    prekeys.forget(device=device)
    endings.session_ended(str(device.pk))
    events.device_removed(user_id=str(device.user_id), device_id=str(device.pk))


def tell_removed(*, device: Device) -> None:
    """The notice to the user's other devices; who is not connected is told at its next connect (``accounts/news.py``)."""
    events.notice(
        user_id=str(device.user_id),
        kind="device_removed",
        data={
            "deviceId": str(device.pk),
            "name": device.name,
            "reason": device.unlinked_for,
            "at": device.unlinked_at,
        },
        but=str(device.pk),
    )
