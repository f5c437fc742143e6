"""What moderators look at first, and until when each kind of case should be decided (``accounts/services/case_rank.py``)."""

from __future__ import annotations

from whatsapp.settings import env

_HOUR_MS = 3_600_000

#: How grave each category is, 0 to 100. A crowd raises a case by less than the step from spam to violence.
REPORT_GRAVITY = {
    "other": 5,
    "spam": 10,
    "impersonation": 30,
    "fraud": 40,
    "harassment": 40,
    "hate": 50,
    "violence": 75,
    "self_harm": 90,
    "child_safety": 100,
}
#: Until when a case of each category should be decided (ms), from when it was first reported as one.
REPORT_DUE_MS = {
    "other": 72 * _HOUR_MS,
    "spam": 72 * _HOUR_MS,
    "impersonation": 48 * _HOUR_MS,
    "fraud": 24 * _HOUR_MS,
    "harassment": 24 * _HOUR_MS,
    "hate": 24 * _HOUR_MS,
    "violence": 4 * _HOUR_MS,
    "self_harm": 1 * _HOUR_MS,
    "child_safety": 1 * _HOUR_MS,
}
#: A case that is flagged should be decided so soon, whatever its category.
REPORT_FLAGGED_DUE_MS = env.number("REPORT_FLAGGED_DUE_MS", 8 * _HOUR_MS)
#: So many different people within 24 hours flag a case for review.
REPORT_FLAG_REPORTERS = env.number("REPORT_FLAG_REPORTERS", 10)
#: A moderator's claim ends by itself so long after it was made or renewed.
CASE_CLAIM_MS = env.number("CASE_CLAIM_MS", 30 * 60_000)
