"""What people have agreed to: the terms, and purposes that each may agree to or not. Every yes and every no stays as a row."""

from __future__ import annotations

import re
import uuid
from collections.abc import Iterable
from typing import Final

from django.conf import settings
from django.db import transaction
from django.db.models import QuerySet

from accounts import limits
from accounts.errors import Refused
from accounts.locks import lock_account
from accounts.models import Account, Consent
from whatsapp.infra.clock import now_ms
from whatsapp.infra.limits import LIMITS
from whatsapp.wire.errors import Code

#: The document that everybody agrees to who has an account.
TERMS: Final = "terms"
VERSION_PATTERN: Final = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$"
_VERSION: Final = re.compile(VERSION_PATTERN)


def documents() -> list[str]:
    """What can be agreed to here."""
    return [*([TERMS] if settings.TERMS_VERSION else []), *settings.CONSENT_PURPOSES]


def history(account: Account) -> list[Consent]:
    """The newest first, at most ``LIMITS.consents_listed``."""
    found = Consent.objects.filter(account=account).order_by("-given_at", "-pk")
    return list(found[: LIMITS.consents_listed])


def check_terms(*, account: Account, version: str | None) -> None:
    """At a registration. Raises :class:`Refused`: ``forbidden`` ({termsRequired: the version of now}) when the terms of now were
    not agreed to, before or by this."""
    wanted = settings.TERMS_VERSION
    if not wanted or version == wanted:
        return
    if not _in_force(account.pk).filter(document=TERMS, version=wanted).exists():
        raise _terms_required()


def note_terms(*, user_id: str, device_id: str, version: str | None, now: int) -> None:
    """What :func:`check_terms` let pass, in the same transaction."""
    if version and version == settings.TERMS_VERSION:
        _give(uuid.UUID(user_id), uuid.UUID(device_id), TERMS, version, now)


def give(*, account: Account, device_id: uuid.UUID, document: str, version: str) -> Consent:
    """Agree. What is agreed to already stays as it was, so a repeat changes nothing.

    Raises :class:`Refused`: ``bad_request`` (no such document, no version that could be one), ``forbidden`` ({termsRequired}:
    another version of the terms than that of now), ``rate_limited``, ``not_found`` (the account has ended).
    """
    _check(document)
    if not _VERSION.fullmatch(version):
        raise Refused(Code.BAD_REQUEST, "This is no version.", details={"field": "version"})
    if document == TERMS and version != settings.TERMS_VERSION:
        raise _terms_required()
    with transaction.atomic():
        lock_account(account)
        known = _in_force(account.pk).filter(document=document, version=version).first()
        if known is not None:
            return known
        _count(account)
        return _give(account.pk, device_id, document, version, now_ms())


def withdraw(*, account: Account, device_id: uuid.UUID, document: str) -> int:
    """Take back what was agreed to, of every version. Returns how many; 0: nothing was, which is no error.

    Raises :class:`Refused`: ``bad_request`` (no such document), ``forbidden`` ({deleteAccount}: who does not want the terms any
    more deletes the account), ``rate_limited``, ``not_found``.
    """
    _check(document)
    if document == TERMS:
        raise Refused(
            Code.FORBIDDEN,
            "An account goes by the terms: to end that, delete the account.",
            details={"deleteAccount": True},
        )
    with transaction.atomic():
        lock_account(account)
        given = _in_force(account.pk).filter(document=document)
        if not given.exists():
            return 0
        _count(account)
        return given.update(withdrawn_at=now_ms(), withdrawn_with=device_id)


def agrees(user_ids: Iterable[uuid.UUID], document: str) -> set[uuid.UUID]:
    """Those of these who agree to a purpose now, whatever the version: whoever works for the purpose asks."""
    found = Consent.objects.filter(account__in=list(user_ids), document=document, withdrawn_at=None)
    return set(found.values_list("account_id", flat=True))


def _in_force(user_id: uuid.UUID) -> QuerySet[Consent]:
    return Consent.objects.filter(account=user_id, withdrawn_at=None)


def _give(user_id: uuid.UUID, device_id: uuid.UUID, document: str, version: str, now: int) -> Consent:
    """Under the lock of the account."""
    known = _in_force(user_id).filter(document=document, version=version).first()
    if known is not None:
        return known
    return Consent.objects.create(
        account_id=user_id, document=document, version=version, given_at=now, device=device_id
    )


def _check(document: str) -> None:
    if document not in documents():
        raise Refused(
            Code.BAD_REQUEST, "There is no such document to agree to.", details={"field": "document"}
        )


def _count(account: Account) -> None:
    limits.count(
        scope="consents_hour",
        subject=str(account.pk),
        limit=LIMITS.consents_per_hour,
        window_ms=limits.HOUR_MS,
        now=now_ms(),
    )


def _terms_required() -> Refused:
    return Refused(
        Code.FORBIDDEN,
        "The terms of now have to be agreed to: send their version.",
        details={"termsRequired": settings.TERMS_VERSION},
    )
