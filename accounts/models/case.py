from __future__ import annotations

from typing import Final

from django.db import models

from accounts.models.account import new_id


class Case(models.Model):
    """What moderators decide about one subject: everything reported of it, or seen by a trigger, since the last decision."""

    class Subject(models.TextChoices):
        USER = "user"
        GROUP = "group"
        MEDIA = "media"

    class State(models.TextChoices):
        OPEN = "open"
        CLAIMED = "claimed"
        WAITING = "waiting"  # for a second person
        CLOSED = "closed"

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    subject_kind = models.CharField(max_length=8, choices=Subject.choices)
    subject = models.UUIDField()
    #: Higher is more urgent (``accounts/services/cases.py``).
    priority = models.IntegerField(default=0)
    state = models.CharField(max_length=8, choices=State.choices, default=State.OPEN)
    category = models.CharField(max_length=32, help_text="the gravest that was reported")
    report_count = models.PositiveIntegerField(default=0)
    flagged_at = models.BigIntegerField(null=True, blank=True, help_text="ten reports within 24 hours")
    opened_at = models.BigIntegerField()
    due_at = models.BigIntegerField(help_text="when it should be decided")
    claimed_by = models.CharField(max_length=150, blank=True, default="")
    claimed_at = models.BigIntegerField(null=True, blank=True)
    closed_at = models.BigIntegerField(null=True, blank=True)
    closed_by = models.CharField(max_length=150, blank=True, default="")
    outcome = models.CharField(max_length=32, blank=True, default="")
    outcome_reason = models.CharField(max_length=500, blank=True, default="")

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["subject_kind", "subject"],
                condition=~models.Q(state="closed"),
                name="accounts_case_one_open",
            )
        ]
        indexes = [
            models.Index(
                fields=["-priority", "due_at", "id"],
                condition=~models.Q(state="closed"),
                name="accounts_case_queue",
            ),
            models.Index(fields=["subject", "-opened_at"], name="accounts_case_subject"),
            models.Index(fields=["-closed_at"], name="accounts_case_closed"),
        ]

    def __str__(self) -> str:
        return f"case {self.pk}"


#: What a case, or a report, is about, the gravest last.
CATEGORIES: Final = (
    "other",
    "spam",
    "impersonation",
    "fraud",
    "harassment",
    "hate",
    "violence",
    "self_harm",
    "child_safety",
)
