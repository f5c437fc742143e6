"""Whether nothing is left of accounts whose stores have said so. A search reads every store as a whole, so it waits for some
hundred accounts, or half a day, and reads once for all of them (``whatsapp/infra/needles.py``).
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Final

from django.db import transaction
from django.db.models import QuerySet

from accounts import stores
from accounts.limits import HOUR_MS
from accounts.models import Erasure
from accounts.services import erasure, persons
from accounts.stores import Person, Sweeping
from whatsapp.infra import faults, metrics
from whatsapp.infra.clock import now_ms

log = logging.getLogger(__name__)

State = Erasure.State
#: Accounts of one pass. So many are searched for at once, without waiting for more.
MOST: Final = 500
#: Nobody else takes these accounts for so long (renewed behind each store), unless the worker is dead.
LEASE_MS: Final = 6 * HOUR_MS


def is_due(now: int) -> bool:
    """Whether a pass should begin: somebody has waited long enough, or there are enough."""
    first = Erasure.objects.filter(state=State.VERIFYING, next_at__lte=now)
    return first.exists() or _waiting(now)[MOST - 1 : MOST].exists()


def verify() -> int:
    """A pass over every store, if one is due; for how many accounts. Whoever comes while one is under way has others, or none."""
    now = now_ms()
    rows = _take(now) if is_due(now) else []
    if not rows:
        return 0
    try:
        found = _left_in([_person(row) for row in rows], rows)
    except Exception as error:
        log.warning("a search for what is left stays for a while: %s", type(error).__name__)
        metrics.count("erasure", "failed")
        for row in rows:
            erasure.retry(row, type(error).__name__)
        return len(rows)
    for row in rows:
        left = found.get(str(row.user))
        if left:
            # Something wrote it again, or a store said too much: all of them once more.
            log.warning("an erasure found something left in %s", ", ".join(sorted(left)))
            metrics.count("erasure", "left")
            where = f"{erasure.LEFT}: {', '.join(sorted(left))}"
            erasure.retry(row, where[:200], state=State.ERASING, stores={})
        else:
            erasure.finish(row)
    return len(rows)


def _waiting(now: int) -> QuerySet[Erasure]:
    """Whom no pass has taken: those of one that is under way are further ahead."""
    waiting = Erasure.objects.filter(state=State.VERIFYING, next_at__lte=now + erasure.GATHER_MS)
    return waiting.order_by("next_at", "pk")


def _take(now: int) -> list[Erasure]:
    with transaction.atomic():
        rows = list(_waiting(now).select_for_update(skip_locked=True)[:MOST])
        _hold(rows, now)
    return rows


def _hold(rows: Sequence[Erasure], now: int) -> None:
    Erasure.objects.filter(pk__in=[row.pk for row in rows], state=State.VERIFYING).update(
        next_at=now + erasure.GATHER_MS + LEASE_MS
    )


def _person(row: Erasure) -> Person:
    return persons.without_shared(persons.unseal(bytes(row.identifiers or b""), str(row.user)))


def _left_in(people: Sequence[Person], rows: Sequence[Erasure]) -> dict[str, set[str]]:
    """``userId`` → names of the stores in which something was found."""
    found: dict[str, set[str]] = {}
    for store in stores.all_stores():
        if isinstance(store, Sweeping):
            store.sweep(people)
        for leftover in store.leftovers(people):
            found.setdefault(leftover.user_id, set()).add(store.name)
        _hold(rows, now_ms())
        faults.point(f"erasure-searched-{store.name}")
    return found
