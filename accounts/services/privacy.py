"""What an account shows to whom."""

from __future__ import annotations

import uuid
from collections.abc import Collection, Mapping
from typing import Final

from django.db import transaction
from django.db.models import Q

from accounts import events
from accounts.locks import lock_account
from accounts.models import Account, Audience, Privacy

#: Names of the interface → fields.
FIELDS: Final = {
    "lastSeen": "last_seen",
    "online": "online",
    "photo": "photo",
    "about": "about",
    "readReceipts": "read_receipts",
}
NAMES: Final = {Audience.EVERYONE: "everyone", Audience.CONTACTS: "contacts", Audience.NOBODY: "nobody"}
_VALUES: Final = {name: value for value, name in NAMES.items()}


def settings_of(*, account: Account) -> dict[str, str]:
    """As the interface names them."""
    found = Privacy.objects.filter(account=account).first() or Privacy(account=account)
    return {name: NAMES[Audience(getattr(found, field))] for name, field in FIELDS.items()}


def change(*, account: Account, changes: Mapping[str, str], device_id: str = "") -> dict[str, str]:
    """Set what is given (names and values of the interface, checked before); answers all settings."""
    with transaction.atomic():
        # Two devices that change different settings both count.
        lock_account(account)
        before = settings_of(account=account)
        after = {**before, **{name: changes[name] for name in FIELDS if name in changes}}
        if after != before:
            Privacy.objects.update_or_create(
                account=account, defaults={field: _VALUES[after[name]] for name, field in FIELDS.items()}
            )
            events.notice(user_id=str(account.pk), kind="flags", data={"privacy": after}, but=device_id)
            events.visibility_changed(user_ids=[str(account.pk)])
            if after["readReceipts"] != before["readReceipts"]:
                events.reads_changed(user_ids=[str(account.pk)])
        return after


def address_books_changed(*, owner_ids: Collection[uuid.UUID]) -> None:
    """What these show to contacts, they show to others than before. Told on commit."""
    contacts = Audience.CONTACTS
    found = Privacy.objects.filter(account__in=owner_ids)
    reads = found.filter(read_receipts=contacts).values_list("account_id", flat=True)
    seen = found.filter(Q(online=contacts) | Q(last_seen=contacts)).values_list("account_id", flat=True)
    events.reads_changed(user_ids=[str(owner) for owner in reads])
    events.visibility_changed(user_ids=[str(owner) for owner in seen])
