"""Numbers that a carrier gave to somebody else: who gets the code is not always the person whose account the number had.

No server can know; WhatsApp takes 45 days of silence followed by another device as the sign, and so do we. Then the newcomer
gets a new account, and the old one is retired: nothing of it, chats, contacts or profile, is seen by the newcomer, and nobody
who wrote to the old person writes to the new one without noticing. Why not otherwise: ``docs/adr/0024-recycled-numbers.md``.
"""

from __future__ import annotations

from django.db.models import Max

from accounts import endings, profiles
from accounts.limits import DAY_MS
from accounts.models import Account, Block, Contact, Device, Pin, Privacy
from accounts.services import carried, erasure, exports, holds, identities
from accounts.services.contacts import forget_everywhere
from accounts.services.devices import end_device
from accounts.services.photos import take_photo
from delivery.store.sync import store
from whatsapp.infra import metrics
from whatsapp.infra.limits import LIMITS


def last_used(*, account: Account) -> int:
    """When a device of the account, unlinked ones too, was last connected, refreshed or verified (ms); an hour inaccurate."""
    seen = Device.objects.filter(user=account).aggregate(last=Max("last_seen_at"))["last"] or 0
    return max(seen, account.created_at)


def changed_hands(*, account: Account, now: int) -> bool:
    """Whether the account has been silent for so long that who verifies its number on a new device counts as somebody else."""
    return last_used(account=account) <= now - LIMITS.recycled_after_days * DAY_MS


def locked_until(*, account: Account) -> int:
    """Of an account with a PIN: from when on (ms) who has its number, and not its PIN, may begin anew with it."""
    return last_used(account=account) + LIMITS.registration_lock_days * DAY_MS


def retire(*, account: Account, now: int) -> None:
    """Take number, PIN, devices, profile, photo, address book, blocks, settings and drafts from an account; its id stays in the
    logs of its conversations until the erasure of the rest, which begins with this (``services/erasure.py``).

    Under a legal hold profile, photo, address book, blocks, settings and drafts stay in their rows, seen by nobody, and the
    number in the erasure's; the erasure that follows the hold takes them.

    Call it inside a transaction, with the account's row locked.
    """
    erasure.begin(account=account, now=now)  # first: it notes what the rest of this deletes
    if not changed_hands(account=account, now=now):
        carried.keep(account=account, now=now)
    exports.end(account=account, now=now)
    # In the order of their keys, as whoever bans an installation locks them.
    for device in Device.objects.select_for_update().filter(user=account, unlinked_at=None).order_by("pk"):
        end_device(device=device, now=now, reason="ended")
    Pin.objects.filter(account=account).delete()
    forget_everywhere(account=account, now=now)
    identities.forget(account=account)
    if not holds.is_held(account.pk):
        _empty(account)
    account.phone, account.retired_at = None, now
    account.save(update_fields=["phone", "phone_hash", "retired_at", "name", "about", "language"])
    profiles.changed(user_id=str(account.pk))
    endings.ended(str(account.pk))
    metrics.count("accounts", "retired")


def _empty(account: Account) -> None:
    Contact.objects.filter(owner=account).delete()
    Block.objects.filter(owner=account).delete()
    Privacy.objects.filter(account=account).delete()
    store.forget_flags(str(account.pk))
    take_photo(account)
    account.name = account.about = account.language = ""
