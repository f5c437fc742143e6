from __future__ import annotations

from django.db import models


class LimitOverride(models.Model):
    """Another value of one limit (a name of ``whatsapp.infra.limits.Limits``) for one account, or for a class of accounts
    (``Account.limit_class``). That of the account goes before that of its class."""

    class Scope(models.TextChoices):
        USER = "user"
        CLASS = "class"

    scope = models.CharField(max_length=8, choices=Scope.choices)
    subject = models.CharField(max_length=36, help_text="the id of an account, or the name of a class")
    name = models.CharField(max_length=64, help_text="the limit")
    value = models.BigIntegerField()
    until = models.BigIntegerField(null=True, blank=True, help_text="ms; empty: for good")
    reason = models.CharField(max_length=500)
    made_by = models.CharField(max_length=150, help_text="who of the staff, or 'automatic'")
    created_at = models.BigIntegerField()

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["scope", "subject", "name"], name="accounts_limit_override_once")
        ]

    def __str__(self) -> str:
        return f"{self.name} of {self.scope} {self.subject}"
