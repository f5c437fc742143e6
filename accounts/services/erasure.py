"""What is left of an account that ended goes out of every store (``accounts/stores.py``), step by step, by rows that say how far
it is. Each step may be killed anywhere, run twice, or run at once by two: the stores' own methods may, and what stands in the row
is written only after them. Who forgets a task loses nothing: :func:`due` finds the row again.

``soft`` → ``erasing`` → ``verifying`` → ``done``; a legal hold makes it ``held``, until it is lifted.
"""

from __future__ import annotations

import logging
import uuid
from collections.abc import Callable
from typing import Final

from django.conf import settings
from django.db import transaction
from django.db.models import Exists, OuterRef

from accounts import stores
from accounts.limits import DAY_MS, HOUR_MS
from accounts.models import Account, Erasure
from accounts.services import persons
from accounts.stores import Held, Person, Store
from whatsapp.infra import faults, metrics
from whatsapp.infra.clock import now_ms
from whatsapp.infra.limits import LIMITS

log = logging.getLogger(__name__)

State = Erasure.State
#: After a step that failed, or a search that found something: doubled each time, up to the second.
RETRY_MS: Final = 60_000
RETRY_MOST_MS: Final = 6 * HOUR_MS
#: How often it is asked whether a hold was lifted.
HELD_MS: Final = HOUR_MS
#: For so long one that is to be searched for waits for others: a search reads every store once, for all of them.
GATHER_MS: Final = 12 * HOUR_MS
#: Calls of one store in one step; the next step goes on.
CALLS: Final = 50
#: Nobody else takes an erasure for so long, unless its worker is dead.
LEASE_MS: Final = 10 * 60_000
#: The error of one of which a search found something; the names of the stores follow.
LEFT: Final = "Left"

for _kind in ("overdue", "failed", "left"):
    metrics.count("erasure", _kind, 0)  # an alert asks whether they increase

#: Nothing is to be done of it alone.
_NOT_BY_ONE: Final = (State.VERIFYING, State.DONE)

#: Whether a legal hold keeps the data of an account; bound by whoever knows holds.
_held: Callable[[uuid.UUID], bool] | None = None


def bind_holds(is_held: Callable[[uuid.UUID], bool]) -> None:
    global _held
    _held = is_held


def begin(*, account: Account, now: int) -> None:
    """An account ends. Call it in that transaction, while everything of it is there still."""
    user_id = str(account.pk)
    Erasure.objects.get_or_create(
        user=account.pk,
        defaults={
            "user_hash": persons.user_hash(user_id),
            "asked_at": now,
            "erase_at": now + wait_ms(),
            "due_at": now + settings.ERASURE_DUE_DAYS * DAY_MS,
            "next_at": now + wait_ms(),
            "identifiers": persons.seal(persons.person_of(account)),
        },
    )


def wait_ms() -> int:
    """For so long what an account has sent may still be on its way to others, and its ids are needed to deliver it."""
    return LIMITS.retention_ms + DAY_MS


def begin_missing(now: int, limit: int = 500) -> int:
    """Accounts that ended before there were erasures; returns how many. Only their ids are known by now."""
    known = Erasure.objects.filter(user=OuterRef("pk"))
    ended = Account.objects.filter(~Exists(known), retired_at__isnull=False).order_by("retired_at")[:limit]
    for account in ended:
        begin(account=account, now=max(account.retired_at or now, now - wait_ms()))
    return len(ended)


def due(now: int, limit: int = 500) -> list[int]:
    """Keys of erasures that somebody should look at now, the longest due first."""
    found = Erasure.objects.exclude(state__in=_NOT_BY_ONE).filter(next_at__lte=now).order_by("next_at")
    return list(found.values_list("pk", flat=True)[:limit])


def is_due(pk: int) -> bool:
    """Whether there is more to do at once."""
    return Erasure.objects.exclude(state__in=_NOT_BY_ONE).filter(pk=pk, next_at__lte=now_ms()).exists()


def tell_overdue(now: int) -> int:
    """How many are not done in time; each call counts them again, for an alert. A legal hold is no delay of ours."""
    late = Erasure.objects.exclude(state__in=(State.DONE, State.HELD)).filter(due_at__lte=now).count()
    if late:
        log.error("%s erasures are overdue", late)
        metrics.count("erasure", "overdue", late)
    return late


