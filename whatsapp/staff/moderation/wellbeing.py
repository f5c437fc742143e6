"""Care for those who look at what others should not have written: how they want to see it, and how much of it they have seen.

Everybody sees their own rows alone. Rows are locked for one small update; who looks at two cases in two windows loses no count.
"""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from django.contrib.auth.models import User
from django.db import transaction
from django.db.models import F

from whatsapp.infra.clock import now_ms
from whatsapp.staff.models import Reviewer, ReviewerDay

#: Categories whose evidence stays hidden until it is asked for, and after some of which a break is due.
GRAVE: Final = frozenset({"violence", "self_harm", "child_safety"})
#: Who has looked at nothing for so long has had a break.
PAUSE_MS: Final = 10 * 60_000
#: Choices for ``Reviewer.break_after``; 0: never.
MOST_IN_A_ROW: Final = 50


@dataclass(frozen=True)
class Today:
    """Of one moderator, since midnight (UTC)."""

    seen: int
    grave: int
    decided: int


def settings_of(user: User) -> Reviewer:
    """How this one wants to see evidence; whoever has said nothing is careful."""
    return Reviewer.objects.filter(pk=user.pk).first() or Reviewer(user=user)


def today(user: User, now: int | None = None) -> Today:
    row = ReviewerDay.objects.filter(user=user, day=_day(now_ms() if now is None else now)).first()
    return Today(row.seen, row.grave, row.decided) if row else Today(0, 0, 0)


def saw(user: User, case_id: uuid.UUID, *, grave: bool, now: int | None = None) -> Reviewer:
    """The evidence of a case was shown to this one. The same case again, with no other between, counts once."""
    moment = now_ms() if now is None else now
    with transaction.atomic():
        Reviewer.objects.bulk_create([Reviewer(user=user)], ignore_conflicts=True)
        row = Reviewer.objects.select_for_update().get(pk=user.pk)
        again = row.last_case == case_id
        paused = moment - row.last_at >= PAUSE_MS
        if not again or paused:
            row.in_a_row = (0 if paused else row.in_a_row) + 1 if grave else 0
        row.last_case, row.last_at = case_id, moment
        row.save(update_fields=["in_a_row", "last_case", "last_at"])
        if not again:
            _count(user, moment, seen=1, grave=int(grave))
    return row


def decided(user: User, now: int | None = None) -> None:
    _count(user, now_ms() if now is None else now, decided=1)


def rested(user: User) -> None:
    """A break was taken."""
    Reviewer.objects.filter(pk=user.pk).update(in_a_row=0)


def break_is_due(row: Reviewer, now: int | None = None) -> bool:
    moment = now_ms() if now is None else now
    return 0 < row.break_after <= row.in_a_row and moment - row.last_at < PAUSE_MS


def _day(now: int) -> str:
    return datetime.fromtimestamp(now / 1000, UTC).date().isoformat()


def _count(user: User, now: int, **more: int) -> None:
    day = _day(now)
    ReviewerDay.objects.bulk_create([ReviewerDay(user=user, day=day)], ignore_conflicts=True)
    ReviewerDay.objects.filter(user=user, day=day).update(
        **{name: F(name) + value for name, value in more.items()}
    )
