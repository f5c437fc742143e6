from __future__ import annotations

from django.db import models


class Backups(models.Model):
    """What the archive of ``./dev up --backups`` says it has (``devtools/archiver.py``): one row, none where it never ran."""

    id = models.SmallIntegerField(primary_key=True, default=1)
    looked_at = models.BigIntegerField(help_text="when it had everything last")
    newest_at = models.BigIntegerField(help_text="end of the newest base backup")
    oldest_at = models.BigIntegerField(help_text="end of the oldest one that is kept")
    number = models.IntegerField(help_text="base backups that are kept")
    sealed = models.BooleanField(help_text="whether their age ends them, by their keys")

    class Meta:
        verbose_name = verbose_name_plural = "backups"
        default_permissions = ()
        constraints = [models.CheckConstraint(condition=models.Q(id=1), name="staff_backups_one")]

    def __str__(self) -> str:
        return f"{self.number} base backups"
