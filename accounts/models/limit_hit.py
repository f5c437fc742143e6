from __future__ import annotations

from django.db import models


class LimitHit(models.Model):
    """One counted event of a limit that guards money or accounts (``accounts/limits.py``).

    ``subject`` is a keyed hash of a number, address or id: the table tells nobody who did what.
    """

    scope = models.CharField(max_length=32)
    subject = models.BinaryField(max_length=32)
    at = models.BigIntegerField(db_index=True)

    class Meta:
        indexes = [models.Index(fields=["scope", "subject", "at"], name="accounts_limit_hit")]

    def __str__(self) -> str:
        return f"{self.scope} at {self.at}"
