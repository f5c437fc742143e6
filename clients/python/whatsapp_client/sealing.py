"""Files that only their receivers can read: encrypted and authenticated in chunks, so that no file has to fit into memory and no
byte is used before it is known to be the sender's.

The construction is STREAM (Hoang, Reyhanitabar, Rogaway, Vizár: "Online Authenticated-Encryption and its Nonce-Reuse
Misuse-Resistance", CRYPTO 2015) in the form that age uses (https://age-encryption.org/v1, "Payload"), with AES-256-GCM: chunks of
64 KiB, each with a tag of 16 bytes; the nonce is the number of the chunk (11 bytes, big-endian) and a byte that is 1 for the last
chunk and 0 for others. So a chunk is good in its own place only, and a file that ends early has no last chunk. A key is for one
file; that it is the right file is said by its SHA-256 (:class:`Sealed`): GCM alone does not bind a key to one plaintext. Why so:
docs/adr/0130.
"""

from __future__ import annotations

import hashlib
import os
import re
import secrets
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from typing import BinaryIO

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from .errors import MediaDamaged

FORMAT, WITH_THUMBNAIL = 1, 2
CHUNK = 65_536  # bytes of the file in a chunk
TAG = 16  # bytes that each chunk is longer
KEY = 32
#: A message has 65,536 bytes for all of its content.
MAX_THUMBNAIL = 32_768
_FIXED = 1 + 16 + KEY + 32 + 8
_MEDIA_TYPE = re.compile(r"[a-z0-9][a-z0-9!#$&^_.+-]{0,63}/[a-z0-9][a-z0-9!#$&^_.+-]{0,126}")


@dataclass(frozen=True, slots=True, repr=False)
class Sealed:
    """What the receiver of an encrypted file must know. It holds the key: it goes into the encrypted content of a message, and
    nowhere else.

    ``digest``: SHA-256 of the encrypted bytes; ``size``: bytes of the file itself. ``thumbnail``: a small picture (32 KiB
    or less) that is in the message itself, ``name`` and ``caption``: all of them "" or empty without. ``thumbnail_digest``:
    SHA-256 of the encrypted small picture that the server keeps (:mod:`thumbnails`), empty without one.
    """

    media_id: str
    key: bytes
    digest: bytes
    size: int
    media_type: str = "application/octet-stream"
    thumbnail: bytes = b""
    name: str = ""
    caption: str = ""
    thumbnail_digest: bytes = b""

    @property
    def media_url(self) -> str:
        return f"/media/{self.media_id}/content"

    def __repr__(self) -> str:
        return f"Sealed({self.media_id}, {self.size} bytes)"  # no key in logs

    def to_bytes(self) -> bytes:
        """As docs/adr/0130 has it, and 0135. Raises ValueError for what does not fit."""
        if len(self.key) != KEY or len(self.digest) != 32 or not 0 <= self.size < 2**63:
            raise ValueError("a key has 32 bytes, a digest too, and a size is none below 0")
        if not _MEDIA_TYPE.fullmatch(self.media_type):
            raise ValueError("this is no media type")
        if len(self.thumbnail) > MAX_THUMBNAIL:
            raise ValueError(f"a thumbnail has at most {MAX_THUMBNAIL} bytes")
        if len(self.thumbnail_digest) not in (0, 32):
            raise ValueError("a digest has 32 bytes")
        form = WITH_THUMBNAIL if self.thumbnail_digest else FORMAT
        head = bytes([form]) + uuid.UUID(self.media_id).bytes + self.key + self.digest
        fields = (self.media_type.encode(), self.name.encode(), self.caption.encode(), self.thumbnail)
        if any(len(field) > 65_535 for field in fields):
            raise ValueError("a name or a caption is too long")
        return (
            head
            + self.size.to_bytes(8, "big")
            + b"".join(len(field).to_bytes(2, "big") + field for field in fields)
            + self.thumbnail_digest
        )

    @classmethod
    def from_bytes(cls, data: bytes) -> Sealed:
        """Raises ValueError for anything else, and for a newer format."""
        if data[:1] not in (bytes([FORMAT]), bytes([WITH_THUMBNAIL])):
            raise ValueError("this describes no file, or one of a format that is not known here")
        digest = data[-32:] if data[0] == WITH_THUMBNAIL else b""
        data = data[: len(data) - len(digest)]
        if len(data) < _FIXED:
            raise ValueError("the description of a file ends early")
        fields, at = [], _FIXED
        for _ in range(4):
            size = int.from_bytes(data[at : at + 2], "big")
            field = data[at + 2 : at + 2 + size]
            if len(data) < at + 2 or len(field) != size:
                raise ValueError("the description of a file ends early")
            fields.append(field)
            at += 2 + size
        media_type, name, caption = (field.decode() for field in fields[:3])
        size = int.from_bytes(data[_FIXED - 8 : _FIXED], "big")
        if at != len(data) or size >= 2**63 or len(fields[3]) > MAX_THUMBNAIL:
            raise ValueError("this describes no file")
        if not _MEDIA_TYPE.fullmatch(media_type):
            raise ValueError("this is no media type")
        return cls(
            str(uuid.UUID(bytes=data[1:17])), data[17:49], data[49:81], size, media_type, fields[3], name, caption,
            digest,
        )  # fmt: skip


