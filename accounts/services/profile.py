"""One's own profile."""

from __future__ import annotations

from collections.abc import Mapping

from accounts.models import Account

FIELDS = ("name", "about", "language")


def update_profile(*, account: Account, changes: Mapping[str, str]) -> Account:
    """Set what is given of ``FIELDS``; other keys are ignored."""
    fields = [field for field in FIELDS if field in changes]
    for field in fields:
        setattr(account, field, changes[field])
    if fields:
        account.save(update_fields=fields)
    return account
