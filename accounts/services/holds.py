"""Legal holds: what a court or an authority wants to be kept about somebody is kept until two people say that it may go.

A hold keeps an account from erasure, what ``DELETE /me`` would take at once (profile, photo, address book, blocks, settings,
drafts), files that the person has uploaded, and reports about or by the person with their evidence. It does not prolong
messages, nor freeze what a living owner changes; sessions, one-time keys, push tokens and the PIN go as ever
(``docs/adr/0159-legal-holds.md``). Nobody is told of one.
"""

from __future__ import annotations

import uuid
from typing import Final

from django.db import IntegrityError, connections, transaction
from django.db.models import Exists, OuterRef, Q, QuerySet

from accounts.errors import Refused
from accounts.limits import DAY_MS
from accounts.models import Account, Erasure, LegalHold, Report, ReportedMessage
from whatsapp.infra import metrics
from whatsapp.infra.clock import now_ms
from whatsapp.wire.errors import Code

#: The furthest that a review may be away.
REVIEW_MOST_MS: Final = 366 * DAY_MS


def in_force() -> QuerySet[LegalHold]:
    return LegalHold.objects.filter(released_at=None)


def is_held(user_id: uuid.UUID | str) -> bool:
    """Whether a hold keeps the data of this account."""
    return in_force().filter(user=user_id).exists()


def held(column: str) -> Exists:
    """Rows whose ``column`` is the id of somebody who is held."""
    return Exists(in_force().filter(user=OuterRef(column)))


def reports() -> QuerySet[Report]:
    """Reports by or about somebody who is held: whoever else is a party to one is not forgotten in it."""
    return Report.objects.filter(Q(held("reporter")) | Q(held("reported")))


def reported_messages() -> QuerySet[ReportedMessage]:
    """The copies that came with :func:`reports`."""
    return ReportedMessage.objects.filter(Exists(reports().filter(pk=OuterRef("report"))))


def place(*, user_id: uuid.UUID, matter: str, review_at: int, by: str) -> LegalHold:
    """From its commit on an erasure deletes nothing more of the account, but for the batch that it is at; ``DELETE /me`` waits
    for this, or was first.

    Raises :class:`Refused`: ``not_found`` (no such account, or erased), ``bad_request`` (the review is in the past or too far
    away), ``conflict`` (the same matter holds it already).
    """
    now = now_ms()
    _check_review(review_at, now)
    try:
        with transaction.atomic():
            # Whoever ends the account has its row locked.
            if Account.objects.select_for_update(no_key=True).filter(pk=user_id).first() is None:
                raise Refused(Code.NOT_FOUND, "There is no such account.")
            hold = LegalHold.objects.create(
                user=user_id, matter=matter, placed_at=now, placed_by=by, review_at=review_at
            )
    except IntegrityError:
        raise Refused(Code.CONFLICT, "This matter holds the account already.") from None
    return hold


def move_review(*, hold: LegalHold, review_at: int) -> None:
    """It was looked at, and is needed still. Raises :class:`Refused`: ``bad_request``, ``conflict`` (released)."""
    _check_review(review_at, now_ms())
    if not in_force().filter(pk=hold.pk).update(review_at=review_at):
        raise _released()


def release(*, hold: LegalHold, by: str, reason: str) -> None:
    """The last one of an account lets its erasure go on. ``by``: the second person. Raises :class:`Refused` (``conflict``)."""
    now = now_ms()
    with transaction.atomic():
        if (
            not in_force()
            .filter(pk=hold.pk)
            .update(released_at=now, released_by=by, release_reason=reason[:500])
        ):
            raise _released()
        if not is_held(hold.user):
            Erasure.objects.filter(user=hold.user, state=Erasure.State.HELD).update(next_at=now)


def forget(user_id: uuid.UUID) -> None:
    """The account is erased: that somebody was held stays, and who it was does not."""
    LegalHold.objects.filter(~Q(released_at=None), user=user_id).update(user=uuid.uuid4())


def unreviewed(now: int) -> QuerySet[LegalHold]:
    """Past their review date."""
    return in_force().filter(review_at__lte=now)


def show() -> None:
    """As metrics of this process. Every worker says the same."""
    current = metrics.seldom(_current, 60)
    metrics.source("whatsapp_legal_holds", "Legal holds in force.", lambda: current()[0])
    metrics.source(
        "whatsapp_legal_holds_unreviewed",
        "Legal holds that nobody has looked at by their review date.",
        lambda: current()[1],
    )


def _current() -> tuple[int, int]:
    try:
        return in_force().count(), unreviewed(now_ms()).count()
    finally:
        connections.close_all()  # of this thread, which ends with the scrape


def _check_review(review_at: int, now: int) -> None:
    if not now < review_at <= now + REVIEW_MOST_MS:
        raise Refused(Code.BAD_REQUEST, "The review has to be within a year.", details={"field": "review_at"})


def _released() -> Refused:
    return Refused(Code.CONFLICT, "This hold is released already.")
