"""What speaks against a number: a class without arguments, named by ``PHONE_RISK``, whose ``score`` says it from 0 to 100."""

from __future__ import annotations

from typing import Final, Protocol

import phonenumbers
from django.conf import settings
from phonenumbers import PhoneNumberType

from accounts.guards import calls, prefixes


class Unknown(Exception):
    """Nobody says how the number is."""


class Risk(Protocol):
    def score(self, number: str, address: str) -> int:
        """0: nothing speaks against it, 100: everything. ``number`` in E.164. Raises :class:`Unknown`."""


#: By the numbering plans of the world, as ``phonenumbers`` knows them.
_TYPES: Final = {
    PhoneNumberType.PREMIUM_RATE: 100,
    PhoneNumberType.SHARED_COST: 100,
    PhoneNumberType.PAGER: 100,
    PhoneNumberType.UAN: 100,
    PhoneNumberType.VOICEMAIL: 100,
    PhoneNumberType.TOLL_FREE: 100,
    PhoneNumberType.VOIP: 70,
    PhoneNumberType.PERSONAL_NUMBER: 70,
    PhoneNumberType.UNKNOWN: 40,
    PhoneNumberType.FIXED_LINE: 30,
}


class TableRisk:
    """The operator's table (``PHONE_RISK_FILE``, JSON prefix → score: ranges of virtual numbers, of fraud), and where it has
    nothing, the kind of number that the numbering plan says."""

    def score(self, number: str, address: str) -> int:
        try:
            table = prefixes.table_of(settings.PHONE_RISK_FILE)
        except (OSError, ValueError) as error:
            raise Unknown(type(error).__name__) from None
        kind = phonenumbers.number_type(phonenumbers.parse(number, None))
        return min(prefixes.longest(table, number, _TYPES.get(kind, 0)), 100)


class HttpRisk:
    """A service: ``POST PHONE_RISK_URL {phoneNumber, address}`` with a bearer token, answered by ``{score}``."""

    def score(self, number: str, address: str) -> int:
        headers = {"Authorization": f"Bearer {settings.PHONE_RISK_TOKEN}"}
        try:
            said = calls.post(
                settings.PHONE_RISK_URL, headers=headers, json={"phoneNumber": number, "address": address}
            )
        except calls.NoAnswer as error:
            raise Unknown(str(error)) from None
        score = said.get("score")
        if isinstance(score, bool) or not isinstance(score, int | float) or not 0 <= score <= 100:
            raise Unknown("no score")
        return round(score)
