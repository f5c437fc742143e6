"""The shapes in which an identifier may lie in a store: as text, as bytes, in hexadecimal, in base64.

A search is byte-wise, and knows nothing of what a store means by its bytes. What is encrypted or compressed it cannot look into.

It takes as long for the identifiers of some hundred people as for those of one: of what is searched only every fourth, and every
eighth, place is looked at, a machine word each. Of a shape that is somewhere a word at one of these places is part; all words of
all shapes are one set.
"""

from __future__ import annotations

import base64
import hashlib
import re
import uuid
from collections.abc import Hashable, Iterable
from typing import Final, Generic, Literal, TypeVar

#: An identifier shorter than this would be found by chance.
LEAST: Final = 7

Label = TypeVar("Label", bound=Hashable)


class Needles(Generic[Label]):
    """What is searched for: (label, identifier) pairs; the label says of what kind it is, or whose. An identifier that is a UUID
    is searched for as its bytes, too; a number in E.164 also without its plus, and by its SHA-256, which is how contacts are
    compared; one in hexadecimal as what it stands for. ``shown``: also as PostgreSQL shows bytes, in hexadecimal.

    Raises ``ValueError`` for an identifier that is too short to mean anybody."""

    def __init__(self, named: Iterable[tuple[Label, str]], *, shown: bool = False) -> None:
        self._named = list(named)
        self._labels: dict[bytes, set[Label]] = {}
        for label, text in self._named:
            if len(text) < LEAST:
                raise ValueError(f"a {label} of {len(text)} characters")
            for shape in _shapes(text):
                self._add(label, shape)
                if shown:
                    self._add(label, shape.hex().encode())
                    # Case is not told apart in text; in hexadecimal of text it is.
                    if re.fullmatch(rb"[0-9a-f-]+", shape):
                        self._add(label, shape.upper().hex().encode())
        self.labels = frozenset(label for label, _ in self._named)
        self.longest = max(map(len, self._labels), default=0)
        long = [shape for shape in self._labels if len(shape) >= 2 * _LONG - 1]
        short = [shape for shape in self._labels if len(shape) < 2 * _LONG - 1]
        self._words = [_Words(long, _LONG, "Q"), _Words(short, _SHORT, "I")]

    def _add(self, label: Label, shape: bytes) -> None:
        self._labels.setdefault(shape.lower(), set()).add(label)

    def shown(self) -> Needles[Label]:
        """The same for what PostgreSQL shows of a row."""
        return Needles(self._named, shown=True)

    def every(self, data: bytes) -> set[Label]:
        """The labels of all that is in it."""
        data = data.lower()
        found: set[Label] = set()
        for words in self._words:
            for shape in words.candidates(data):
                found |= self._labels.get(shape, frozenset())
        return found

    def every_in(self, pieces: Iterable[bytes]) -> set[Label]:
        """The same over pieces of one whole, with no more than two of them in memory; an identifier may lie across two."""
        found: set[Label] = set()
        kept = b""
        for piece in pieces:
            found |= self.every(kept + piece)
            kept = (kept + piece)[-(self.longest - 1) :] if self.longest > 1 else b""
        return found


#: Bytes of a word, of shapes that are at least twice as long but one, and of others.
_LONG: Final = 8
_SHORT: Final = 4


class _Words:
    """Shapes of at least ``2 * size - 1`` bytes: wherever one begins, it covers a whole word at a multiple of ``size``, which
    begins in the shape at one of the first ``size`` places."""

    def __init__(self, shapes: Iterable[bytes], size: int, code: Literal["Q", "I"]) -> None:
        self._size, self._code = size, code
        #: A word → at which places of shapes of which length it may stand.
        self._places: dict[int, set[tuple[int, int]]] = {}
        for shape in shapes:
            for place in range(size):
                word = memoryview(shape[place : place + size]).cast(code)[0]
                self._places.setdefault(word, set()).add((place, len(shape)))
        self._words = frozenset(self._places)

    def candidates(self, data: bytes) -> Iterable[bytes]:
        """What may be one of the shapes: of their length, with a word of one at its place."""
        whole = len(data) - len(data) % self._size
        words = memoryview(data)[:whole].cast(self._code)
        hits = self._words.intersection(words)
        if not hits:
            return
        for number, word in enumerate(words):
            if word in hits:
                at = number * self._size
                for place, length in self._places[word]:
                    if at >= place:
                        yield data[at - place : at - place + length]


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
