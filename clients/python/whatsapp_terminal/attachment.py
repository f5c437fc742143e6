"""The file that a message carries, as plain values: what the message says of it, made harmless where it is shown.

Everything here was chosen by somebody else: nothing of it is believed but the address, and that only on our own server."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from whatsapp_client import Sealed

from . import text

#: What a message of this kind carries is called so.
NAMES = {
    "image": "Photo", "sticker": "Sticker", "video": "Video", "audio": "Audio", "voice": "Voice note", "document": "File",
}  # fmt: skip
PICTURES = ("image", "sticker", "video")
SOUNDS = ("voice", "audio")
_ADDRESS = re.compile(r"/media/[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}/content")
SHOWN_NAME = 80  # characters


@dataclass(frozen=True, slots=True, repr=False)
class File:
    """``url``: empty for what cannot be fetched; ``size``: bytes, 0: not told; ``sealed``: of an encrypted one, with its key.
    ``name``: as the sender gave it."""

    kind: str
    url: str = ""
    name: str = ""
    size: int = 0
    caption: str = ""
    media_type: str = ""
    sealed: Sealed | None = field(default=None)

    @property
    def title(self) -> str:
        """``Photo``, or the name of the file where it says more; one line, harmless."""
        called = text.one_line(self.name)[:SHOWN_NAME]
        return called or NAMES[self.kind]


def file_of(kind: str, content: bytes | None, fields: Mapping[str, Any]) -> File | None:
    """None for a message without a file."""
    url = str(fields.get("mediaUrl") or "")
    if kind not in NAMES or not url or content is None:
        return None
    if not _ADDRESS.fullmatch(url):
        url = ""  # somebody else's server is not asked for anything
    try:
        sealed = Sealed.from_bytes(content)
    except ValueError:
        return File(kind, url, caption=content.decode("utf-8", "replace"))
    # A key that belongs to another file opens none.
    url = url if sealed.media_url == url else ""
    return File(kind, url, sealed.name, sealed.size, sealed.caption, sealed.media_type, sealed)


def media_id(url: str) -> str:
    """Of an address that :func:`file_of` has let pass."""
    return url.split("/")[2]


def words(kind: str, content: bytes) -> str:
    """A message of such a kind in a line of the list: what it is, and its caption."""
    try:
        sealed = Sealed.from_bytes(content)
        said = sealed.caption or (sealed.name if kind == "document" else "")
    except ValueError:
        said = content[:1_600].decode("utf-8", "replace")
    return f"{NAMES[kind]}: {said}" if said else NAMES[kind]


def size_words(size: int) -> str:
    """``482 KB``; empty for a size that nobody told."""
    if size <= 0:
        return ""
    value = float(size)
    for unit in ("B", "KB", "MB", "GB"):
        if value < 1_000 or unit == "GB":
            return f"{value:.0f} {unit}" if value >= 10 or unit == "B" else f"{value:.1f} {unit}"
        value /= 1_000
    return ""
