from __future__ import annotations

from django.db import models

from accounts.models.account import new_id


class Consent(models.Model):
    """Somebody has agreed to a version of a document, and perhaps taken that back (``services/consents.py``). Rows are history:
    who agrees again gets another one."""

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    account = models.ForeignKey("Account", on_delete=models.CASCADE, related_name="consents")
    document = models.CharField(max_length=32, help_text="terms, or a purpose")
    version = models.CharField(max_length=64)
    given_at = models.BigIntegerField()
    withdrawn_at = models.BigIntegerField(null=True, blank=True)
    #: Devices by their ids alone: they are unlinked, the history stays.
    device = models.UUIDField(null=True, help_text="with which it was given")
    withdrawn_with = models.UUIDField(null=True)

    class Meta:
        default_permissions = ("view",)
        constraints = [
            models.UniqueConstraint(
                fields=["account", "document", "version"],
                condition=models.Q(withdrawn_at__isnull=True),
                name="accounts_consent_once",
            )
        ]
        indexes = [models.Index(fields=["account", "-given_at"], name="accounts_consent_newest")]

    def __str__(self) -> str:
        return f"consent {self.pk}"
