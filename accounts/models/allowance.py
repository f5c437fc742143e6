from __future__ import annotations

from django.db import models


class Allowance(models.Model):
    """State of one rate that is counted by GCRA in PostgreSQL (``accounts/rates.py``): one row, whatever the limit.

    ``subject`` is a keyed hash: the table tells nobody who did what. A row whose ``tat`` has passed has no effect.
    """

    subject = models.BinaryField(max_length=32, primary_key=True)
    tat = models.BigIntegerField(db_index=True)  # theoretical arrival time, microseconds since the epoch

    def __str__(self) -> str:
        return f"until {self.tat}"
