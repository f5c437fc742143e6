"""The second factor of staff: an authenticator app (TOTP, RFC 6238) and single-use backup codes.

Not django-otp's own plugins: they keep the key and the codes readable, so a copy of the database alone would be enough to
pass. Here the key is encrypted and the codes are hashed, both under ``SECRET_KEY`` (``whatsapp.staff.second_factor``).
"""

from __future__ import annotations

from django.conf import settings
from django.db import models
from django_otp.models import Device


class Authenticator(Device):
    """At most one a member of staff. Only :mod:`whatsapp.staff.second_factor` reads ``secret``."""

    secret = models.BinaryField(max_length=128)
    last_step = models.BigIntegerField(default=-1, help_text="time step of the last accepted code")
    created_at = models.BigIntegerField()

    class Meta:
        default_permissions = ()
        constraints = [models.UniqueConstraint(fields=["user"], name="staff_authenticator_once")]

    def __str__(self) -> str:
        return f"authenticator {self.pk}"


class BackupCode(models.Model):
    """One code; the row goes when it is used."""

    user = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="+")
    digest = models.BinaryField(max_length=32)

    class Meta:
        default_permissions = ()
        constraints = [models.UniqueConstraint(fields=["user", "digest"], name="staff_backup_code_once")]

    def __str__(self) -> str:
        return f"backup code {self.pk}"
