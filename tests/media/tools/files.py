"""Files as strangers send them, made here."""

from __future__ import annotations

import io
import struct
import zipfile
import zlib
from typing import Any

from PIL import Image

DOCX = "application/vnd.openxmlformats-officedocument.wordprocessingml.document"
ODT = "application/vnd.oasis.opendocument.text"
_TYPES = (
    '<Types xmlns="http://schemas.openxmlformats.org/package/2006/content-types"><Override PartName="/word/document.xml" '
    f'ContentType="{DOCX}.main+xml"/></Types>'
)
DOCX_MEMBERS: dict[str, str | bytes] = {"[Content_Types].xml": _TYPES, "word/document.xml": "<document/>"}


def picture(
    form: str = "JPEG",
    size: tuple[int, int] = (640, 480),
    colour: Any = "red",
    mode: str = "RGB",
    **options: Any,
) -> bytes:
    out = io.BytesIO()
    Image.new(mode, size, colour).save(out, form, **options)
    return out.getvalue()


def animated(form: str) -> bytes:
    out = io.BytesIO()
    frames = [Image.new("RGB", (64, 64), colour) for colour in ("red", "blue", "green")]
    frames[0].save(out, form, save_all=True, append_images=frames[1:])
    return out.getvalue()


def png_of_zeros(width: int, height: int, rows: int | None = None) -> bytes:
    """A PNG of one grey, without its pixels ever being in memory; ``rows`` fewer than it says."""
    packer = zlib.compressobj(9)
    row = bytes(width + 1)
    packed = b"".join(packer.compress(row) for _ in range(height if rows is None else rows)) + packer.flush()

    def chunk(name: bytes, data: bytes) -> bytes:
        return len(data).to_bytes(4, "big") + name + data + zlib.crc32(name + data).to_bytes(4, "big")

    head = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", packed) + chunk(b"IEND", b"")


def archive(members: dict[str, str | bytes], packing: int = zipfile.ZIP_DEFLATED) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", packing) as file:
        for name, content in members.items():
            file.writestr(name, content)
    return out.getvalue()


def box(name: bytes, *content: bytes) -> bytes:
    inside = b"".join(content)
    return (8 + len(inside)).to_bytes(4, "big") + name + inside


def mp4(
    *,
    brand: bytes = b"isom",
    handlers: tuple[bytes, ...] = (b"vide",),
    reference: bytes | None = None,
    more: bytes = b"",
) -> bytes:
    """The skeleton of one, without any samples."""
    own = box(b"url ", b"\0\0\0\1") if reference is None else reference
    traks = [
        box(
            b"trak",
            box(
                b"mdia",
                box(b"hdlr", bytes(8), handler, bytes(13)),
                box(b"minf", box(b"dinf", box(b"dref", bytes(4), b"\0\0\0\1", own))),
            ),
        )
        for handler in handlers
    ]
    return box(b"ftyp", brand, bytes(4), brand) + box(b"moov", *traks, more) + box(b"mdat", bytes(64))


def ebml(doctype: bytes) -> bytes:
    inside = b"\x42\x82" + bytes([0x80 | len(doctype)]) + doctype
    return (
        b"\x1a\x45\xdf\xa3"
        + bytes([0x80 | len(inside)])
        + inside
        + b"\x18\x53\x80\x67\x01"
        + bytes(6)
        + b"\x20"
        + bytes(32)
    )


MP3 = b"\xff\xfb\x90\x00" + bytes(413)
WAV = (
    b"RIFF"
    + struct.pack("<I", 36)
    + b"WAVEfmt "
    + struct.pack("<IHHIIHH", 16, 1, 1, 8000, 16000, 2, 16)
    + b"data\0\0\0\0"
)
OPUS = b"OggS" + bytes(24) + b"OpusHead" + bytes(11)
PDF = b"%PDF-1.4\n%%EOF\n"
