"""Metadata of users for an authority: asked by one of the staff, approved by another (``whatsapp/staff/lawful.py``), made by a
worker, fetched once. What is in it is in ``accounts/lawful_rows.py``.

Made as exports are (``services/exports.py``): under a lease, whole or not at all, and begun anew when its worker is dead.
"""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Sequence
from contextlib import suppress
from typing import Final

from django.db import transaction
from django.db.models import Q

from accounts import lawful_rows
from accounts.archive_files import Leased, Lost
from accounts.archives import ArchivesUnavailable, archives
from accounts.errors import Refused
from accounts.models import Account, LawfulRequest
from whatsapp.infra import faults, metrics
from whatsapp.infra.clock import now_ms
from whatsapp.infra.limits import LIMITS
from whatsapp.wire.errors import Code

State = LawfulRequest.State
LEASE_MS: Final = 10 * 60_000
#: The storage was away, or the worker failed: again in so many ms.
AGAIN_MS: Final = 60_000


def ask(
    *,
    authority: str,
    reference: str,
    legal_basis: str,
    users: Sequence[uuid.UUID],
    since: int,
    until: int,
    by: str,
) -> LawfulRequest:
    """A request that waits for the second person. Times in ms; ``until`` is not in it.

    Raises :class:`Refused` (``bad_request``, with the field): nobody or too many, somebody of whom nothing is known, no time or
    too long a one.
    """
    now, wanted = now_ms(), list(dict.fromkeys(users))
    if not 1 <= len(wanted) <= LIMITS.lawful_users:
        raise _bad("users", f"One to {LIMITS.lawful_users} users.")
    known = set(Account.objects.filter(pk__in=wanted).values_list("pk", flat=True))
    if len(known) != len(wanted):
        raise _bad(
            "users", f"{len(wanted) - len(known)} of these ids are nobody's, or of accounts that were erased."
        )
    if not since < until <= now or until - since > LIMITS.lawful_range_ms:
        raise _bad("until", "A time that is over, and not longer than two years.")
    return LawfulRequest.objects.create(
        authority=authority, reference=reference, legal_basis=legal_basis, users=[str(user) for user in wanted], since=since,
        until=until, asked_by=by, asked_at=now,
    )  # fmt: skip


def approve(*, request: LawfulRequest, by: str) -> None:
    """The second person. The task follows the commit. Raises :class:`Refused` (``conflict``)."""
    done = LawfulRequest.objects.filter(pk=request.pk, state=State.ASKED).update(
        state=State.BUILDING, approved_by=by, approved_at=now_ms()
    )
    if not done:
        raise Refused(Code.CONFLICT, "This request does not wait any more.")
    metrics.count("lawful", "approved")


def refuse(*, request_id: uuid.UUID) -> None:
    """Rejected, withdrawn, or nobody decided in time."""
    LawfulRequest.objects.filter(pk=request_id, state=State.ASKED).update(state=State.REFUSED)


def building(now: int, limit: int = 100) -> list[uuid.UUID]:
    """Requests that nobody works on: their task or their worker got lost, or a store was away."""
    due = LawfulRequest.objects.filter(state=State.BUILDING, leased_until__lte=now).order_by("leased_until")
    return list(due.values_list("pk", flat=True)[:limit])


def build(request_id: uuid.UUID) -> bool:
    """Make the file. False: there was nothing to do, somebody else does it, or a store is away: then it is tried again."""
    now, me = now_ms(), uuid.uuid4()
    mine = LawfulRequest.objects.filter(pk=request_id, state=State.BUILDING)
    if not mine.filter(leased_until__lte=now).update(worker=me, leased_until=now + LEASE_MS):
        return False
    request, sha256 = mine.get(), hashlib.sha256()

    def renew(at: int) -> bool:
        return bool(mine.filter(worker=me).update(leased_until=at + LEASE_MS))

    try:
        with archives().writing(request.pk.hex) as sink:
            out = Leased(sink, renew, LEASE_MS // 4, sha256.update)
            lawful_rows.write(out, request)
    except Lost:
        return False
    except Exception as error:
        mine.filter(worker=me).update(worker=None, leased_until=now_ms() + AGAIN_MS)
        if isinstance(error, ArchivesUnavailable):
            return False
        raise
    faults.point("lawful-written")
    now = now_ms()
    ready = mine.filter(worker=me).update(
        state=State.READY, ready_at=now, expires_at=now + LIMITS.lawful_kept_ms, size=out.size, sha256=sha256.hexdigest(),
        worker=None, leased_until=0,
    )  # fmt: skip
    return bool(ready)


def read(request: LawfulRequest) -> bytes:
    """The file. Raises :class:`Refused` (``not_found``): there is none, or not any more; :class:`ArchivesUnavailable`."""
    if request.state != State.READY or (request.expires_at or 0) <= now_ms():
        raise _gone()
    return b"".join(archives().read(request.pk.hex))


def fetched(*, request: LawfulRequest, by: str) -> None:
    """Once: whoever is second is refused (``not_found``). The file goes with the commit; what a storage that is away keeps goes
    with :func:`expire`."""
    now = now_ms()
    ready = LawfulRequest.objects.filter(pk=request.pk, state=State.READY, expires_at__gt=now)
    if not ready.update(state=State.FETCHED, fetched_at=now, fetched_by=by, expires_at=now):
        raise _gone()
    transaction.on_commit(lambda: _drop(request.pk))
    metrics.count("lawful", "fetched")


def expire(now: int) -> int:
    """Delete files whose time is over. Returns how many. Raises :class:`ArchivesUnavailable`."""
    due = LawfulRequest.objects.filter(Q(state=State.READY) | Q(state=State.FETCHED), expires_at__lte=now)
    gone = 0
    for request in list(due.order_by("expires_at")[:500]):
        archives().delete(request.pk.hex)
        state = State.EXPIRED if request.state == State.READY else State.FETCHED
        gone += LawfulRequest.objects.filter(pk=request.pk).update(state=state, expires_at=None)
    return gone


def forget(user_id: str) -> None:
    """The user is erased: that an authority asked stays, whom it asked about does not. In a transaction."""
    for request in LawfulRequest.objects.select_for_update().filter(users__contains=[user_id]):
        request.users = [other for other in request.users if other != user_id]
        request.save(update_fields=["users"])


def _drop(request_id: uuid.UUID) -> None:
    with suppress(ArchivesUnavailable):
        archives().delete(request_id.hex)


def _bad(field: str, message: str) -> Refused:
    return Refused(Code.BAD_REQUEST, message, details={"field": field})


def _gone() -> Refused:
    return Refused(Code.NOT_FOUND, "There is no file of this request, or not any more.")
