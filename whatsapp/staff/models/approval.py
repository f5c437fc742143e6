from __future__ import annotations

from django.conf import settings
from django.db import models

from accounts.models.account import new_id


class Approval(models.Model):
    """Something that two people of the staff decide together: one asks, another one approves (``whatsapp.staff.approvals``).

    Rows stay, as the history of what was asked. Who asked is kept by name as well: the row outlives the member of staff.
    """

    class State(models.TextChoices):
        WAITING = "waiting"
        APPROVED = "approved"
        REJECTED = "rejected"
        WITHDRAWN = "withdrawn"  # by who asked
        EXPIRED = "expired"

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    kind = models.CharField(max_length=64)
    subject = models.CharField(max_length=200, help_text="what it is about: the id of an object")
    payload = models.JSONField(default=dict, help_text="what the handler needs; no personal data")
    reason = models.CharField(max_length=500)
    state = models.CharField(max_length=16, choices=State.choices, default=State.WAITING)
    asked_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.SET_NULL, null=True, related_name="+"
    )
    asked_name = models.CharField(max_length=150)
    asked_at = models.BigIntegerField()
    expires_at = models.BigIntegerField()
    decided_name = models.CharField(max_length=150, blank=True, default="")
    decided_at = models.BigIntegerField(null=True, blank=True)
    decision = models.CharField(max_length=500, blank=True, default="", help_text="why it was decided so")

    class Meta:
        default_permissions = ("view",)
        constraints = [
            models.UniqueConstraint(
                fields=["kind", "subject"],
                condition=models.Q(state="waiting"),
                name="staff_approval_one_waiting",
            )
        ]
        indexes = [
            models.Index(
                fields=["expires_at"], condition=models.Q(state="waiting"), name="staff_approval_waiting"
            ),
            models.Index(fields=["-asked_at"], name="staff_approval_newest"),
        ]

    def __str__(self) -> str:
        return f"approval {self.pk}"
