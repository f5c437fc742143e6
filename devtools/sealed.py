"""Files of a vault that only who has their key can read: encrypted and authenticated in chunks.

The construction is that of :mod:`whatsapp_client.sealing` (STREAM as age has it, with AES-256-GCM; docs/adr/0130): chunks of
64 KiB, each with a tag of 16 bytes; the nonce is the number of the chunk (11 bytes) and a byte that is 1 for the last one. There
a key is for one file. Here one may be for many, so before the chunks stands

    8 bytes   ``wbackup1``
    16 bytes  id of the key
    32 bytes  random

and the chunks are under a key of the file's own: HKDF-SHA256 (RFC 5869) of the key, the random bytes and the *name*, which is
where the file belongs in the vault and whatever else must be as it was. A file in another one's place does not open; nor does one
that was changed, cut, or put together out of two. Why so: docs/adr/0160.
"""

from __future__ import annotations

import ctypes
import hmac
import os
import secrets
import struct
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple, Protocol

from devtools.errors import DevError

MAGIC = b"wbackup1"
CHUNK = 65_536  # bytes of the file in a chunk
TAG = 16  # bytes that each chunk is longer
KEY = 32
_LIBC = ctypes.CDLL(None, use_errno=True)
HEADER = struct.Struct(">8s16s32s")


class Key(NamedTuple):
    """``id`` (16 bytes) is written into each file, ``secret`` (32 bytes) is nowhere but in the keyring."""

    id: bytes
    secret: bytes

    def __repr__(self) -> str:
        return f"Key({self.id.hex()})"


class Keys(Protocol):
    def key(self, key_id: bytes, path: Path) -> Key:
        """Raises :class:`DevError` that names the file, when there is none."""


class Damaged(DevError):
    """A file is not the one that was sealed."""

    def __init__(self, path: Path) -> None:
        super().__init__(f"{path} was changed, is cut short, or is another file's: it does not open")


def new_key() -> Key:
    return Key(secrets.token_bytes(16), secrets.token_bytes(KEY))


def cipher_of(key: Key, salt: bytes, name: str) -> Any:
    """AES-256-GCM under a key of the file's own."""
    # ./dev itself runs on a bare Python; who seals runs in .venv.
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

    extracted = hmac.digest(salt, key.secret, "sha256")
    return AESGCM(hmac.digest(extracted, MAGIC + name.encode() + b"\x01", "sha256"))


def nonce(number: int, last: bool) -> bytes:
    """Of a chunk."""
    return number.to_bytes(11, "big") + bytes([last])


class Sealer:
    """A file to write to; what is written goes to ``target``, sealed. It is whole after :meth:`finish`."""

    def __init__(self, target: BinaryIO, key: Key, name: str) -> None:
        salt = secrets.token_bytes(32)
        self._target, self._cipher = target, cipher_of(key, salt, name)
        self._held = bytearray()
        self._number = 0
        target.write(HEADER.pack(MAGIC, key.id, salt))

    def write(self, data: bytes) -> int:
        self._held += data
        while len(self._held) > CHUNK:  # there is always something left for the last chunk
            self._put(self._held[:CHUNK], last=False)
            del self._held[:CHUNK]
        return len(data)

    def finish(self) -> None:
        self._put(self._held, last=True)

    def _put(self, data: bytearray, *, last: bool) -> None:
        self._target.write(self._cipher.encrypt(nonce(self._number, last), bytes(data), None))
        self._number += 1


class Opened:
    """What was sealed under this name, to read. Each byte is authenticated before it is given, that nothing is missing behind it
    only when the end was read. Raises :class:`Damaged`."""

    def __init__(self, source: BinaryIO, key: Key, name: str, path: Path) -> None:
        _, _, salt = _header(source.read(HEADER.size), path)
        self._source, self._path = source, path
        self._cipher = cipher_of(key, salt, name)
        self._number = 0
        self._ready = bytearray()
        self._ahead = source.read(CHUNK + TAG)
        self._ended = False

    def read(self, size: int = -1) -> bytes:
        """Fewer bytes only at the end."""
        while not self._ended and (size < 0 or len(self._ready) < size):
            self._open_chunk()
        size = len(self._ready) if size < 0 else size
        given = bytes(self._ready[:size])
        del self._ready[:size]
        return given

    def _open_chunk(self) -> None:
        from cryptography.exceptions import InvalidTag

        chunk, self._ahead = self._ahead, self._source.read(CHUNK + TAG)
        self._ended = not self._ahead
        try:
            self._ready += self._cipher.decrypt(nonce(self._number, self._ended), chunk, None)
        except (InvalidTag, ValueError):
            raise Damaged(self._path) from None
        self._number += 1


def _header(data: bytes, path: Path) -> tuple[bytes, bytes, bytes]:
    if len(data) < HEADER.size or not data.startswith(MAGIC):
        raise Damaged(path)
    magic, key_id, salt = HEADER.unpack(data)
    return magic, key_id, salt


def key_id_of(path: Path) -> bytes:
    """Which key a sealed file is under. Raises :class:`Damaged` for what is none."""
    with path.open("rb") as file:
        return _header(file.read(HEADER.size), path)[1]


def seal(source: BinaryIO, target: Path, key: Key, name: str) -> None:
    """All that can be read becomes the file ``target``: as a whole, and on disk when this returns."""
    with Draft(target) as draft:
        sealer = Sealer(draft.file, key, name)
        while data := source.read(CHUNK):
            sealer.write(data)
        sealer.finish()
        draft.keep()


def unseal(path: Path, target: BinaryIO, keys: Keys, name: str) -> None:
    """Raises :class:`Damaged`, and :class:`DevError` without the key; then what was written to ``target`` must not be used."""
    key = keys.key(key_id_of(path), path)
    with path.open("rb") as source:
        opened = Opened(source, key, name, path)
        while data := opened.read(CHUNK):
            target.write(data)


def size_of(size: int) -> int:
    """Of a sealed file, by that of what is in it."""
    return HEADER.size + max(1, -(-size // CHUNK)) * TAG + size


class Draft:
    """A file that appears at its place as a whole or not at all. ``durable``: it is on disk then."""

    def __init__(self, target: Path, *, durable: bool = True) -> None:
        self._target, self._durable = target, durable
        self._path = target.with_name(f".{target.name}.{os.getpid()}")

    def __enter__(self) -> Draft:
        self._target.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        self.file: BinaryIO = open(os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb")
        return self

    def keep(self) -> None:
        self.file.flush()
        if self._durable:
            os.fsync(self.file.fileno())
        self._path.replace(self._target)
        if self._durable:
            sync_folder(self._target.parent)

    def __exit__(self, *error: object) -> None:
        self.file.close()
        self._path.unlink(missing_ok=True)


def sync_folder(folder: Path) -> None:
    """What was put into a folder, or taken from it, is on disk."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def sync_disk(folder: Path) -> None:
    """All that was written to the file system of a folder is on disk: many files cost no more than one."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        if _LIBC.syncfs(handle):
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()), str(folder))
    finally:
        os.close(handle)


def shred(path: Path) -> None:
    """Overwrite a file and delete it. What the disk itself keeps of it (copies on write, worn cells) is beyond us."""
    try:
        with path.open("r+b") as file:
            file.write(bytes(path.stat().st_size))
            file.flush()
            os.fsync(file.fileno())
        path.unlink()
    except FileNotFoundError:
        return
    sync_folder(path.parent)
