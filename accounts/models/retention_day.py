from __future__ import annotations

from django.db import models


class RetentionDay(models.Model):
    """What became of one policy of the retention (``whatsapp/infra/retention.py``) on one day, UTC. Numbers alone."""

    policy = models.CharField(max_length=64)
    day = models.IntegerField(help_text="days since the epoch")
    purged = models.BigIntegerField(default=0)
    ran_at = models.BigIntegerField(null=True, help_text="when a job last looked, ms")
    overdue = models.IntegerField(null=True, help_text="what should have been gone, at the last check")
    checked_at = models.BigIntegerField(null=True)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["policy", "day"], name="accounts_retention_day_once")]
        default_permissions = ("view",)
        indexes = [models.Index(fields=["day"], name="accounts_retention_day")]

    def __str__(self) -> str:
        return f"{self.policy} on day {self.day}"
