from __future__ import annotations

from django.db import models

from accounts.models.account import new_id
from accounts.models.device import Device


class RefreshToken(models.Model):
    """One link of a chain: each use makes the next token of the same family (RFC 9700, section 4.14.2).

    A token used twice was copied: its family is revoked and the device's session ends. Only SHA-256 of the token is stored;
    it has 256 random bits, so nothing slower is needed.
    """

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    device = models.ForeignKey(Device, on_delete=models.CASCADE, related_name="refresh_tokens")
    family = models.UUIDField(db_index=True)
    token_hash = models.BinaryField(max_length=32, unique=True)
    created_at = models.BigIntegerField()
    expires_at = models.BigIntegerField(db_index=True)
    used_at = models.BigIntegerField(null=True)
    revoked_at = models.BigIntegerField(null=True)

    def __str__(self) -> str:
        return str(self.id)
