"""Keys of objects, and what is written beside them.

Objects that are shown are named by their content: ``media/2026/11/27/<sha256>_full.webp``, with the day (UTC) on which they
were made. What is being uploaded, and what nobody has looked at yet, is ``incoming/<media id>``.
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Mapping
from datetime import UTC, datetime

MEDIA = "media/"
INCOMING = "incoming/"

#: What of an object is shown: the whole, its small picture, a video in less.
KINDS = ("full", "thumb", "poster", "720p", "1080p", "voice", "waveform")

_KEY = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*(?:/[A-Za-z0-9][A-Za-z0-9._-]*)*")
_SHA256 = re.compile(r"[0-9a-f]{64}")
_EXTENSION = re.compile(r"[a-z0-9]{1,8}")
_MEDIA_TYPE = re.compile(r"[a-z0-9][a-z0-9!#$&^_.+-]{0,63}/[a-z0-9][a-z0-9!#$&^_.+-]{0,126}")
_MOST_KEY = 512
#: Bytes of names and values together (S3 allows 2 KB).
_MOST_METADATA = 2_048


def check(key: str) -> str:
    """The key. Raises ``ValueError`` unless it is letters, digits, ``._-`` in folders, none of which begins with a dot."""
    if len(key) > _MOST_KEY or not _KEY.fullmatch(key):
        raise ValueError(f"{key[:80]!r} is no key")
    return key


def check_media_type(media_type: str) -> str:
    """Type and subtype in lower case, without parameters (RFC 6838). Raises ``ValueError``."""
    if not _MEDIA_TYPE.fullmatch(media_type):
        raise ValueError(f"{media_type[:80]!r} is no media type")
    return media_type


def check_metadata(metadata: Mapping[str, str] | None) -> dict[str, str]:
    """A copy. Raises ``ValueError`` for what HTTP headers do not carry, or too much of it."""
    found = dict(metadata or {})
    for name, value in found.items():
        if not re.fullmatch(r"[a-z0-9-]{1,64}", name) or not re.fullmatch(
            r"[\x21-\x7e](?:[\x20-\x7e]*[\x21-\x7e])?", value
        ):
            raise ValueError(
                f"{name[:80]!r} is no metadata: names in a-z, 0-9 and -, values in printable ASCII"
            )
    if sum(len(name) + len(value) for name, value in found.items()) > _MOST_METADATA:
        raise ValueError(f"more than {_MOST_METADATA} bytes of metadata")
    return found


def media(sha256: str, kind: str, extension: str, made_ms: int) -> str:
    """The key of an object with this content (hex), one of :data:`KINDS`, made at ``made_ms``."""
    if not _SHA256.fullmatch(sha256) or kind not in KINDS or not _EXTENSION.fullmatch(extension):
        raise ValueError(f"no name for {sha256[:80]!r}, {kind[:80]!r}, {extension[:80]!r}")
    return f"{day(made_ms)}{sha256}_{kind}.{extension}"


def day(at_ms: int) -> str:
    """What the keys of a day begin with."""
    return f"{MEDIA}{datetime.fromtimestamp(at_ms / 1000, UTC):%Y/%m/%d}/"


def incoming(media_id: uuid.UUID) -> str:
    """The key of what is uploaded as ``media_id``."""
    return f"{INCOMING}{media_id}"


def metadata(*, uploader: str, conversation: str = "", at_ms: int) -> dict[str, str]:
    """What is written beside an object: whose it is and since when. A bucket that encrypts adds the id of the key."""
    found = {
        "user-id": uploader,
        "conversation-id": conversation,
        "upload-time": datetime.fromtimestamp(at_ms / 1000, UTC)
        .isoformat(timespec="milliseconds")
        .replace("+00:00", "Z"),
    }
    return check_metadata({name: value for name, value in found.items() if value})
