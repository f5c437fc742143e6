"""The text form of token keys: ``kid:secret`` entries, separated by commas or lines; the first key signs, all of them verify."""

from __future__ import annotations

import re

#: HS256 keys shorter than the hash are weaker than the hash (RFC 7518, section 3.2).
MIN_BYTES = 32


def parse(text: str) -> dict[str, str]:
    """An ordered dict of kid → secret. Raises ``ValueError``, which names no secret."""
    keys: dict[str, str] = {}
    for entry in re.split(r"[,\n]", text.strip().rstrip(",")):
        kid, separator, secret = entry.strip().partition(":")
        if not separator or not kid or len(secret.encode()) < MIN_BYTES:
            raise ValueError(f"must be kid:secret[,kid:secret…] with secrets of at least {MIN_BYTES} bytes")
        keys[kid] = secret
    return keys
