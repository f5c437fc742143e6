from __future__ import annotations

from django.db import models


class VerificationCode(models.Model):
    """The one code of a number: a new one replaces the old. Never stored in clear.

    ``code_hash`` is HMAC-SHA256 under a key derived from ``SECRET_KEY``: a copy of the
    table alone cannot be searched for six digits.
    """

    phone = models.CharField(max_length=16, primary_key=True)
    code_hash = models.BinaryField(max_length=32)
    attempts = models.PositiveSmallIntegerField(default=0)  # wrong ones by who asked for it
    stranger_attempts = models.PositiveSmallIntegerField(default=0)  # wrong ones by others
    asker = models.BinaryField(max_length=32, default=bytes)  # keyed hash of the address that asked for it
    installation = models.BinaryField(max_length=32, null=True)  # of who asked for it, if it gave one
    created_at = models.BigIntegerField()
    expires_at = models.BigIntegerField(db_index=True)

    def __str__(self) -> str:
        return "verification code"
