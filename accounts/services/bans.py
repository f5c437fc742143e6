"""Bans, by staff."""

from __future__ import annotations

from django.db import transaction

from accounts import events
from accounts.models import Account


def ban(*, account: Account, until: int) -> None:
    """Ban until a time (ms): tokens are refused and live sockets close within a second. Devices stay linked, nothing is lost."""
    with transaction.atomic():
        account.banned_until = until
        account.save(update_fields=["banned_until"])
        events.user_banned(user_id=str(account.pk))


def lift(*, account: Account) -> None:
    """End a ban."""
    account.banned_until = None
    account.save(update_fields=["banned_until"])
