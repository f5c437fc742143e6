"""The address book. Only here does a phone number become a user id, so looking up is limited against enumeration."""

from __future__ import annotations

import uuid
from typing import Final

from django.db import transaction

from accounts import events, limits
from accounts.errors import Refused
from accounts.locks import lock_account
from accounts.models import Account, Block, Contact
from accounts.selectors import account_by_id
from accounts.services import privacy, requests
from whatsapp.infra.clock import now_ms
from whatsapp.wire.errors import Code

#: As many as a person's address book holds, far below what would hurt.
MAX_CONTACTS: Final = 10_000
#: Owners who are told at once that a contact has ended; the others find it in their lists.
MAX_TOLD: Final = 10_000


def add_by_number(*, owner: Account, phone: str, nickname: str | None) -> Contact:
    """Look up a number and add its account; adding again changes the nickname if one is given.

    Raises :class:`Refused`: ``rate_limited`` (every look-up counts, found or not), ``not_found``, ``bad_request`` (oneself),
    ``limit_exceeded``.
    """
    now = now_ms()
    subject = str(owner.pk)
    limits.count(
        scope="contacts_day",
        subject=subject,
        limit=limits.limit_for(owner, "contacts_per_day"),
        window_ms=limits.DAY_MS,
        now=now,
    )
    limits.count(
        scope="contacts_hour",
        subject=subject,
        limit=limits.limit_for(owner, "contacts_per_hour"),
        window_ms=limits.HOUR_MS,
        now=now,
    )
    account = Account.objects.filter(phone=phone).first()
    if account is None:
        raise Refused(Code.NOT_FOUND, "Nobody with this number is here.")
    return _put(owner=owner, account=account, nickname=nickname, now=now, number=account.phone_hash)


def put_contact(*, owner: Account, user_id: uuid.UUID, nickname: str | None) -> Contact:
    """Add or change a contact by id. Idempotent. Raises :class:`Refused`: ``not_found``, ``bad_request``, ``limit_exceeded``."""
    return _put(owner=owner, account=account_by_id(user_id=user_id), nickname=nickname, now=now_ms())


def _put(
    *, owner: Account, account: Account, nickname: str | None, now: int, number: bytes | None = None
) -> Contact:
    if account.pk == owner.pk:
        raise Refused(Code.BAD_REQUEST, "This is you.")
    with transaction.atomic():
        # The limit holds under parallel requests; "no key", or two who add each other would wait for each other.
        lock_account(owner)
        contact = Contact.objects.filter(owner=owner, user=account).first()
        is_new = contact is None or contact.removed
        if is_new and Contact.objects.filter(owner=owner, removed=False).count() >= MAX_CONTACTS:
            raise full()
        if is_new:
            requests.accept(owner=owner, users=[str(account.pk)])
            privacy.address_books_changed(owner_ids=[owner.pk])
        if contact is None:
            return Contact.objects.create(
                owner=owner, user=account, nickname=nickname or "", updated_at=now, number_hash=number
            )
        contact.user = account
        learned = number is not None and bytes(contact.number_hash or b"") != bytes(number)
        if contact.removed or learned or (nickname is not None and nickname != contact.nickname):
            contact.nickname = contact.nickname if nickname is None else nickname
            contact.number_hash = number if learned else contact.number_hash
            contact.removed, contact.updated_at = False, now
            contact.save(update_fields=["nickname", "removed", "updated_at", "number_hash"])
        return contact


def full() -> Refused:
    return Refused(Code.LIMIT_EXCEEDED, "Your address book is full.", details={"limit": MAX_CONTACTS})


def remove_contact(*, owner: Account, user_id: uuid.UUID) -> None:
    """Idempotent: removing who is not there changes nothing. The row stays as a mark for the owner's other devices."""
    found = Contact.objects.filter(owner=owner, user_id=user_id, removed=False)
    if found.update(removed=True, nickname="", updated_at=now_ms()):
        privacy.address_books_changed(owner_ids=[owner.pk])


def tell_new_number(*, account: Account, old_hash: bytes, now: int) -> None:
    """An account has another number. Who has it in the address book is told so (``notice number_changed``, and the list from then
    on). The number itself is told to those who knew the old one and stand in the account's own address book. Whom the account has
    blocked hears what a stranger hears: to be told nothing would tell of the block. Who has blocked the account hears nothing.

    Call it inside the transaction that changes the number, with the account's row locked.
    """
    blocked = Block.objects.filter(owner=account).values("user_id")
    unwilling = Block.objects.filter(user=account).values("owner_id")
    found = Contact.objects.filter(user=account, removed=False).exclude(owner_id__in=unwilling)
    own = Contact.objects.filter(owner=account, removed=False).exclude(user_id__in=blocked).values("user_id")
    trusted = found.filter(number_hash=old_hash, owner_id__in=own)
    knowing = set(trusted.values_list("owner_id", flat=True))
    found.update(number_changed_at=now, updated_at=now)
    Contact.objects.filter(user=account, owner_id__in=knowing).update(number_hash=account.phone_hash)
    told: dict[bool, list[str]] = {True: [], False: []}
    for owner in found.values_list("owner_id", flat=True)[:MAX_TOLD]:
        told[owner in knowing].append(str(owner))
    about = {"userId": str(account.pk)}
    events.notices(user_ids=told[False], kind="number_changed", data=about)
    about = {**about, "phoneNumber": account.phone or ""}
    events.notices(user_ids=told[True], kind="number_changed", data=about)


def forget_everywhere(*, account: Account, now: int) -> None:
    """An account has ended: it leaves all address books, and their owners are told (``notice contact_deleted``).

    Call it inside a transaction. The notice is live only; who is away finds the removed contact in the list.
    """
    found = Contact.objects.filter(user=account, removed=False)
    owners = [str(owner) for owner in found.values_list("owner_id", flat=True)[:MAX_TOLD]]
    found.update(removed=True, nickname="", updated_at=now)
    events.notices(user_ids=owners, kind="contact_deleted", data={"userId": str(account.pk)})
