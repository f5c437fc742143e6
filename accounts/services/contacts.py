"""The address book. Only here does a phone number become a user id, so looking up is limited against enumeration."""

from __future__ import annotations

import uuid
from typing import Final

from django.db import transaction

from accounts import limits
from accounts.errors import Refused
from accounts.models import Account, Contact
from accounts.selectors import account_by_id
from whatsapp.infra.clock import now_ms
from whatsapp.infra.limits import LIMITS
from whatsapp.wire.errors import Code

#: As many as a person's address book holds, far below what would hurt.
MAX_CONTACTS: Final = 10_000


def add_by_number(*, owner: Account, phone: str, nickname: str | None) -> Contact:
    """Look up a number and add its account; adding again changes the nickname if one is given.

    Raises :class:`Refused`: ``rate_limited`` (every look-up counts, found or not), ``not_found``, ``bad_request`` (oneself),
    ``limit_exceeded``.
    """
    now = now_ms()
    subject = str(owner.pk)
    limits.count(
        scope="contacts_day", subject=subject, limit=LIMITS.contacts_per_day, window_ms=limits.DAY_MS, now=now
    )
    limits.count(
        scope="contacts_hour",
        subject=subject,
        limit=LIMITS.contacts_per_hour,
        window_ms=limits.HOUR_MS,
        now=now,
    )
    account = Account.objects.filter(phone=phone).first()
    if account is None:
        raise Refused(Code.NOT_FOUND, "Nobody with this number is here.")
    return _put(owner=owner, account=account, nickname=nickname, now=now)


def put_contact(*, owner: Account, user_id: uuid.UUID, nickname: str | None) -> Contact:
    """Add or change a contact by id. Idempotent. Raises :class:`Refused`: ``not_found``, ``bad_request``, ``limit_exceeded``."""
    return _put(owner=owner, account=account_by_id(user_id=user_id), nickname=nickname, now=now_ms())


def _put(*, owner: Account, account: Account, nickname: str | None, now: int) -> Contact:
    if account.pk == owner.pk:
        raise Refused(Code.BAD_REQUEST, "This is you.")
    with transaction.atomic():
        # The limit holds under parallel requests; "no key", or two who add each other would wait for each other.
        Account.objects.select_for_update(no_key=True).get(pk=owner.pk)
        contact = Contact.objects.filter(owner=owner, user=account).first()
        if contact is None:
            if Contact.objects.filter(owner=owner).count() >= MAX_CONTACTS:
                raise Refused(
                    Code.LIMIT_EXCEEDED, "Your address book is full.", details={"limit": MAX_CONTACTS}
                )
            return Contact.objects.create(owner=owner, user=account, nickname=nickname or "", updated_at=now)
        contact.user = account
        if nickname is not None and nickname != contact.nickname:
            contact.nickname, contact.updated_at = nickname, now
            contact.save(update_fields=["nickname", "updated_at"])
        return contact


def remove_contact(*, owner: Account, user_id: uuid.UUID) -> None:
    """Idempotent: removing who is not there changes nothing."""
    Contact.objects.filter(owner=owner, user_id=user_id).delete()
