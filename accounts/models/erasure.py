from __future__ import annotations

from django.db import models


class Erasure(models.Model):
    """An account on its way out of every store. One row an account; what identified its owner goes with the last step."""

    class State(models.TextChoices):
        SOFT = "soft"  # gone for everybody, its data waits
        ERASING = "erasing"  # store after store
        VERIFYING = "verifying"  # every store is searched for what should be gone
        HELD = "held"  # a legal hold keeps its data
        DONE = "done"

    #: The account's id; a random one once it is done.
    user = models.UUIDField(unique=True)
    #: Keyed hash of the id: what a restored backup is compared with.
    user_hash = models.BinaryField(max_length=32, unique=True)
    state = models.CharField(max_length=16, choices=State.choices, default=State.SOFT)
    asked_at = models.BigIntegerField()
    erase_at = models.BigIntegerField(help_text="when the data begins to go, ms")
    due_at = models.BigIntegerField(help_text="when all of it must be gone, ms")
    #: Name of a store → when it said that nothing is left (ms).
    stores = models.JSONField(default=dict)
    #: What the searches look for (number, device ids, …), encrypted; null once it is done.
    identifiers = models.BinaryField(null=True)
    attempts = models.PositiveIntegerField(default=0)
    next_at = models.BigIntegerField(help_text="when somebody looks at it again, ms")
    error = models.CharField(max_length=200, blank=True, default="", help_text="class of the last error")
    finished_at = models.BigIntegerField(null=True, blank=True)

    class Meta:
        indexes = [
            models.Index(fields=["next_at"], condition=~models.Q(state="done"), name="accounts_erasure_next"),
            # A list of the staff, the newest first (``whatsapp/staff/admins/erasures.py``).
            models.Index(fields=["state", "-id"], name="accounts_erasure_state"),
        ]

    def __str__(self) -> str:
        return f"erasure {self.pk}"
