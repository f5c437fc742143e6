"""Prefixes of numbers: what fraud with paid messages is seen by. Whoever earns by them has ranges of numbers, not single ones."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Final

import phonenumbers
from django.conf import settings

#: Digits of the national number that belong to a prefix: an area code or an operator in most countries.
_NATIONAL: Final = 3
#: Of an operator's number that no table prices, in the units of ``SMS_PRICES``.
PRICE: Final = 50


def prefix_of(phone: str) -> str:
    """``+4915112345678`` → ``49151``; "" for a test number, to which nothing is sent. ``phone`` is E.164."""
    if settings.PHONE_TEST_NUMBERS and phone.startswith("+1555"):
        return ""
    number = phonenumbers.parse(phone, None)
    national = phonenumbers.national_significant_number(number)
    return f"{number.country_code}{national[:_NATIONAL]}"


def beginnings(phone: str) -> list[str]:
    """Every prefix that a switch or a table may have for this number, the longest first; "" at last."""
    digits = phone.removeprefix("+")
    return [digits[:length] for length in range(len(digits), -1, -1)]


def longest(table: Mapping[str, int], phone: str, otherwise: int) -> int:
    """The entry of the longest prefix in the table."""
    return next((table[prefix] for prefix in beginnings(phone) if prefix in table), otherwise)


class NoPrices(Exception):
    """The table that the operator named cannot be read: what a message costs is not known."""


def price(phone: str) -> int:
    """Of one message to this number, in units of the operator's own. Raises :class:`NoPrices`."""
    try:
        table = table_of(settings.SMS_PRICES)
    except (OSError, ValueError) as error:
        raise NoPrices(type(error).__name__) from None
    return longest(table, phone, PRICE)


@lru_cache(maxsize=8)
def table_of(path: str) -> Mapping[str, int]:
    """A JSON object prefix → whole number, read once a process. A ``+`` is ignored. Raises ``ValueError`` and ``OSError``: the
    caller must not go on without the table that it was told to use."""
    if not path:
        return {}
    read = json.loads(Path(path).read_text(encoding="utf-8"))
    if not isinstance(read, dict):
        raise ValueError(f"{path}: no object")
    table = {str(prefix).removeprefix("+"): value for prefix, value in read.items()}
    for prefix, value in table.items():
        if (
            not (prefix == "" or (prefix.isascii() and prefix.isdigit()))
            or type(value) is not int
            or value < 0
        ):
            raise ValueError(f"{path}: {prefix!r} is no prefix with a whole number")
    return table
