"""Documents that are ZIP archives: which one it is, from its tables and two small members, without unpacking the rest.

What is looked for: bombs, archives that are something else too (bytes before, between or behind), members that hide behind the
same name, passwords, and programs (macros).
"""

from __future__ import annotations

import struct
import zipfile
import zlib
from typing import BinaryIO, Final

from media.tools.reasons import Reason, Refused

_MAX_TABLE: Final = 8 * 2**20
_MAX_MEMBERS: Final = 20_000
_MAX_WORDS: Final = 2**20  # of the member that says what the document is
_UNPACKED: Final = 2**30
_SMALL: Final = 64 * 2**20  # below this no ratio is suspicious
_RATIO: Final = 100
_OOXML: Final = {
    "docx": b"wordprocessingml.document.main+xml",
    "xlsx": b"spreadsheetml.sheet.main+xml",
    "pptx": b"presentationml.presentation.main+xml",
}
_ODF: Final = {
    b"application/vnd.oasis.opendocument.text": "odt",
    b"application/vnd.oasis.opendocument.spreadsheet": "ods",
    b"application/vnd.oasis.opendocument.presentation": "odp",
}


def office(file: BinaryIO, size: int) -> str:
    """The suffix of the kind of document: docx, xlsx, pptx, odt, ods, odp. Raises :class:`Refused`: ``not_allowed`` for any other
    archive, for passwords and macros; ``expands``, ``mismatch``, ``unreadable``."""
    _whole(file, size)
    try:
        with zipfile.ZipFile(file) as archive:
            members = archive.infolist()
            _sound(members, size)
            return _which(archive, {member.filename for member in members})
    except (
        zipfile.BadZipFile,
        zlib.error,
        ValueError,
        KeyError,
        EOFError,
        NotImplementedError,
        RuntimeError,
        struct.error,
    ):
        raise Refused(Reason.UNREADABLE, "archive") from None


def _whole(file: BinaryIO, size: int) -> None:
    """Begins with its first member and ends with its table (APPNOTE.TXT 4.3.6), so nothing else shares the file."""
    tail_at = max(0, size - 22 - 65_535)
    file.seek(tail_at)
    tail = file.read()
    at = tail.rfind(b"PK\x05\x06")
    if at < 0 or len(tail) - at < 22:
        raise Refused(Reason.UNREADABLE, "an archive without its end")
    members, table, table_at, comment = struct.unpack("<10xHIIH", tail[at : at + 22])
    if members > _MAX_MEMBERS or table > _MAX_TABLE:
        raise Refused(Reason.EXPANDS, "members without end")
    end = tail_at + at
    if len(tail) - at - 22 != comment:
        raise Refused(Reason.MISMATCH, "something behind an archive")
    between = end - table_at - table
    # Some writers add the records of large archives to small ones: 76 bytes.
    if between not in (0, 76) or (between and tail[at - 20 : at - 16] != b"PK\x06\x07"):
        raise Refused(Reason.MISMATCH, "something in an archive's table")


def _sound(members: list[zipfile.ZipInfo], size: int) -> None:
    if len({member.filename for member in members}) != len(members):
        raise Refused(Reason.MISMATCH, "two members of one name")
    if any(member.flag_bits & 1 for member in members):
        raise Refused(Reason.NOT_ALLOWED, "a password")
    if any(member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED) for member in members):
        raise Refused(Reason.NOT_ALLOWED, "a way of packing that documents do not use")
    unpacked = sum(member.file_size for member in members)
    if unpacked > _UNPACKED or unpacked > max(_SMALL, _RATIO * size):
        raise Refused(Reason.EXPANDS, f"{unpacked} bytes from {size}")
    if sum(member.compress_size for member in members) > size:
        raise Refused(Reason.EXPANDS, "members that overlap")


def _which(archive: zipfile.ZipFile, names: set[str]) -> str:
    lower = {name.lower() for name in names}
    if any(name.endswith("vbaproject.bin") or name.startswith(("basic/", "scripts/")) for name in lower):
        raise Refused(Reason.NOT_ALLOWED, "macros")
    found = []
    if "[Content_Types].xml" in names:
        words = _read(archive, "[Content_Types].xml")
        found = [suffix for suffix, word in _OOXML.items() if word in words]
    if "mimetype" in names:
        odf = _ODF.get(_read(archive, "mimetype").strip())
        found += [odf] if odf else []
    if not found:
        raise Refused(Reason.NOT_ALLOWED, "an archive")
    if len(found) > 1:
        raise Refused(Reason.MISMATCH, "several documents in one")
    return found[0]


def _read(archive: zipfile.ZipFile, name: str) -> bytes:
    with archive.open(name) as member:
        words = member.read(_MAX_WORDS + 1)
    if len(words) > _MAX_WORDS:
        raise Refused(Reason.EXPANDS, name)
    return words
