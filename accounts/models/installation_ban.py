from __future__ import annotations

from django.db import models


class InstallationBan(models.Model):
    """An installation of a client that may not register (``accounts/installations.py``); the id itself is not stored."""

    installation = models.BinaryField(max_length=32, primary_key=True)  # keyed hash
    until = models.BigIntegerField()
    created_at = models.BigIntegerField()
    #: Two of the staff have decided it, so it takes two to end it. Here, as their approval names a device, which may be gone.
    of_two = models.BooleanField(default=False, db_default=False)

    def __str__(self) -> str:
        return f"installation ban until {self.until}"
