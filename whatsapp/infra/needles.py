"""The shapes in which an identifier may lie in a store: as text, as bytes, in hexadecimal, in base64.

A search is byte-wise, and knows nothing of what a store means by its bytes. What is encrypted or compressed it cannot look into.
"""

from __future__ import annotations

import base64
import hashlib
import re
import uuid
from collections.abc import Iterable
from typing import Final

#: An identifier shorter than this would be found by chance.
LEAST: Final = 7


class Needles:
    """What is searched for: (kind, identifier) pairs. An identifier that is a UUID is searched for as its bytes, too; a number in
    E.164 also without its plus, and by its SHA-256, which is how contacts are compared; one in hexadecimal as what it stands
    for. Raises ``ValueError`` for an identifier that is too short to mean anybody."""

    def __init__(self, named: Iterable[tuple[str, str]]) -> None:
        self.kinds: dict[str, frozenset[bytes]] = {}
        for kind, text in named:
            if len(text) < LEAST:
                raise ValueError(f"a {kind} of {len(text)} characters")
            self.kinds[kind] = self.kinds.get(kind, frozenset()) | frozenset(_shapes(text))
        shapes = sorted(set().union(*self.kinds.values()), key=len, reverse=True)
        self.longest = max(map(len, shapes), default=0)
        self._kind_of = {shape.lower(): kind for kind, found in self.kinds.items() for shape in found}
        self._pattern = re.compile(b"|".join(map(re.escape, shapes)) or rb"(?!)", re.IGNORECASE)

    def find(self, data: bytes) -> str:
        """The kind of an identifier in it, "" when there is none."""
        found = self._pattern.search(data)
        return self._kind_of.get(found[0].lower(), "?") if found is not None else ""

    def find_in(self, pieces: Iterable[bytes]) -> str:
        """The same over pieces of one whole, with no more than two of them in memory; an identifier may lie across two."""
        kept = b""
        for piece in pieces:
            found = self.find(kept + piece)
            if found:
                return found
            kept = (kept + piece)[-(self.longest - 1) :] if self.longest > 1 else b""
        return ""

    def text_patterns(self) -> dict[str, str]:
        """By kind a regular expression for what PostgreSQL shows of a row: text as it is, bytes in hexadecimal."""
        found = {}
        for kind, shapes in self.kinds.items():
            texts = {shape.decode() for shape in shapes if shape.isascii() and shape.decode().isprintable()}
            texts |= {shape.hex() for shape in shapes}
            # Case is not told apart in text; in hexadecimal of text it is.
            texts |= {shape.upper().hex() for shape in shapes if re.fullmatch(rb"[0-9a-f-]+", shape)}
            found[kind] = "|".join(sorted(map(re.escape, texts)))
        return found


def _shapes(text: str) -> set[bytes]:
    raws: set[bytes] = set()
    shapes = {text.encode()}
    try:
        raws.add(uuid.UUID(text).bytes)
    except ValueError:
        if re.fullmatch(r"\+[0-9]{7,15}", text):
            shapes.add(text[1:].encode())
            raws.add(hashlib.sha256(text.encode()).digest())
        elif len(text) >= 32 and len(text) % 2 == 0 and re.fullmatch(r"[0-9a-f]+", text):
            raws.add(bytes.fromhex(text))
    for raw in raws:
        shapes |= {raw, raw.hex().encode()}
        shapes |= _base64(raw)
    return shapes | _base64(text.encode())


def _base64(raw: bytes) -> set[bytes]:
    """What of its base64 does not depend on what stands before and behind it: three shapes, by where it begins."""
    found = set()
    for before in range(3):
        coded = base64.b64encode(bytes(before) + raw + bytes(3))
        first = (before * 8 + 5) // 6
        last = ((before + len(raw)) * 8) // 6
        part = coded[first:last]
        if len(part) >= LEAST:
            found |= {part, part.replace(b"+", b"-").replace(b"/", b"_")}
    return found
