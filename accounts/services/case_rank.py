"""Which case comes first, and until when it should be decided. Pure; the numbers are in ``whatsapp/settings/moderation.py``."""

from __future__ import annotations

from typing import Final

from django.conf import settings

from accounts.models import CATEGORIES, Case

#: Added when ten people flagged it, and when the words were proven to be the subject's own.
FLAGGED: Final = 150
VERIFIED: Final = 100
#: What a crowd adds at most: a case of many reports of spam stays behind one of violence.
CROWD: Final = 250
#: How much each doubling of the weight of all reporters adds, from one new reporter on.
_DOUBLED: Final = 40


def priority(case: Case) -> int:
    """0 to 1,500. What nobody credible has reported and no trigger has seen has none."""
    gravity: int = settings.REPORT_GRAVITY.get(case.category, 0)
    if case.weight == 0 and not case.verified and case.flagged_at is None:
        return 0
    # Whole numbers throughout: the bit length of the weight is its logarithm. One new reporter: 100, seven bits.
    crowd = min(max(case.weight.bit_length() - 7, -2) * _DOUBLED, CROWD)
    return max(10 * gravity + crowd + FLAGGED * (case.flagged_at is not None) + VERIFIED * case.verified, 1)


def graver(one: str, other: str) -> str:
    """The graver of two categories."""
    return max(one, other, key=CATEGORIES.index)


def due_at(category: str, since: int) -> int:
    """When a case that was reported as this at ``since`` should be decided (ms)."""
    due: int = settings.REPORT_DUE_MS[category]
    return since + due
