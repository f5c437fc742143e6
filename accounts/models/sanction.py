from __future__ import annotations

from django.db import models

from accounts.models.account import new_id


class Sanction(models.Model):
    """Something that was done about an account because of how it was used: for how long, why, on what evidence, and whether it
    was taken back. Rows are never deleted before the account is (``accounts/stores.py``), so that a history can be read."""

    class Kind(models.TextChoices):
        SLOW_DOWN = "slow_down"  # fewer messages a minute
        LIMIT = "limit"  # no new conversations and groups
        SUSPENSION = "suspension"  # banned until a time
        PERMANENT = "permanent"  # banned for good

    class Appeal(models.TextChoices):
        NONE = ""
        ASKED = "asked"
        UPHELD = "upheld"  # the sanction stays
        GRANTED = "granted"  # it was taken back

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    account = models.ForeignKey("Account", on_delete=models.CASCADE, related_name="sanctions")
    kind = models.CharField(max_length=16, choices=Kind.choices)
    reason = models.CharField(max_length=64, help_text="a code: the trigger, or a category of reports")
    #: What was seen, as numbers: never what anybody wrote.
    evidence = models.JSONField(default=dict)
    imposed_at = models.BigIntegerField()
    imposed_by = models.CharField(max_length=150, help_text="who of the staff, or 'automatic'")
    until = models.BigIntegerField(null=True, blank=True, help_text="ms; empty: for good")
    lifted_at = models.BigIntegerField(null=True, blank=True)
    lifted_by = models.CharField(max_length=150, blank=True, default="")
    lift_reason = models.CharField(max_length=500, blank=True, default="")
    appeal = models.CharField(max_length=8, choices=Appeal.choices, blank=True, default=Appeal.NONE)
    appeal_at = models.BigIntegerField(null=True, blank=True)
    appeal_text = models.CharField(max_length=2_000, blank=True, default="")
    #: Of what a trigger did: which step of the ladder (``ABUSE_STEPS``), so that the next one is higher.
    step = models.PositiveSmallIntegerField(null=True, blank=True)
    #: The account's class before it: what it goes back to.
    class_before = models.CharField(max_length=32, blank=True, default="", db_default="")
    #: When its effect was taken back (ms): it was lifted, or somebody saw that its time was over.
    ended_at = models.BigIntegerField(null=True, blank=True)
    #: The sanction of an account that had this number before and ended while it was in force: lifted with it.
    carried_from = models.UUIDField(null=True, blank=True, editable=False)
    #: It has still to go to numbers that the account has left (``services/late.py``).
    follows = models.BooleanField(default=False, db_default=False, editable=False)

    class Meta:
        indexes = [
            models.Index(fields=["account", "-imposed_at"], name="accounts_sanction_newest"),
            models.Index(
                fields=["-appeal_at"],
                condition=models.Q(appeal_at__isnull=False),
                name="accounts_sanction_appealed",
            ),
            models.Index(
                fields=["appeal_at"], condition=models.Q(appeal="asked"), name="accounts_sanction_appeals"
            ),
            # Lists of the staff, the newest first (``whatsapp/staff/admins/sanctions.py``).
            models.Index(fields=["kind", "-id"], name="accounts_sanction_kind"),
            models.Index(
                fields=["appeal", "-id"], condition=~models.Q(appeal=""), name="accounts_sanction_by_appeal"
            ),
            models.Index(
                fields=["until"],
                condition=models.Q(ended_at__isnull=True, until__isnull=False),
                name="accounts_sanction_ending",
            ),
            models.Index(
                fields=["carried_from"],
                condition=models.Q(carried_from__isnull=False),
                name="accounts_sanction_carried",
            ),
            models.Index(fields=["id"], condition=models.Q(follows=True), name="accounts_sanction_follows"),
        ]

    def __str__(self) -> str:
        return f"{self.kind} {self.pk}"

    def in_force(self, now: int) -> bool:
        return self.lifted_at is None and (self.until is None or self.until > now)
