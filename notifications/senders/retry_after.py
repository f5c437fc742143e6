"""``Retry-After`` (RFC 9110 section 10.2.3)."""

from __future__ import annotations

from email.utils import parsedate_to_datetime
from typing import Final

#: What a provider asks for beyond is not believed: a push is worth nothing by then.
LONGEST_MS: Final = 3_600_000


def retry_after_ms(text: str | None, now_ms: int) -> int | None:
    """How long to wait, from a number of seconds or a date; None where there is neither."""
    if text is None:
        return None
    text = text.strip()
    if text.isascii() and text.isdigit():
        return min(int(text[:10]) * 1_000, LONGEST_MS)
    try:
        at_ms = int(parsedate_to_datetime(text).timestamp() * 1_000)
    except (ValueError, OverflowError):
        return None
    return max(0, min(at_ms - now_ms, LONGEST_MS))
