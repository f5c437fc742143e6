"""What the server says of a ban, in words: until when, and where its owner may say that it is wrong."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any
from urllib.parse import urljoin

#: A ban that ends later has no end to speak of.
_NO_END = 4_102_444_800_000  # the year 2100, in ms


def describe(details: Any, base: str = "") -> str:
    """``details`` of the error ``banned`` (``until`` in ms, ``appealUrl``) behind "this account is banned"; "" for none.
    ``base``: the server's address, to which a path in them belongs."""
    if not isinstance(details, dict):
        return ""
    until, appeal = details.get("until"), details.get("appealUrl")
    said = ""
    if isinstance(until, int) and 0 < until < _NO_END:
        said = datetime.fromtimestamp(until / 1000, UTC).strftime(" until %Y-%m-%d %H:%M UTC")
    if isinstance(appeal, str) and appeal:
        said += f"; if that is wrong, say so at {urljoin(base, appeal)}"
    return said
