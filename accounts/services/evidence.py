"""The end of what people reported (``accounts/retention.py`` says when): contents go, numbers and verdicts stay."""

from __future__ import annotations

from typing import Final

from django.db import transaction

from accounts.models import Case, Report, ReportedMessage
from accounts.retention import unpurged

_AT_ONCE: Final = 200


def purge(now: int) -> int:
    """Empty the copies of messages and the reporters' words of cases that were closed long enough ago. Returns of how many
    cases. Two at once share them."""
    total = 0
    while True:
        with transaction.atomic():
            due = unpurged(now).select_for_update(skip_locked=True, no_key=True).order_by("closed_at")
            cases = list(due.values_list("pk", flat=True)[:_AT_ONCE])
            ReportedMessage.objects.filter(report__case__in=cases).update(content=b"")
            Report.objects.filter(case__in=cases).update(note="")
            Case.objects.filter(pk__in=cases).update(purged_at=now)
        total += len(cases)
        if len(cases) < _AT_ONCE:
            return total
