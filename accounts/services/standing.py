"""How much somebody's reports count: by what came of the earlier ones, and, where no person looks at them, by who it is."""

from __future__ import annotations

import uuid
from typing import Final

from django.conf import settings
from django.db.models import Q

from accounts.limits import DAY_MS
from accounts.models import Account, Case, Report, ReportedMessage, Sanction
from delivery.store.interface import Unavailable
from delivery.store.sync import store

#: What the word of somebody new counts. Nobody's counts twice as much, and nobody's nothing.
NEW: Final = 100
#: Outcomes of a case that say nothing about who reported it.
_NEITHER: Final = (Case.Outcome.UNPROVEN, Case.Outcome.OVERTURNED)
#: Reports that are older say nothing about somebody, and of younger ones the newest so many do.
LOOKED_AT_MS: Final = 365 * DAY_MS
LOOKED_AT: Final = 100
#: A forged one counts against its reporter like so many that were dismissed: no mistake makes it.
FORGED: Final = 3
#: Of an account younger than ``ABUSE_NEW_MS``: those are made by the dozen.
_YOUNG: Final = 0.2
#: Of who talks with fewer people than that: an account that is there to report somebody has nobody else.
PEERS: Final = 3
_ALONE: Final = 0.5


def weight_of(reporter: uuid.UUID, *, now: int) -> int:
    """1 to 199 hundredths: the chance that a report of this person is upheld, by the rule of succession, twice.

    One query over an index. Cases that are open, could not be decided, or were overturned by an appeal count neither way.
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
        elif state == Case.State.CLOSED and outcome not in _NEITHER:
            upheld += 1
    return max(2 * NEW * (upheld + 1) // (upheld + against + 2), 1)


def voice_of(reporter: uuid.UUID, *, now: int) -> float:
    """0 to 1: what the word of this person counts for a trigger, which acts before anybody has looked. Nothing of who has left,
    is banned, or was sanctioned within ``ABUSE_MEMORY_MS``; less of the young, of who talks with hardly anybody, and of who was
    often wrong. Being right makes nobody two people.
    """
    account = Account.objects.filter(pk=reporter, retired_at=None).first()
    if account is None or account.is_banned(now):
        return 0.0
    lately = Sanction.objects.filter(
        account=reporter, lifted_at=None, imposed_at__gt=now - settings.ABUSE_MEMORY_MS
    )
    if lately.exists():
        return 0.0
    voice = min(weight_of(reporter, now=now) / NEW, 1.0)
    if now - account.created_at < settings.ABUSE_NEW_MS:
        voice *= _YOUNG
    return voice if _talks_with_many(reporter) else voice * _ALONE


def _talks_with_many(user: uuid.UUID) -> bool:
    try:
        return len(store.direct_peers(str(user), PEERS, str(uuid.UUID(int=0)))) >= PEERS
    except Unavailable:
        return False
