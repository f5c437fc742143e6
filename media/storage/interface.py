"""What a storage of media can do: one class for a folder (:mod:`media.storage.local`) and a bucket (:mod:`media.storage.s3`).

All of it blocks and belongs in a thread; one object serves any number of threads. Every wait is bounded. A key
(:mod:`media.storage.names`) names a whole object or nothing: a half-written one is never seen, and one that is written again
replaces the other at once.
"""

from __future__ import annotations

import base64
import hashlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

#: What a call may be given as content.
Bytes = bytes | bytearray | memoryview

#: Bytes. Smallest part of an upload but its last one; most of one part (ours: it is in memory); most of one ``copy`` (S3's).
LEAST_PART = 5 * 2**20
MOST_PART = 64 * 2**20
MOST_COPY = 5 * 2**30
#: Part numbers are 1 to this (S3's).
MOST_PARTS = 10_000
#: Bytes that :meth:`Storage.stream` hands out at a time, and of a part that we make.
CHUNK = 2**20
OWN_PART = 16 * 2**20


class StorageUnavailable(Exception):
    """The storage does not answer, refuses, or got other bytes than were sent. Whether a write took place is not known;
    writing again is always right."""


class NotStored(Exception):
    """There is no such object, or no such upload: it was aborted, completed, or never begun."""


class WrongParts(Exception):
    """These parts make no object: none, one that was never stored or was replaced, a number twice or out of order, one but the
    last below :data:`LEAST_PART`."""


@dataclass(frozen=True, slots=True)
class Part:
    """A stored part of an upload; :meth:`Storage.complete` wants it back as it is."""

    number: int
    etag: str
    size: int  # bytes
    sha256_b64: str  # "" of one that a client put


@dataclass(frozen=True, slots=True)
class Entry:
    """An object as a listing shows it."""

    key: str
    size: int  # bytes
    modified_ms: int  # since the epoch, by the storage's clock


@dataclass(frozen=True, slots=True)
class Stored:
    """What is known of an object without its bytes."""

    key: str
    size: int  # bytes
    media_type: str
    metadata: dict[str, str]
    cache_control: str
    etag: str  # with its quotes; another one for other bytes
    modified_ms: int


@dataclass(frozen=True, slots=True)
class OpenUpload:
    """An upload that was begun, and neither completed nor aborted."""

    key: str
    token: str
    begun_ms: int


