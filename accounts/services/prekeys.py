"""Keys of devices for end-to-end encryption: what a device leaves here for others."""

from __future__ import annotations

from accounts import events
from accounts.models import Device, DeviceKeys, Prekey


def forget(*, device: Device) -> None:
    """A device has ended, or its private keys have: nobody gets its keys any more. Call it inside a transaction that has locked
    the account."""
    Prekey.objects.filter(device=device).delete()
    deleted, _ = DeviceKeys.objects.filter(device=device).delete()
    if deleted:
        events.devices_changed(user_id=str(device.user_id))
