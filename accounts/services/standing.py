"""How much somebody's reports count: by what came of the earlier ones."""

from __future__ import annotations

import uuid
from typing import Final

from django.db.models import Q

from accounts.limits import DAY_MS
from accounts.models import Case, Report, ReportedMessage

#: What the word of somebody new counts. Nobody's counts twice as much, and nobody's nothing.
NEW: Final = 100
#: Reports that are older say nothing about somebody, and of younger ones the newest so many do.
LOOKED_AT_MS: Final = 365 * DAY_MS
LOOKED_AT: Final = 100
#: A forged one counts against its reporter like so many that were dismissed: no mistake makes it.
FORGED: Final = 3


def weight_of(reporter: uuid.UUID, *, now: int) -> int:
    """1 to 199 hundredths: the chance that a report of this person is upheld, by the rule of succession, twice.

    One query over an index. Cases that are open, or could not be decided, count neither way.
    """
    rows = (
        Report.objects.filter(Q(reporter=reporter), created_at__gt=now - LOOKED_AT_MS)
        .order_by("-created_at")
        .values_list("verdict", "case__state", "case__outcome")[:LOOKED_AT]
    )
    upheld = against = 0
    for verdict, state, outcome in rows:
        if verdict == ReportedMessage.Verdict.FORGED:
            against += FORGED
        elif state == Case.State.CLOSED and outcome == Case.Outcome.DISMISSED:
            against += 1
        elif state == Case.State.CLOSED and outcome != Case.Outcome.UNPROVEN:
            upheld += 1
    return max(2 * NEW * (upheld + 1) // (upheld + against + 2), 1)
