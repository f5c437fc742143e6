"""How a text is coded for the air: GSM 7-bit default alphabet or UCS-2, in one segment or several (3GPP TS 23.038, 23.040).

A segment holds 140 octets: 160 septets or 70 UCS-2 units; 153 or 67 when a header says which part of a longer text it is.
"""

from __future__ import annotations

import itertools
import secrets
from dataclasses import dataclass
from typing import Final

_BASIC: Final = (
    "@£$¥èéùìòÇ\nØø\rÅåΔ_ΦΓΛΩΠΨΣΘΞ\x1bÆæßÉ !\"#¤%&'()*+,-./0123456789:;<=>?"
    "¡ABCDEFGHIJKLMNOPQRSTUVWXYZÄÖÑÜ§¿abcdefghijklmnopqrstuvwxyzäöñüà"
)
_ESCAPE: Final = 0x1B
_EXTENDED: Final = {
    "\f": 0x0A, "^": 0x14, "{": 0x28, "}": 0x29, "\\": 0x2F, "[": 0x3C, "~": 0x3D, "]": 0x3E, "|": 0x40, "€": 0x65
}  # fmt: skip
_SEPTETS: Final = {
    **{char: bytes([place]) for place, char in enumerate(_BASIC) if place != _ESCAPE},
    **{char: bytes([_ESCAPE, place]) for char, place in _EXTENDED.items()},
}

GSM: Final = 0x00  # SMPP data_coding: the centre's default alphabet, one septet an octet
UCS2: Final = 0x08  # big-endian
MAX_SEGMENTS: Final = 255


@dataclass(frozen=True, slots=True)
class Coded:
    """``segments`` as ``short_message`` of as many ``submit_sm``; with several each begins with its user data header."""

    data_coding: int
    segments: list[bytes]

    @property
    def has_header(self) -> bool:
        return len(self.segments) > 1


def encode(text: str, *, reference: int | None = None) -> Coded:
    """Code a text in the smaller way that can hold it. ``reference`` (0..255) tells segmented texts apart; random by default.

    Raises ``ValueError`` for a text of more than 255 segments.
    """
    if all(char in _SEPTETS for char in text):
        return _segmented(GSM, [_SEPTETS[char] for char in text], whole=160, part=153, reference=reference)
    # A pair of surrogates must not be torn apart.
    units = [char.encode("utf-16-be", "replace") for char in text]
    return _segmented(UCS2, units, whole=140, part=134, reference=reference)


def _segmented(coding: int, units: list[bytes], *, whole: int, part: int, reference: int | None) -> Coded:
    joined = b"".join(units)
    if len(joined) <= whole:
        return Coded(coding, [joined])
    parts = [b""]
    for unit in units:
        if len(parts[-1]) + len(unit) > part:
            parts.append(b"")
        parts[-1] += unit
    if len(parts) > MAX_SEGMENTS:
        raise ValueError("the text is too long")
    tag = secrets.randbelow(256) if reference is None else reference
    # Element 0, concatenated short messages with an 8-bit reference: reference, number of parts, this part from 1.
    headers = (bytes([5, 0, 3, tag, len(parts), number]) for number in itertools.count(1))
    return Coded(coding, [header + body for header, body in zip(headers, parts, strict=False)])
