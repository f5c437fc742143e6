from __future__ import annotations

from django.db import models

from accounts.models.account import Account


class Pin(models.Model):
    """The PIN of an account, which has to be known besides the code of its number (``services/pins.py``). No row: none."""

    account = models.OneToOneField(Account, on_delete=models.CASCADE, primary_key=True, related_name="+")
    #: Argon2id over the HMAC of the PIN (``accounts/pin_hash.py``).
    hash = models.CharField(max_length=200)
    set_at = models.BigIntegerField()
    #: The device that set it: an answer that was lost is asked for again by the same one.
    set_by = models.UUIDField(null=True)
    #: When somebody last had the number's code and a wrong PIN.
    failed_at = models.BigIntegerField(null=True)

    def __str__(self) -> str:
        return f"PIN of {self.pk}"
