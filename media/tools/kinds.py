"""What a file is, by its own first bytes and never by its name; only kinds on the list are worked with.

What is said here is only which decoder to try, and that nothing is seen that no decoder should meet. The decoder has the last
word. Pictures, videos and sound are always made anew, so a second meaning that is hidden in them does not come through;
documents are passed on as they are, so of them only what is one thing from the first byte to the last is taken.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import BinaryIO, Final

from media.tools import boxes, zips
from media.tools.reasons import Reason, Refused


class Family(StrEnum):
    PICTURE = "picture"
    VIDEO = "video"
    AUDIO = "audio"
    DOCUMENT = "document"


@dataclass(frozen=True, slots=True)
class Kind:
    """``media_type`` is what it is called here, ``others`` what clients call it too. ``decoder``: Pillow's name of a picture's
    format, ffmpeg's of a container, the suffix of a document."""

    family: Family
    media_type: str
    decoder: str
    others: tuple[str, ...] = ()


JPEG: Final = Kind(Family.PICTURE, "image/jpeg", "JPEG", ("image/jpg", "image/pjpeg"))
PNG: Final = Kind(Family.PICTURE, "image/png", "PNG")
WEBP: Final = Kind(Family.PICTURE, "image/webp", "WEBP")
GIF: Final = Kind(Family.PICTURE, "image/gif", "GIF")
MP4: Final = Kind(Family.VIDEO, "video/mp4", "mov", ("video/x-m4v",))
MOV: Final = Kind(Family.VIDEO, "video/quicktime", "mov")
WEBM: Final = Kind(Family.VIDEO, "video/webm", "matroska")
MKV: Final = Kind(Family.VIDEO, "video/x-matroska", "matroska", ("video/matroska",))
M4A: Final = Kind(Family.AUDIO, "audio/mp4", "mov", ("audio/m4a", "audio/x-m4a", "audio/aac"))
WEBM_AUDIO: Final = Kind(Family.AUDIO, "audio/webm", "matroska")
OGG: Final = Kind(Family.AUDIO, "audio/ogg", "ogg", ("audio/opus", "application/ogg", "audio/vorbis"))
MP3: Final = Kind(Family.AUDIO, "audio/mpeg", "mp3", ("audio/mp3", "audio/x-mp3"))
WAV: Final = Kind(Family.AUDIO, "audio/wav", "wav", ("audio/x-wav", "audio/wave", "audio/vnd.wave"))
PDF: Final = Kind(Family.DOCUMENT, "application/pdf", "pdf")
OFFICE: Final = {
    suffix: Kind(Family.DOCUMENT, media_type, suffix)
    for suffix, media_type in {
        "docx": "application/vnd.openxmlformats-officedocument.wordprocessingml.document",
        "xlsx": "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
        "pptx": "application/vnd.openxmlformats-officedocument.presentationml.presentation",
        "odt": "application/vnd.oasis.opendocument.text",
        "ods": "application/vnd.oasis.opendocument.spreadsheet",
        "odp": "application/vnd.oasis.opendocument.presentation",
    }.items()
}
ALL: Final = (
    JPEG,
    PNG,
    WEBP,
    GIF,
    MP4,
    MOV,
    WEBM,
    MKV,
    M4A,
    WEBM_AUDIO,
    OGG,
    MP3,
    WAV,
    PDF,
    *OFFICE.values(),
)

#: What says nothing: the file's own word is taken.
_UNDECLARED: Final = ("", "application/octet-stream", "binary/octet-stream")
_HEAD: Final = 4_096
_MP4_BRANDS: Final = (b"isom", b"iso", b"mp4", b"avc1", b"dash", b"MSNV", b"M4V", b"f4v", b"mmp4")
_TAIL: Final = 66_000  # of a document; the end of an archive and its longest comment


def identify(path: Path, declared: str) -> Kind:
    """The file's kind; ``declared`` is the media type that came with it (parameters are passed over; empty or
    ``application/octet-stream`` claims nothing). Reads a few kilobytes and the tables of an archive or of an MP4.

    Raises :class:`Refused`: ``empty``, ``not_allowed``, ``mismatch``, ``unreadable``, ``references``, ``expands``.
    """
    found = _sniff(path)
    claim = declared.partition(";")[0].strip().lower()
    if claim in _UNDECLARED:
        return found[0]
    for kind in found:
        if claim == kind.media_type or claim in kind.others:
            return kind
    raise Refused(Reason.MISMATCH, f"declared {claim[:80]!r}, is {found[0].media_type}")


