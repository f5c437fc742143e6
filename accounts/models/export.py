from __future__ import annotations

import uuid

from django.db import models


class Export(models.Model):
    """An archive of what is held about a person, made for that person (``services/exports.py``)."""

    class State(models.TextChoices):
        WAITING = "waiting"
        READY = "ready"
        EXPIRED = "expired"  # its file is gone, or was never made in time

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    account = models.ForeignKey("Account", on_delete=models.CASCADE, related_name="exports")
    state = models.CharField(max_length=8, choices=State.choices, default=State.WAITING)
    asked_at = models.BigIntegerField()
    #: Nobody else works on it until then; whoever does renews it.
    leased_until = models.BigIntegerField(default=0)
    worker = models.UUIDField(null=True)
    attempts = models.PositiveSmallIntegerField(default=0)
    size = models.BigIntegerField(default=0)
    ready_at = models.BigIntegerField(null=True)
    expires_at = models.BigIntegerField(help_text="from then on the file is gone, ms")

    class Meta:
        default_permissions = ("view",)
        constraints = [
            models.UniqueConstraint(
                fields=["account"], condition=models.Q(state="waiting"), name="accounts_export_one_waiting"
            )
        ]
        indexes = [
            models.Index(fields=["account", "-asked_at"], name="accounts_export_newest"),
            models.Index(
                fields=["expires_at"], condition=~models.Q(state="expired"), name="accounts_export_expiry"
            ),
            models.Index(
                fields=["leased_until"], condition=models.Q(state="waiting"), name="accounts_export_waiting"
            ),
        ]

    def __str__(self) -> str:
        return f"export {self.pk}"
