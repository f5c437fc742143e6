"""One's own profile."""

from __future__ import annotations

from collections.abc import Mapping

from django.db import transaction

from accounts import limits, profiles
from accounts.locks import ended
from accounts.models import Account
from whatsapp.infra.clock import now_ms

FIELDS = ("name", "about", "language")


#: What others see.
_SHOWN = frozenset(("name", "about"))


def update_profile(*, account: Account, changes: Mapping[str, str], device_id: str = "") -> Account:
    """Set what is given of ``FIELDS``; other keys are ignored. ``device_id``: which one of the account's does it.

    Raises :class:`accounts.errors.Refused` (``rate_limited``; ``not_found``: the account has ended).
    """
    fields = [field for field in FIELDS if field in changes and changes[field] != getattr(account, field)]
    if not fields:
        return account
    limits.count(
        scope="profile_hour",
        subject=str(account.pk),
        limit=limits.limit_for(account, "profile_changes_per_hour"),
        window_ms=limits.HOUR_MS,
        now=now_ms(),
    )
    with transaction.atomic():
        living = Account.objects.filter(pk=account.pk, retired_at=None)
        if not living.update(**{field: changes[field] for field in fields}):
            raise ended()
        if what := _SHOWN.intersection(fields):
            profiles.changed(user_id=str(account.pk), device_id=device_id, what=what)
    for field in fields:
        setattr(account, field, changes[field])
    return account
