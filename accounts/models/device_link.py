from __future__ import annotations

import uuid

from django.db import models

from accounts.models.account import Account
from accounts.models.device import Device


class DeviceLink(models.Model):
    """A new device that asks to be linked by a code on its screen (``services/linking.py``); gone some minutes later.

    Two secrets, of which only SHA-256 is stored (256 random bits each): that of the code, with which the primary device
    answers, and that of the new device alone, with which it fetches its session.
    """

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    secret_hash = models.BinaryField(max_length=32)
    poll_hash = models.BinaryField(max_length=32)
    #: What the new device says of itself.
    name = models.CharField(max_length=100)
    registration_id = models.PositiveIntegerField(null=True)
    installation = models.BinaryField(max_length=32, null=True)  # keyed hash
    asker = models.BinaryField(max_length=32)  # keyed hash of the address that it asked from
    created_at = models.BigIntegerField()
    #: Until then it is approved, or once that was done, fetched.
    expires_at = models.BigIntegerField(db_index=True)

    #: Who answered, with which device.
    user = models.ForeignKey(Account, on_delete=models.CASCADE, null=True, related_name="+")
    approver = models.ForeignKey(Device, on_delete=models.CASCADE, null=True, related_name="+")
    history_days = models.PositiveSmallIntegerField(default=0)
    approved_at = models.BigIntegerField(null=True)
    rejected_at = models.BigIntegerField(null=True)
    #: What became of it. The session was given with it and is not given again.
    device = models.ForeignKey(Device, on_delete=models.CASCADE, null=True, related_name="+")

    def __str__(self) -> str:
        return f"device link of {self.created_at}"
