from __future__ import annotations

from django.db import models


class InstallationBan(models.Model):
    """An installation of a client that may not register (``accounts/installations.py``); the id itself is not stored."""

    installation = models.BinaryField(max_length=32, primary_key=True)  # keyed hash
    until = models.BigIntegerField()
    created_at = models.BigIntegerField()

    def __str__(self) -> str:
        return f"installation ban until {self.until}"
