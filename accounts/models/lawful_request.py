from __future__ import annotations

from django.db import models

from accounts.models.account import new_id


class LawfulRequest(models.Model):
    """An authority asks for metadata of users (``services/lawful.py``): who of the staff asked, who approved, what became of it.
    Rows are the record of it; of users who were erased since, only their number stays."""

    class State(models.TextChoices):
        ASKED = "asked"  # waits for the second person
        REFUSED = "refused"
        BUILDING = "building"
        READY = "ready"
        FETCHED = "fetched"  # once: the file is gone
        EXPIRED = "expired"

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    authority = models.CharField(max_length=200)
    reference = models.CharField(max_length=100, help_text="of the authority")
    legal_basis = models.CharField(max_length=300)
    users = models.JSONField(default=list, help_text="ids of accounts")
    since = models.BigIntegerField(help_text="ms")
    until = models.BigIntegerField(help_text="ms")
    state = models.CharField(max_length=8, choices=State.choices, default=State.ASKED)
    asked_by = models.CharField(max_length=150)
    asked_at = models.BigIntegerField()
    approved_by = models.CharField(max_length=150, blank=True, default="")
    approved_at = models.BigIntegerField(null=True, blank=True)
    #: Nobody else works on it until then; whoever does renews it.
    leased_until = models.BigIntegerField(default=0)
    worker = models.UUIDField(null=True)
    ready_at = models.BigIntegerField(null=True, blank=True)
    size = models.BigIntegerField(default=0)
    sha256 = models.CharField(max_length=64, blank=True, default="")
    expires_at = models.BigIntegerField(null=True, blank=True, help_text="from then on the file is gone, ms")
    fetched_at = models.BigIntegerField(null=True, blank=True)
    fetched_by = models.CharField(max_length=150, blank=True, default="")

    class Meta:
        default_permissions = ("view",)
        permissions = [
            ("ask_lawfulrequest", "Ask for exports for authorities, and fetch them"),
            ("approve_lawfulrequest", "Approve exports for authorities"),
        ]
        indexes = [
            models.Index(
                fields=["expires_at"],
                condition=models.Q(expires_at__isnull=False),
                name="accounts_lawful_expiry",
            ),
            models.Index(
                fields=["leased_until"],
                condition=models.Q(state="building"),
                name="accounts_lawful_building",
            ),
            models.Index(fields=["asked_at"], name="accounts_lawful_asked"),
        ]

    def __str__(self) -> str:
        return f"lawful request {self.pk}"