class Storage(ABC):
    """Every operation raises :class:`StorageUnavailable`, and ``ValueError`` for a key that :func:`names.check` refuses."""

    # -- uploads in parts: nothing is seen of them before they are complete

    @abstractmethod
    def begin(
        self,
        key: str,
        media_type: str,
        metadata: Mapping[str, str] | None = None,
        cache_control: str = "",
        *,
        signed: bool = False,
    ) -> str:
        """Begin an upload; its token, which is good until it is completed or aborted (:func:`lifecycle.sweep` does that after
        a day). One key may have several; the one that completes last stays. ``signed``: all its parts are put by clients
        (:meth:`signed_part`)."""

    @abstractmethod
    def part(self, key: str, token: str, number: int, data: Bytes) -> Part:
        """Store a part: 1 to :data:`MOST_PARTS`, in any order and with gaps, :data:`LEAST_PART` to :data:`MOST_PART` bytes (the
        last one may be smaller). It is stored when this returns, and what arrived is what was sent. The same number again
        replaces the part.

        Raises :class:`NotStored` where the server knows that there is no such upload; not every one does before ``complete``.
        """

    @abstractmethod
    def signed_part(
        self, key: str, token: str, number: int, size: int, *, expires_s: int, now_ms: int
    ) -> str:
        """An address under which a client stores a part of exactly ``size`` bytes with PUT, of an upload that was begun as
        ``signed``: good for ``expires_s`` seconds from ``now_ms`` on. The answer's ``ETag`` names the part. A body of another
        size is refused, and so is what is cut short; the same number again replaces the part. Whether the upload exists is not
        asked. Raises ``ValueError``: the number or the size is none."""

    @abstractmethod
    def list_parts(self, key: str, token: str) -> list[Part]:
        """The stored parts of an upload in ascending numbers; of each number the one that was stored last. Their ``sha256_b64``
        is "". Raises :class:`NotStored` where the server knows that there is no such upload; others list nothing."""

    @abstractmethod
    def complete(self, key: str, token: str, parts: Sequence[Part]) -> int:
        """Make the object of these parts, in ascending numbers; its size in bytes. Repeating it is harmless.

        Raises :class:`WrongParts`; :class:`NotStored` if the upload is not there, unless ``key`` already holds these parts.
        """

    @abstractmethod
    def abort(self, key: str, token: str) -> None:
        """Forget an upload and its parts; of one that is not there nothing is said. A part that is still being stored may
        survive on S3: abort again (the sweep does)."""

    @abstractmethod
    def open_uploads(self, begun_before_ms: int) -> Iterator[OpenUpload]:
        """The uploads that were begun before, in no order."""

    def tidy(self, before_ms: int) -> int:
        """Take away what processes left that were killed while they wrote, before then; how much that was. Nobody sees it, with
        or without this."""
        return 0

    # -- whole objects

    @abstractmethod
    def put(
        self,
        key: str,
        data: Bytes | Path,
        media_type: str,
        metadata: Mapping[str, str] | None = None,
        cache_control: str = "",
    ) -> int:
        """Write an object from memory or a file; its size in bytes."""

    @abstractmethod
    def read(self, key: str, start: int = 0, length: int | None = None) -> bytes:
        """``length`` bytes (None: all) from ``start`` on, fewer at the end. Raises :class:`NotStored`."""

    @abstractmethod
    def stream(self, key: str, chunk: int = CHUNK) -> Iterator[bytes]:
        """The object in pieces of at most ``chunk`` bytes, one of them in memory; of one version of it, as a whole. Raises
        :class:`NotStored` with the first piece. Whoever stops early closes the iterator."""

    @abstractmethod
    def describe(self, key: str) -> Stored:
        """Raises :class:`NotStored`."""

    @abstractmethod
    def copy(
        self, source: str, target: str, metadata: Mapping[str, str] | None = None, *, etag: str = ""
    ) -> None:
        """Copy on the server, at most :data:`MOST_COPY` bytes, with the source's metadata unless others are given. Onto itself:
        the object is young again (:mod:`media.storage.lifecycle`). ``etag`` (of :meth:`describe`): only those bytes are copied.
        Raises :class:`NotStored`, also when the source has other bytes than ``etag`` names."""

    @abstractmethod
    def delete(self, keys: Iterable[str]) -> None:
        """Delete objects; of what is not there nothing is said. After an error some may be left."""

    @abstractmethod
    def keys(self, prefix: str = "", after: str = "") -> Iterator[Entry]:
        """The objects whose key begins with ``prefix`` and is greater than ``after``, in the order of their keys."""

    @abstractmethod
    def signed_url(
        self, key: str, *, expires_s: int, media_type: str, filename: str | None = None, now_ms: int
    ) -> str:
        """An address to fetch the object with GET, good for ``expires_s`` seconds from ``now_ms`` on, and up to five minutes more
        (never more than twice as long: :func:`signing.window`). It is the same for some minutes, so that a cache may
        hold what it names. Whether the object exists is not asked. ``filename``: the name under which a browser saves it."""

    # -- made of the others

    def size(self, key: str) -> int:
        """Bytes. Raises :class:`NotStored`."""
        return self.describe(key).size

    def exists(self, key: str) -> bool:
        try:
            self.describe(key)
        except NotStored:
            return False
        return True

    def download(self, key: str, path: Path) -> int:
        """Write the object to a file; its size in bytes. After an error there is no file. Raises :class:`NotStored`."""
        size = 0
        try:
            with path.open("wb") as file:
                for piece in self.stream(key):
                    size += file.write(piece)
        except BaseException:
            path.unlink(missing_ok=True)
            raise
        return size

    def sha256(self, key: str) -> tuple[str, int]:
        """SHA-256 in hex and size in bytes of what is stored, read back. Raises :class:`NotStored`."""
        digest, size = hashlib.sha256(), 0
        for piece in self.stream(key):
            digest.update(piece)
            size += len(piece)
        return digest.hexdigest(), size

    def _put_in_parts(
        self, key: str, path: Path, media_type: str, metadata: Mapping[str, str] | None, cache_control: str
    ) -> int:
        token = self.begin(key, media_type, metadata, cache_control)
        try:
            parts = [self.part(key, token, number, data) for number, data in enumerate(pieces(path), 1)]
            return self.complete(key, token, parts)
        except BaseException:
            with _quietly():
                self.abort(key, token)
            raise


@contextmanager
def _quietly() -> Iterator[None]:
    try:
        yield
    except StorageUnavailable:
        pass  # the sweep finds it


def pieces(path: Path, size: int = OWN_PART) -> Iterator[bytes]:
    with path.open("rb") as file:
        while data := file.read(size):
            yield data


def check_numbers(parts: Sequence[Part]) -> None:
    """Raises :class:`WrongParts` for what no storage takes."""
    numbers = [part.number for part in parts]
    if not numbers:
        raise WrongParts("there are no parts")
    if numbers != sorted(set(numbers)):
        raise WrongParts("part numbers do not ascend")
    if any(part.size < LEAST_PART for part in parts[:-1]):
        raise WrongParts(f"a part before the last one is below {LEAST_PART} bytes")


def check_part(number: int, size: int) -> None:
    """Raises ``ValueError``."""
    if not 1 <= number <= MOST_PARTS:
        raise ValueError(f"part numbers are 1 to {MOST_PARTS}, this is {number}")
    if not 0 <= size <= MOST_PART:
        raise ValueError(f"a part has at most {MOST_PART} bytes")


def sha256_b64(data: Bytes) -> str:
    return base64.b64encode(hashlib.sha256(data).digest()).decode()


#: How callers may be given the time.
Clock = Callable[[], int]
