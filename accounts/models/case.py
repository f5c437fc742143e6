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

    class Outcome(models.TextChoices):
        DISMISSED = "dismissed"  # nothing was wrong: counts against those who reported it
        UNPROVEN = "unproven"  # nobody can tell
        WARNED = "warned"
        SLOW_DOWN = "slow_down"
        LIMIT = "limit"
        SUSPENSION = "suspension"
        PERMANENT = "permanent"  # takes a second person
        CONTENT_BLOCKED = "content_blocked"
        GROUP_CLOSED = "group_closed"
        OVERTURNED = "overturned"  # an appeal was granted: counts for nobody

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    subject_kind = models.CharField(max_length=8, choices=Subject.choices)
    subject = models.UUIDField()
    #: Higher is more urgent (``accounts/services/cases.py``).
    priority = models.IntegerField(default=0)
    state = models.CharField(max_length=8, choices=State.choices, default=State.OPEN)
    category = models.CharField(max_length=32, help_text="the gravest that was reported")
    report_count = models.PositiveIntegerField(default=0)
    #: Sum over its reporters, each once, of what their word counts (hundredths).
    weight = models.PositiveIntegerField(default=0, db_default=0)
    #: What was reported of it was proven to be the subject's own words at least once.
    verified = models.BooleanField(default=False, db_default=False)
    flagged_at = models.BigIntegerField(null=True, blank=True, help_text="ten reports within 24 hours")
    opened_at = models.BigIntegerField()
    due_at = models.BigIntegerField(help_text="when it should be decided")
    claimed_by = models.CharField(max_length=150, blank=True, default="")
    claimed_at = models.BigIntegerField(null=True, blank=True)
    closed_at = models.BigIntegerField(null=True, blank=True)
    closed_by = models.CharField(max_length=150, blank=True, default="")
    outcome = models.CharField(max_length=32, blank=True, default="")
    outcome_reason = models.CharField(max_length=500, blank=True, default="")
    #: When the evidence was deleted (ms); null: it is there.
    purged_at = models.BigIntegerField(null=True, blank=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["subject_kind", "subject"],
                condition=~models.Q(state="closed"),
                name="accounts_case_one_open",
            )
        ]
        indexes = [
            # Each list of the moderation queue has just its rows in its order (``whatsapp/staff/moderation/queue.py``).
            models.Index(
                fields=["-priority", "due_at", "id"],
                condition=~models.Q(state="closed"),
                name="accounts_case_queue",
            ),
            models.Index(
                fields=["category", "-priority", "due_at", "id"],
                condition=~models.Q(state="closed"),
                name="accounts_case_category",
            ),
            models.Index(
                fields=["subject_kind", "-priority", "due_at", "id"],
                condition=~models.Q(state="closed"),
                name="accounts_case_kind",
            ),
            models.Index(
                fields=["due_at", "id"], condition=~models.Q(state="closed"), name="accounts_case_due"
            ),
            models.Index(
                fields=["-priority", "due_at", "id"],
                condition=~models.Q(state="closed") & models.Q(flagged_at__isnull=False),
                name="accounts_case_flagged",
            ),
            models.Index(
                fields=["-priority", "due_at", "id"],
                condition=models.Q(state="waiting"),
                name="accounts_case_waiting",
            ),
            models.Index(
                fields=["claimed_by"], condition=models.Q(state="claimed"), name="accounts_case_claimed"
            ),
            models.Index(fields=["subject", "-opened_at"], name="accounts_case_subject"),
            models.Index(fields=["-closed_at"], name="accounts_case_closed"),
            models.Index(
                fields=["closed_at"],
                condition=models.Q(state="closed", purged_at=None),
                name="accounts_case_to_purge",
            ),
        ]

    def __str__(self) -> str:
        return f"case {self.pk}"


#: Outcomes by which nothing was found, or is not held any more.
NOTHING_FOUND: Final = (Case.Outcome.DISMISSED, Case.Outcome.UNPROVEN, Case.Outcome.OVERTURNED)


class CaseTrigger(models.Model):
    """An automatic trigger that opened a case or was added to it: numbers of how an account was used, never what was written."""

    case = models.ForeignKey(Case, on_delete=models.CASCADE, related_name="triggers")
    trigger = models.CharField(max_length=64)
    evidence = models.JSONField(default=dict)
    at = models.BigIntegerField()

    def __str__(self) -> str:
        return f"{self.trigger} of case {self.case_id}"


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
