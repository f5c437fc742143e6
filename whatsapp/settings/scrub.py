"""Log lines without personal data. Code does not log phone numbers; this catches those in other people's messages, such as
PostgreSQL's ``Key (phone)=(+…) already exists``."""

from __future__ import annotations

import logging
import re

_PHONE = re.compile(r"\+\d{4,15}")
_TOKEN = re.compile(r"eyJ[\w-]+\.[\w-]+\.[\w-]+|(?i:bearer)\s+[\w.~+/-]+=*")


def scrub(text: str) -> str:
    """``text`` with phone numbers and bearer tokens replaced."""
    return _TOKEN.sub("[token]", _PHONE.sub("[phone]", text))


def unexpected(record: logging.LogRecord) -> bool:
    """For ``django.request``: only what came as an exception; who answers with a status above 499 has logged the cause."""
    return bool(record.exc_info)


class ScrubbingFormatter(logging.Formatter):
    """A formatter, not a filter: only here are the arguments and the traceback already text."""

    def format(self, record: logging.LogRecord) -> str:
        return scrub(super().format(record))