def _sniff(path: Path) -> tuple[Kind, ...]:
    """What it may be called, the first before the others."""
    with path.open("rb") as file:
        head = file.read(_HEAD)
        size = file.seek(0, os.SEEK_END)
        if not head:
            raise Refused(Reason.EMPTY)
        if head.startswith(b"\xff\xd8\xff"):
            return (JPEG,)
        if head.startswith(b"\x89PNG\r\n\x1a\n"):
            return (PNG,)
        if head.startswith((b"GIF87a", b"GIF89a")):
            return (GIF,)
        if head.startswith(b"RIFF") and head[8:12] in (b"WEBP", b"WAVE"):
            return (WEBP,) if head[8:12] == b"WEBP" else (WAV,)
        if head[4:8] == b"ftyp":
            return _iso(file, head, size)
        if head.startswith(b"\x1a\x45\xdf\xa3") and len(head) > 4:
            return _matroska(head, size)
        if head.startswith(b"OggS") and (b"OpusHead" in head[:64] or b"\x01vorbis" in head[:64]):
            return (OGG,)
        if head.startswith(b"ID3") or _mp3_frame(head):
            return (MP3,)
        if head.startswith(b"%PDF-"):
            file.seek(max(0, size - _TAIL))
            if b"PK\x05\x06" in file.read(_TAIL):
                raise Refused(Reason.MISMATCH, "a PDF and an archive")
            return (PDF,)
        if head.startswith(b"PK\x03\x04"):
            return (OFFICE[zips.office(file, size)],)
    raise Refused(Reason.NOT_ALLOWED)


def _iso(file: BinaryIO, head: bytes, size: int) -> tuple[Kind, ...]:
    """MP4 and its family (ISO/IEC 14496-12). What is a picture inside (HEIC, AVIF) is nothing that Pillow reads."""
    length = int.from_bytes(head[:4], "big")
    brand = head[8:12]
    brands = [brand, *(head[at : at + 4] for at in range(16, min(length, 256), 4))]
    if not any(one == b"qt  " or one.startswith((b"M4A", b"M4B", *_MP4_BRANDS)) for one in brands):
        raise Refused(Reason.NOT_ALLOWED, f"brand {brand!r}")
    if brand in (b"heic", b"heix", b"heim", b"hevc", b"mif1", b"msf1", b"avif", b"avis"):
        raise Refused(Reason.NOT_ALLOWED, f"brand {brand!r}")
    tracks = boxes.tracks(file, size)
    if b"vide" in tracks:
        return (MOV, MP4) if brand == b"qt  " else (MP4, MOV)
    if b"soun" in tracks:
        return (M4A,)
    raise Refused(Reason.UNREADABLE, "neither picture nor sound")


def _matroska(head: bytes, size: int) -> tuple[Kind, ...]:
    """By the DocType (RFC 8794, section 11.2.3). A file whose one segment says where it ends must go that far; recordings that
    were written to a pipe do not say it."""
    after = 4 + _vint_length(head[4])
    inside, after = head[after : after + _vint(head[4:])], after + _vint(head[4:])
    at = inside.find(b"\x42\x82")
    name = (
        inside[at + 3 : at + 3 + (inside[at + 2] & 0x7F)].rstrip(b"\0") if 0 <= at < len(inside) - 2 else b""
    )
    if name not in (b"webm", b"matroska"):
        raise Refused(Reason.NOT_ALLOWED)
    segment = head[after : after + 12]
    if segment[:4] != b"\x18\x53\x80\x67" or len(segment) < 12:
        raise Refused(Reason.UNREADABLE, "no segment")
    width = _vint_length(segment[4])
    length = _vint(segment[4:])
    if length != (1 << (7 * width)) - 1 and after + 4 + width + length > size:
        raise Refused(Reason.UNREADABLE, "cut off")
    return (WEBM, WEBM_AUDIO, MKV) if name == b"webm" else (MKV,)


def _vint_length(first: int) -> int:
    """Bytes of a number that begins with this one (RFC 8794, section 4)."""
    return 9 - first.bit_length()


def _vint(data: bytes) -> int:
    length = _vint_length(data[0])
    return int.from_bytes(data[:length], "big") & ((1 << (7 * length)) - 1)


_MP3_RATES: Final = (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320)
_MP3_RATES_2: Final = (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160)
_HERTZ: Final = {3: (44_100, 48_000, 32_000), 2: (22_050, 24_000, 16_000), 0: (11_025, 12_000, 8_000)}


def _mp3_frame(head: bytes) -> bool:
    """Whether two frames of MPEG audio, layer III, follow each other (ISO/IEC 11172-3, section 2.4.2.3): one alone is eleven
    bits that are set, which many files have."""
    first = _mp3_length(head)
    return first > 0 and _mp3_length(head[first:]) > 0


def _mp3_length(head: bytes) -> int:
    """Bytes of the frame that begins here, 0 if none does."""
    if len(head) < 4 or head[0] != 0xFF or head[1] & 0xE6 != 0xE2:
        return 0
    version, rate, hertz, padding = (head[1] >> 3) & 3, head[2] >> 4, (head[2] >> 2) & 3, (head[2] >> 1) & 1
    if version == 1 or rate in (0, 15) or hertz == 3:
        return 0
    kilobits = (_MP3_RATES if version == 3 else _MP3_RATES_2)[rate]
    return (144 if version == 3 else 72) * 1_000 * kilobits // _HERTZ[version][hertz] + padding
