"""What moderators have before them, as metrics. Every worker says the same; asked seldom, from an index of open cases."""

from __future__ import annotations

from typing import Final

from django.db import connections
from django.db.models import Count, Q

from accounts.models import Case
from whatsapp.infra import metrics
from whatsapp.infra.clock import now_ms

EVERY_S: Final = 15.0
_STATES: Final = (Case.State.OPEN, Case.State.CLAIMED, Case.State.WAITING)


def show() -> None:
    """As metrics of this process."""
    counted = metrics.seldom(_counted, EVERY_S)
    metrics.source(
        "whatsapp_cases",
        "Cases that are not decided: nobody's (open), somebody's (claimed), for a second person (waiting).",
        lambda: {state: counted()[state] for state in _STATES},
        ("state",),
    )
    metrics.source(
        "whatsapp_cases_flagged",
        "Of these, those that ten people reported within 24 hours.",
        lambda: counted()["flagged"],
    )
    metrics.source(
        "whatsapp_cases_overdue",
        "Of these, those that should have been decided by now.",
        lambda: counted()["overdue"],
    )


def _counted() -> dict[str, int]:
    try:
        return Case.objects.exclude(state=Case.State.CLOSED).aggregate(
            **{state: Count("pk", filter=Q(state=state)) for state in _STATES},
            flagged=Count("pk", filter=Q(flagged_at__isnull=False)),
            overdue=Count("pk", filter=Q(due_at__lte=now_ms())),
        )
    finally:
        connections.close_all()  # of a thread that scrapes
