"""Phone numbers in E.164 (ITU-T E.164: ``+`` and at most 15 digits)."""

from __future__ import annotations

import re

import phonenumbers
from django.conf import settings

from accounts.errors import Refused
from whatsapp.wire.errors import Code

_TEST_NUMBER = re.compile(r"\+1555\d{4,7}")
_PUNCTUATION = re.compile(r"[\s().-]")


def normalize(text: str) -> str:
    """The number as E.164. Raises :class:`Refused` (``bad_request``) when it is none."""
    compact = _PUNCTUATION.sub("", text)
    if settings.PHONE_TEST_NUMBERS and _TEST_NUMBER.fullmatch(compact):
        return compact
    try:
        number = phonenumbers.parse(compact, None)
    except phonenumbers.NumberParseException:
        number = None
    if number is None or not phonenumbers.is_valid_number(number):
        raise Refused(
            Code.BAD_REQUEST,
            "phoneNumber is not a valid number with its country code.",
            details={"field": "phoneNumber"},
        )
    return phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.E164)