def step(pk: int) -> str:
    """Do what is to be done of an erasure now; its state then, "" when there was nothing to do or somebody else is at it."""
    now = now_ms()
    erasure = _take(pk, now)
    if erasure is None:
        return ""
    person = persons.unseal(bytes(erasure.identifiers or b""), str(erasure.user))
    try:
        _check_hold(erasure)
        if erasure.state in (State.SOFT, State.HELD):
            erasure.state = State.ERASING
            erasure.save(update_fields=["state"])
            faults.point("erasure-begun")
        if erasure.state == State.ERASING:
            again = _erase(erasure, person)
            if again is not None:
                return _put(erasure, next_at=again, attempts=0, error="")
            faults.point("erasure-verifying")
        # Searched together with others: see accounts/services/verification.py.
        return _put(erasure, state=State.VERIFYING, next_at=now_ms() + GATHER_MS, error="")
    except Held:
        return _put(erasure, state=State.HELD, next_at=now + HELD_MS, error="")
    except Exception as error:
        log.warning("an erasure stays for a while: %s", type(error).__name__)
        metrics.count("erasure", "failed")
        return retry(erasure, type(error).__name__)


def _check_hold(erasure: Erasure) -> None:
    """Before anything is deleted: one may have come since the step began."""
    if _held is not None and _held(erasure.user):
        raise Held


def _take(pk: int, now: int) -> Erasure | None:
    """The row, with nobody else coming to it for :data:`LEASE_MS`."""
    with transaction.atomic():
        found = (
            Erasure.objects.select_for_update(skip_locked=True)
            .exclude(state__in=_NOT_BY_ONE)
            .filter(pk=pk, next_at__lte=now)
            .first()
        )
        if found is not None:
            found.next_at = now + LEASE_MS
            found.save(update_fields=["next_at"])
        return found


def _order() -> list[Store]:
    """That of the accounts last: rows of others point at its rows."""
    return sorted(stores.all_stores(), key=lambda store: (getattr(store, "last", False), store.name))


def _erase(erasure: Erasure, person: Person) -> int | None:
    """Every store once, until it wants to wait; None when all have said that nothing is left, else when to come again (ms)."""
    again: list[int] = []
    for store in _order():
        if store.name in erasure.stores:
            continue
        if getattr(store, "last", False) and again:
            break
        at = _erase_store(erasure, store, person)
        if at:
            again.append(at)
            continue
        erasure.stores = {**erasure.stores, store.name: now_ms()}
        erasure.save(update_fields=["stores"])
        faults.point(f"erasure-{store.name}")
    return min(again) if again else None


def _erase_store(erasure: Erasure, store: Store, person: Person) -> int:
    at = 0
    for _ in range(CALLS):
        _check_hold(erasure)
        at = store.erase(person, now=now_ms())
        if at == 0 or at > now_ms():
            return at
    return at


def hurry(pk: int) -> bool:
    """Look at it now instead of at its next time. False: it is done, what was sent is still on its way to others, or a search is
    under way. One that a worker has may be looked at by two for a moment, as when the first is slow."""
    now = now_ms()
    wanted = Erasure.objects.filter(pk=pk, erase_at__lte=now).exclude(state=State.DONE)
    return bool(wanted.exclude(state=State.VERIFYING, next_at__gt=now + GATHER_MS).update(next_at=now))


def finish(erasure: Erasure) -> str:
    """Nothing identifies anybody any more but the keyed hash (``manage.py erase_again``)."""
    metrics.count("erasure", "done")
    return _put(
        erasure,
        user=uuid.uuid4(),
        state=State.DONE,
        identifiers=None,
        finished_at=now_ms(),
        attempts=0,
        error="",
    )


def retry(erasure: Erasure, error: str, **values: object) -> str:
    """Once more, after a pause; ``error`` is its class."""
    attempts = erasure.attempts + 1
    pause = min(RETRY_MS * 2 ** min(attempts - 1, 20), RETRY_MOST_MS)
    return _put(erasure, attempts=attempts, error=error, next_at=now_ms() + pause, **values)


def _put(erasure: Erasure, **values: object) -> str:
    for name, value in values.items():
        setattr(erasure, name, value)
    erasure.save(update_fields=list(values))
    return str(erasure.state)
