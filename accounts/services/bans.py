"""How a ban works: of an account, or of a device whatever account it signs in to. Why an account is banned, and for how long, is
in ``sanctions.py``.

They are reversible and lose nothing: devices stay linked, messages wait. Tokens are refused while a ban lasts, and live sockets
get the error ``banned {until, appealUrl}`` and close 4403 within a second.
"""

from __future__ import annotations

from django.db import transaction

from accounts import events
from accounts.installations import installation_hash, lock
from accounts.models import Account, Device, InstallationBan
from whatsapp.infra.clock import now_ms


def ban(*, account: Account, until: int, sanction: str = "") -> None:
    """Ban an account until a time (ms). ``sanction``: the id of what it is for, against which its owner can appeal."""
    with transaction.atomic():
        account.banned_until = until
        account.save(update_fields=["banned_until"])
        events.user_banned(user_id=str(account.pk), until=until, sanction=sanction)


def lift(*, account: Account) -> None:
    """End the ban of an account."""
    account.banned_until = None
    account.save(update_fields=["banned_until"])


def ban_device(*, device: Device, until: int, of_two: bool = False) -> None:
    """Ban the client that is behind a device until a time (ms): this device, and every other one that the same installation
    has linked to any account; and the installation can register nothing. ``of_two``: two of the staff have decided it."""
    with transaction.atomic():
        if device.installation is not None:
            _ban_installation(bytes(device.installation), until, of_two)
        Device.objects.filter(pk=device.pk).update(banned_until=until)
        device.banned_until = until
        events.device_banned(user_id=str(device.user_id), device_id=str(device.pk), until=until)


def lift_device(*, device: Device) -> None:
    """End the ban of a device and of its installation."""
    with transaction.atomic():
        if device.installation is not None:
            _lift_installation(bytes(device.installation))
        Device.objects.filter(pk=device.pk).update(banned_until=None)
        device.banned_until = None


def ban_installation(*, device_id: str, until: int) -> None:
    """Ban an installation by the ``deviceId`` that the client gives, for instance one named by another service; known or not.

    Raises ``ValueError`` when the id is empty.
    """
    installation = installation_hash(device_id)
    if installation is None:
        raise ValueError("an installation id is not empty")
    with transaction.atomic():
        _ban_installation(installation, until)


def lift_installation(*, device_id: str) -> None:
    installation = installation_hash(device_id)
    if installation is not None:
        with transaction.atomic():
            _lift_installation(installation)


def _ban_installation(installation: bytes, until: int, of_two: bool = False) -> None:
    lock(installation)  # a device that is being linked is not missed
    # Whoever makes one longer that two have decided makes it none of one.
    of_two = (
        of_two
        or InstallationBan.objects.filter(installation=installation, until__gt=now_ms(), of_two=True).exists()
    )
    InstallationBan.objects.update_or_create(
        installation=installation,
        defaults={"until": until, "of_two": of_two},
        create_defaults={"until": until, "of_two": of_two, "created_at": now_ms()},
    )
    # Locked in the order of their keys: an update alone takes them as it finds them.
    found = list(
        Device.objects.select_for_update().filter(installation=installation, unlinked_at=None).order_by("pk")
    )
    Device.objects.filter(pk__in=[device.pk for device in found]).update(banned_until=until)
    for device in found:
        events.device_banned(user_id=str(device.user_id), device_id=str(device.pk), until=until)


def _lift_installation(installation: bytes) -> None:
    InstallationBan.objects.filter(installation=installation).delete()
    Device.objects.filter(installation=installation).update(banned_until=None)
