"""``POST /contacts/sync``: an address book of hashes becomes contacts. Only here may somebody ask for many numbers at once.

A hash of a telephone number hides nothing from whoever can hash all numbers, and a service that answers without bounds tells
the world who uses it (Hagen et al., *All the Numbers are US*, NDSS 2021). So the bounds are on what is asked and on what is
found, and nothing of what was not found is kept.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection
from typing import Final, NamedTuple
from uuid import UUID

from django.db import transaction
from django.db.models import Q

from accounts import limits
from accounts.locks import lock_account
from accounts.models import Account, Contact
from accounts.services import privacy, requests
from accounts.services.contacts import MAX_CONTACTS, full
from whatsapp.infra.clock import now_ms

#: A number space: numbers that differ in their last four digits only. People know few of one another's neighbours.
BLOCK_DIGITS: Final = 4
#: Hashes are counted in lots, or each would be a row.
LOT: Final = 100


class Match(NamedTuple):
    hash: bytes
    contact: Contact


def sync(*, owner: Account, hashes: Collection[bytes]) -> list[Match]:
    """Add everybody whose number's hash (:func:`accounts.models.phone_hash`) is among ``hashes``; returns all of them, those
    who were contacts already too, by user id.

    Raises :class:`Refused`: ``rate_limited`` (one call an hour; hashes a day; people found a day, and of one number space), after
    which nobody is told or added; ``limit_exceeded``.
    """
    now, subject, wanted = now_ms(), str(owner.pk), set(hashes)
    limits.count(
        scope="contact_sync_hour",
        subject=subject,
        limit=limits.limit_for(owner, "contact_syncs_per_hour"),
        window_ms=limits.HOUR_MS,
        now=now,
    )
    if wanted:
        limits.count(
            scope="contact_hashes_day",
            subject=subject,
            limit=limits.limit_for(owner, "contact_hashes_per_day") // LOT,
            window_ms=limits.DAY_MS,
            now=now,
            number=-(-len(wanted) // LOT),
        )
    with transaction.atomic():
        lock_account(owner)
        known = {
            contact.user_id: contact for contact in Contact.objects.filter(owner=owner).select_related("user")
        }
        found = Account.objects.filter(~Q(pk=owner.pk), phone_hash__in=wanted, retired_at=None).order_by("pk")
        accounts = list(found)
        new = [account for account in accounts if account.pk not in known or known[account.pk].removed]
        _count_found(owner, new, now)
        if sum(not contact.removed for contact in known.values()) + len(new) > MAX_CONTACTS:
            raise full()
        Contact.objects.bulk_create(
            [
                Contact(owner=owner, user=account, updated_at=now, number_hash=account.phone_hash)
                for account in new
                if account.pk not in known
            ]
        )
        again = [account.pk for account in new if account.pk in known]
        Contact.objects.filter(owner=owner, user__in=again).update(removed=False, updated_at=now)
        _learn_numbers(known, accounts, now)
        requests.accept(owner=owner, users=[str(account.pk) for account in new])
        if new:
            privacy.address_books_changed(owner_ids=[owner.pk])
        rows = (
            Contact.objects.filter(owner=owner, user__in=accounts).select_related("user").order_by("user_id")
        )
        return [Match(bytes(row.user.phone_hash or b""), row) for row in rows]


def _learn_numbers(known: dict[UUID, Contact], accounts: list[Account], now: int) -> None:
    """Who asked by the number knows it."""
    learned = []
    for account in accounts:
        contact = known.get(account.pk)
        if contact is not None and bytes(contact.number_hash or b"") != bytes(account.phone_hash or b""):
            contact.number_hash, contact.updated_at = account.phone_hash, now
            learned.append(contact)
    Contact.objects.bulk_update(learned, ["number_hash", "updated_at"], batch_size=1_000)


def _count_found(owner: Account, new: list[Account], now: int) -> None:
    """Inside the transaction: when one of the limits is reached, none of them counts."""
    if not new:
        return
    subject = str(owner.pk)
    limits.count(
        scope="contacts_found_day",
        subject=subject,
        limit=limits.limit_for(owner, "contacts_found_per_day"),
        window_ms=limits.DAY_MS,
        now=now,
        number=len(new),
    )
    blocks = Counter((account.phone or "")[:-BLOCK_DIGITS] for account in new)
    for block, number in sorted(blocks.items()):
        limits.count(
            scope="contacts_block_day",
            subject=f"{subject}:{block}",
            limit=limits.limit_for(owner, "contacts_of_a_block_per_day"),
            window_ms=limits.DAY_MS,
            now=now,
            number=number,
        )
