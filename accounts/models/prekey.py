from __future__ import annotations

from django.db import models
from django.db.models import Q

from accounts.models.device import Device


class DeviceKeys(models.Model):
    """What a device gives out besides one-time prekeys. A device without this row takes no envelopes.

    Public keys are kept as they came (``accounts/curve.py`` says what they look like); the server holds no private key.
    """

    device = models.OneToOneField(Device, on_delete=models.CASCADE, primary_key=True, related_name="keys")
    signed_id = models.BigIntegerField()
    signed_key = models.BinaryField(max_length=33)
    signed_signature = models.BinaryField(max_length=64)
    signed_at = models.BigIntegerField()
    #: Post-quantum, given when the one-time ones are used up, again and again.
    last_id = models.BigIntegerField(null=True)
    last_key = models.BinaryField(max_length=1_569, null=True)
    last_signature = models.BinaryField(max_length=64, null=True)
    #: The device has given post-quantum keys before: it is told when they run out.
    post_quantum = models.BooleanField(default=False)
    #: It has been told that few are left, and has not brought more since.
    low = models.BooleanField(default=False)
    updated_at = models.BigIntegerField()

    def __str__(self) -> str:
        return f"keys of {self.pk}"


class Prekey(models.Model):
    """A one-time prekey. Once given out, the row stays for a while without the key, so that an upload that is repeated does not
    bring it back: nobody gets a key that somebody else got."""

    class Kind(models.IntegerChoices):
        CLASSIC = 1
        POST_QUANTUM = 2

    device = models.ForeignKey(Device, on_delete=models.CASCADE, related_name="prekeys")
    kind = models.SmallIntegerField(choices=Kind.choices)
    key_id = models.BigIntegerField()  # Signal's are unsigned, of 32 bits
    digest = models.BinaryField(max_length=32)  # SHA-256 of the public key
    public_key = models.BinaryField(max_length=1_569, null=True)
    signature = models.BinaryField(max_length=64, null=True)
    given_at = models.BigIntegerField(null=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["device", "kind", "key_id"], name="accounts_prekey_once")
        ]
        indexes = [
            models.Index(
                fields=["device", "kind", "id"], condition=Q(given_at=None), name="accounts_prekey_unused"
            ),
            models.Index(
                fields=["given_at"], condition=Q(given_at__isnull=False), name="accounts_prekey_given"
            ),
        ]

    def __str__(self) -> str:
        return f"prekey {self.pk}"
