from __future__ import annotations

from django.db import models

from accounts.models.account import new_id


class LegalHold(models.Model):
    """A court or an authority wants what is held about somebody to be kept (``services/holds.py``). The id stands alone: a row
    outlives the account, under a random id from then on."""

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    user = models.UUIDField(help_text="id of the account")
    matter = models.CharField(max_length=100, help_text="reference of who wants it; no names")
    placed_at = models.BigIntegerField(help_text="ms")
    placed_by = models.CharField(max_length=150, help_text="who of the staff")
    review_at = models.BigIntegerField(help_text="by then somebody asks whether it is needed still, ms")
    released_at = models.BigIntegerField(null=True, blank=True)
    #: The second person: who approved it.
    released_by = models.CharField(max_length=150, blank=True, default="")
    release_reason = models.CharField(max_length=500, blank=True, default="")

    class Meta:
        default_permissions = ("view",)
        permissions = [
            ("place_hold", "Place legal holds, and ask for their end"),
            ("release_hold", "Approve the end of legal holds"),
        ]
        constraints = [
            models.UniqueConstraint(
                fields=["user", "matter"],
                condition=models.Q(released_at__isnull=True),
                name="accounts_legalhold_once",
            )
        ]
        indexes = [
            models.Index(
                fields=["review_at"],
                condition=models.Q(released_at__isnull=True),
                name="accounts_legalhold_review",
            ),
            models.Index(
                fields=["released_at"],
                condition=models.Q(released_at__isnull=False),
                name="accounts_legalhold_over",
            ),
            models.Index(fields=["user"], name="accounts_legalhold_user"),
        ]

    def __str__(self) -> str:
        return f"legal hold {self.pk}"
