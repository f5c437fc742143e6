"""Searching by what is indexed: ids and phone numbers. Never a scan of a table, never an error for odd input."""

from __future__ import annotations

import uuid

from accounts.errors import Refused
from accounts.models import Account
from accounts.phone import normalize


def uuid_of(text: str) -> uuid.UUID | None:
    try:
        return uuid.UUID(text.strip())
    except ValueError:
        return None


def number_of(text: str) -> str | None:
    """The number as E.164; ``+`` may be missing."""
    text = text.strip()
    for candidate in (text, f"+{text}"):
        try:
            return normalize(candidate)
        except Refused:
            continue
    return None


def account_of(text: str) -> Account | None:
    """The account with this id or number."""
    found = uuid_of(text)
    if found is not None:
        return Account.objects.filter(pk=found).first()
    number = number_of(text)
    return Account.objects.filter(phone=number).first() if number is not None else None