def new_key() -> bytes:
    return secrets.token_bytes(KEY)


def sealed_size(size: int) -> int:
    """Bytes of a file of this size when it is encrypted."""
    return size + TAG * max(1, -(-size // CHUNK))


def _nonce(number: int, last: bool) -> bytes:
    return number.to_bytes(11, "big") + bytes([last])


def seal(
    source: BinaryIO, target: BinaryIO, key: bytes, check: Callable[[], None] = lambda: None
) -> tuple[int, bytes]:
    """Encrypt all that can be read; bytes that were read, and the SHA-256 of what was written. ``key`` is for this file alone.
    ``check`` is called now and then and may raise."""
    cipher, digest = AESGCM(key), hashlib.sha256()
    size = number = 0
    data = _full(source)
    while True:
        further = _full(source) if len(data) == CHUNK else b""
        chunk = cipher.encrypt(_nonce(number, not further), data, None)
        digest.update(chunk)
        target.write(chunk)
        size, number = size + len(data), number + 1
        if not further:
            return size, digest.digest()
        data = further
        check()


def unseal(
    source: BinaryIO, target: BinaryIO, sealed: Sealed, check: Callable[[], None] = lambda: None
) -> None:
    """Decrypt a file that can be sought in. First all of it is compared with the digest, then each chunk is authenticated before
    it is written. Raises :class:`MediaDamaged` for what is not the file that was sealed; what was written until then must not be
    used."""
    digest = hashlib.sha256()
    while data := source.read(CHUNK):
        digest.update(data)
        check()
    if source.tell() != sealed_size(sealed.size) or not secrets.compare_digest(
        digest.digest(), sealed.digest
    ):
        raise MediaDamaged("these are not the bytes that the sender has encrypted")
    source.seek(0)
    cipher, number, size = AESGCM(sealed.key), 0, 0
    data = _full(source, CHUNK + TAG)
    while True:
        further = _full(source, CHUNK + TAG) if len(data) == CHUNK + TAG else b""
        try:
            chunk = cipher.decrypt(_nonce(number, not further), data, None)
        except (InvalidTag, ValueError):
            raise MediaDamaged("the key is another one, or the file was changed") from None
        target.write(chunk)
        size, number = size + len(chunk), number + 1
        if not further:
            break
        data = further
        check()
    if size != sealed.size:
        raise MediaDamaged("the file has another size than the sender says")


def _full(source: BinaryIO, size: int = CHUNK) -> bytes:
    """So many bytes, fewer only at the end."""
    data = source.read(size)
    while data and len(data) < size:
        more = source.read(size - len(data))
        if not more:
            break
        data += more
    return data


def file_digest(source: BinaryIO, check: Callable[[], None] = lambda: None) -> tuple[int, str]:
    """Size and SHA-256 (hexadecimal) of all that can be read."""
    digest, size = hashlib.sha256(), 0
    while data := source.read(16 * CHUNK):
        digest.update(data)
        size += len(data)
        check()
    return size, digest.hexdigest()


def sync(file: BinaryIO) -> None:
    """It is on the disk."""
    file.flush()
    os.fsync(file.fileno())
