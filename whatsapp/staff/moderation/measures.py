"""What Prometheus is told of moderation. Labels are categories and outcomes, of which there are a handful; nobody's name."""

from __future__ import annotations

from typing import Final

from accounts.models import Case
from whatsapp.infra.metrics import Counters, Histogram

#: Seconds: a minute to a week.
_BOUNDS: Final = (60, 300, 900, 1_800, 3_600, 14_400, 28_800, 86_400, 172_800, 259_200, 604_800)

DECISIONS: Final = Counters(
    "whatsapp_moderation_decisions",
    "Cases that were decided, by category, outcome, and whether in time (in_time, late).",
    ("category", "outcome", "when"),
)
SECONDS: Final = Histogram(
    "whatsapp_moderation_decision_seconds",
    "Time from the opening of a case to its decision, by category.",
    ("category",),
    _BOUNDS,
)


def decided(case: Case) -> None:
    """A case was closed."""
    closed_at = case.closed_at or case.opened_at
    DECISIONS.add(case.category, case.outcome, "late" if closed_at > case.due_at else "in_time")
    SECONDS.series(case.category).observe((closed_at - case.opened_at) / 1_000)
