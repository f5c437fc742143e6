"""Log lines without personal data. Code does not log phone numbers; this catches those in other people's messages, such as
PostgreSQL's ``Key (phone)=(+…) already exists``."""

from __future__ import annotations

import logging
import re

_PHONE = re.compile(r"\+\d{4,15}")
#: Values that PostgreSQL puts into its messages: "Key (name)=(…) already exists", "Failing row contains (…)", "type uuid: "…"".
_VALUES = re.compile(
    r"(?<==\()[^\n]*(?=\) (?:already|is|conflicts|exists))|(?<=Failing row contains \()[^\n]*(?=\))|(?<=: \")[^\"\n]*(?=\"$)",
    re.M,
)
_TOKEN = re.compile(r"eyJ[\w-]+\.[\w-]+\.[\w-]+|(?i:bearer)\s+[\w.~+/-]+=*")


#: "redis://:secret@host": user and password of an address.
_CREDENTIALS = re.compile(r"(?<=://)[^\s/@\"']*:[^\s/@\"']*(?=@)")


def scrub(text: str) -> str:
    """``text`` with phone numbers, bearer tokens, passwords of addresses and the values in PostgreSQL's messages replaced."""
    known = _CREDENTIALS.sub("[credentials]", _TOKEN.sub("[token]", _PHONE.sub("[phone]", text)))
    return _VALUES.sub(lambda value: value.group() if value.group() == "[phone]" else "[value]", known)


def unexpected(record: logging.LogRecord) -> bool:
    """For ``django.request``: only what came as an exception; who answers with a status above 499 has logged the cause."""
    return bool(record.exc_info)


class ScrubbingFormatter(logging.Formatter):
    """A formatter, not a filter: only here are the arguments and the traceback already text."""

    def format(self, record: logging.LogRecord) -> str:
        return scrub(super().format(record))
