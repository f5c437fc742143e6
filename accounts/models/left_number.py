from __future__ import annotations

from django.db import models


class LeftNumber(models.Model):
    """A number that an account had until it moved to another one: what is decided about the account holds for who has it then
    (``services/late.py``). Kept as long as the number counts as the same person's, and no longer than the account."""

    account = models.ForeignKey("Account", on_delete=models.CASCADE, related_name="+")
    #: Encrypted for the account (``persons.seal_number``): whoever reads the table has no numbers.
    sealed = models.BinaryField(max_length=64)
    left_at = models.BigIntegerField(db_index=True)

    class Meta:
        default_permissions = ("view",)

    def __str__(self) -> str:
        return f"left at {self.left_at}"
