"""Files of cases that are not decided yet: they outlive their messages (``accounts/services/cases.py``)."""

from __future__ import annotations

import uuid
from collections.abc import Iterable

from django.db.models import QuerySet

from accounts.models import Case
from accounts.services.holds import is_held
from media.models import USABLE, Hold, Media


def hold(media_ids: Iterable[uuid.UUID], case: Case, now: int) -> None:
    """Keep these until the case is decided. What is gone already, or never was, is passed over. Idempotent.

    In a transaction: whoever takes a file away at this moment (``contents.drop_unused``) waits, or was first.
    """
    # By id, so that two reports with the same files wait for each other in one order.
    rows = Media.objects.select_for_update(no_key=True).filter(pk__in=set(media_ids), state__in=USABLE)
    Hold.objects.bulk_create(
        [Hold(media=media, case=case, created_at=now) for media in rows.order_by("pk")], ignore_conflicts=True
    )


def open_holds() -> QuerySet[Hold]:
    """Those of cases that are not decided."""
    return Hold.objects.exclude(case__state=Case.State.CLOSED)


def held(media: Media) -> bool:
    """By a case that is open, or by a legal hold of who uploaded it."""
    return open_holds().filter(media=media).exists() or is_held(media.owner_id)


def prune() -> int:
    """Forget those of decided cases. Returns how many."""
    return Hold.objects.filter(case__state=Case.State.CLOSED).delete()[0]
