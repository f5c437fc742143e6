"""The small picture of an encrypted file, which the server keeps beside it: made here, encrypted here, opened by who has the key
of the file.

It is encrypted as one: 12 random bytes, then AES-256-GCM under a key of its own, derived from the file's by HKDF (RFC 5869). So
it shares no nonce with the file, and may be encrypted anew when an upload is gone on with. That it is the sender's is said by its
SHA-256 in the message, as of the file. Why so: docs/adr/0135.
"""

from __future__ import annotations

import hashlib
import os
import secrets
import warnings
from collections.abc import Callable
from io import BytesIO
from typing import BinaryIO

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from .errors import MediaDamaged

NONCE, TAG = 12, 16
MOST = 65_536  # bytes that the server keeps
SIDE = 150  # pixels
MAX_PIXELS = 100_000_000  # of a picture that a small one is made of
FORMATS = ("JPEG", "PNG", "WEBP", "GIF")
_INFO = b"whatsapp thumbnail 1"


def made(source: BinaryIO, check: Callable[[], None] = lambda: None) -> bytes:
    """150×150 pixels from the middle of a picture, as JPEG without anything else that was in the file; empty for what is
    none, for one that is too large, and without Pillow (the extra ``pictures``)."""
    try:
        from PIL import Image, ImageOps
    except ImportError:
        return b""
    check()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with Image.open(source, formats=FORMATS) as found:
                if found.width * found.height > MAX_PIXELS:
                    return b""
                found.draft("RGB", (2 * SIDE, 2 * SIDE))
                upright = ImageOps.exif_transpose(found)
                small = ImageOps.fit(upright.convert("RGB"), (SIDE, SIDE))
    except Exception:  # whatever a damaged file makes of a decoder, the file itself can be sent
        return b""
    target = BytesIO()
    small.save(target, "JPEG", quality=80)
    return target.getvalue()


def seal(key: bytes, thumbnail: bytes, nonce: bytes = b"") -> tuple[bytes, bytes]:
    """``key``: of the file. What the server keeps, and its SHA-256. Raises ValueError for more than it keeps."""
    if len(thumbnail) > MOST - NONCE - TAG:
        raise ValueError(f"a thumbnail has at most {MOST - NONCE - TAG} bytes")
    nonce = nonce or secrets.token_bytes(NONCE)
    data = nonce + _cipher(key).encrypt(nonce, thumbnail, None)
    return data, hashlib.sha256(data).digest()


def unseal(key: bytes, digest: bytes, data: bytes) -> bytes:
    """Raises :class:`MediaDamaged` for anything but what was sealed."""
    if not secrets.compare_digest(hashlib.sha256(data).digest(), digest):
        raise MediaDamaged("this is not the thumbnail that the sender has encrypted")
    try:
        return _cipher(key).decrypt(data[:NONCE], data[NONCE:], None)
    except (InvalidTag, ValueError):
        raise MediaDamaged("the key of the thumbnail is another one") from None


def _cipher(key: bytes) -> AESGCM:
    return AESGCM(HKDF(SHA256(), 32, None, _INFO).derive(key))


def made_of(file: str | os.PathLike[str] | bytes, check: Callable[[], None] = lambda: None) -> bytes:
    """:func:`made` of a file. Raises OSError."""
    if isinstance(file, bytes):
        return made(BytesIO(file), check)
    with open(file, "rb") as source:
        return made(source, check)
