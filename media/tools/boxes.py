"""The skeleton of an MP4 or a QuickTime file (ISO/IEC 14496-12; QuickTime File Format): what tracks it has, that it is whole, and
that all its data is its own. A file may say that its samples are elsewhere, in another file or at an address; no file from a
stranger has a reason to."""

from __future__ import annotations

import struct
from typing import BinaryIO, Final

from media.tools.reasons import Reason, Refused

_INSIDE: Final = (b"moov", b"trak", b"mdia", b"minf", b"dinf")
#: A video of hours in fragments of a second has some ten thousand.
_MAX_BOXES: Final = 200_000
_MAX_REFERENCES: Final = 1_000
#: Whole movies that are only named (``rmra``), and an index that is unpacked by whoever reads it (``cmov``).
_ELSEWHERE: Final = (b"rmra", b"rmda")


def tracks(file: BinaryIO, size: int) -> set[bytes]:
    """The kinds of its tracks, ``vide`` and ``soun`` among them. ``size``: of the file, bytes. Raises :class:`Refused`."""
    found: set[bytes] = set()
    left = [_MAX_BOXES]
    names = _walk(file, 0, size, found, left, 0)
    if b"moov" not in names:
        raise Refused(Reason.UNREADABLE, "no moov")
    return found


def _walk(file: BinaryIO, start: int, end: int, found: set[bytes], left: list[int], depth: int) -> set[bytes]:
    names: set[bytes] = set()
    while end - start >= 8:
        left[0] -= 1
        if left[0] < 0:
            raise Refused(Reason.UNREADABLE, "boxes without end")
        file.seek(start)
        head = file.read(16)
        length, name, after = int.from_bytes(head[:4], "big"), head[4:8], 8
        if length == 1:
            length, after = int.from_bytes(head[8:16], "big"), 16
        elif length == 0 and (depth == 0 or head[4:8] == b"\0\0\0\0"):
            # To the end of the file; or the zero word that ends a list of QuickTime's.
            length = end - start
        if length < after or start + length > end:
            raise Refused(Reason.UNREADABLE, f"{name!r} does not end inside its place")
        names.add(name)
        _look(file, name, start + after, start + length, found)
        if name in _INSIDE and depth < len(_INSIDE):
            _walk(file, start + after, start + length, found, left, depth + 1)
        start += length
    return names


def _look(file: BinaryIO, name: bytes, start: int, end: int, found: set[bytes]) -> None:
    if name in _ELSEWHERE:
        raise Refused(Reason.REFERENCES, "a movie that names others")
    if name == b"cmov":
        raise Refused(Reason.NOT_ALLOWED, "a packed index")
    if name == b"hdlr" and end - start >= 12:
        file.seek(start + 8)
        found.add(file.read(4))
    if name == b"dref":
        _only_itself(file, start, end)


def _only_itself(file: BinaryIO, start: int, end: int) -> None:
    """Each entry of a data reference must have the flag "in this file" (section 8.7.2)."""
    file.seek(start)
    head = file.read(8)
    if len(head) < 8:
        raise Refused(Reason.UNREADABLE, "dref")
    (count,) = struct.unpack(">4xI", head)
    if count > _MAX_REFERENCES:
        raise Refused(Reason.UNREADABLE, "dref")
    start += 8
    for _ in range(count):
        file.seek(start)
        entry = file.read(12)
        if len(entry) < 12 or start + 12 > end:
            raise Refused(Reason.UNREADABLE, "dref")
        length, kind, flags = struct.unpack(">I4sI", entry)
        if not flags & 1:
            raise Refused(Reason.REFERENCES, f"data in another place ({kind!r})")
        start += max(12, length)
