from __future__ import annotations

from django.db import models

from accounts.models.sanction import Sanction


class CarriedSanction(models.Model):
    """What an account was sanctioned for when it ended or left its number, or after that: it holds for whoever begins anew with
    the number (``services/carried.py``). The number is a keyed hash, and nothing else leads to anybody."""

    number = models.BinaryField(max_length=32)
    #: The one that it was. Its row goes with the account; as long as it is there this goes when it is lifted. Of one there is a
    #: row for each number: whoever writes it has that account locked.
    sanction = models.UUIDField()
    kind = models.CharField(max_length=16, choices=Sanction.Kind.choices)
    reason = models.CharField(max_length=64)
    imposed_at = models.BigIntegerField()
    imposed_by = models.CharField(max_length=150)
    step = models.PositiveSmallIntegerField(null=True)
    until = models.BigIntegerField(null=True)  # as of the sanction
    #: Two of the staff have decided it, so it takes two to end it.
    of_two = models.BooleanField(default=False, db_default=False)
    kept_until = models.BigIntegerField(db_index=True)

    class Meta:
        default_permissions = ("view",)
        indexes = [
            models.Index(fields=["number"], name="accounts_carried_number"),
            models.Index(fields=["sanction"], name="accounts_carried_sanction"),
        ]

    def __str__(self) -> str:
        return f"{self.kind} until {self.kept_until}"
