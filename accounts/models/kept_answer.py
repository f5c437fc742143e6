from __future__ import annotations

from django.db import models


class KeptAnswer(models.Model):
    """What a POST with an ``X-Idempotency-Key`` was answered; see ``accounts/rest/idempotency.py``. Holds only digests and
    sealed bytes, nothing that names a person."""

    id = models.BinaryField(primary_key=True, max_length=32)  # of method, path, caller and key
    request = models.BinaryField(max_length=32)  # of the body
    status = models.PositiveSmallIntegerField()
    answer = models.BinaryField()
    created_at = models.BigIntegerField(db_index=True)

    def __str__(self) -> str:
        return f"kept answer of {self.created_at}"
