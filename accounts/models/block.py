from __future__ import annotations

from django.db import models

from accounts.models.account import Account


class Block(models.Model):
    """``owner`` wants nothing from ``user``, in 1:1 chats, calls and presence; groups are exempt."""

    owner = models.ForeignKey(Account, on_delete=models.CASCADE, related_name="blocks")
    user = models.ForeignKey(Account, on_delete=models.CASCADE, related_name="+")
    at = models.BigIntegerField()

    class Meta:
        constraints = [models.UniqueConstraint(fields=["owner", "user"], name="accounts_block_once")]

    def __str__(self) -> str:
        return f"block {self.pk}"
