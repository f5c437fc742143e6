"""Archives for people, kept beside the media (``accounts/archives.py`` is the port)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from accounts.archives import ArchivesUnavailable
from media.storage import NotStored, Storage, StorageUnavailable, storage
from media.storage.interface import LEAST_PART, Part

PREFIX: Final = "exports/"
MEDIA_TYPE: Final = "application/zip"
#: An address is good for so long: who wants another one asks again.
_GOOD_S: Final = 15 * 60
#: Bytes of a part, and in memory: 10,000 of them are 160 GB.
_PART: Final = max(16 * 2**20, LEAST_PART)


class _Parts:
    """What is written goes on by parts of an upload."""

    def __init__(self, storage: Storage, key: str, token: str) -> None:
        self._storage, self._key, self._token = storage, key, token
        self._waiting = bytearray()
        self.parts: list[Part] = []

    def write(self, data: bytes, /) -> int:
        self._waiting += data
        while len(self._waiting) >= _PART:
            self._send(bytes(self._waiting[:_PART]))
            del self._waiting[:_PART]
        return len(data)

    def flush(self) -> None:
        """A part is not sent before it is full."""

    def end(self) -> None:
        if self._waiting or not self.parts:
            self._send(bytes(self._waiting))

    def _send(self, data: bytes) -> None:
        self.parts.append(self._storage.part(self._key, self._token, len(self.parts) + 1, data))


class StoredArchives:
    @contextmanager
    def writing(self, name: str) -> Iterator[_Parts]:
        here, key = storage(), PREFIX + name
        try:
            token = here.begin(key, MEDIA_TYPE, cache_control="private, no-store")
            try:
                parts = _Parts(here, key, token)
                yield parts
                parts.end()
                here.complete(key, token, parts.parts)
            except BaseException:
                here.abort(key, token)  # of who is killed, the sweep of the storage does it after a day
                raise
        except StorageUnavailable as error:
            raise ArchivesUnavailable from error

    def read(self, name: str) -> Iterator[bytes]:
        try:
            yield from storage().stream(PREFIX + name)
        except NotStored:
            return
        except StorageUnavailable as error:
            raise ArchivesUnavailable from error

    def delete(self, name: str) -> None:
        try:
            storage().delete([PREFIX + name])
        except StorageUnavailable as error:
            raise ArchivesUnavailable from error

    def url(self, name: str, now_ms: int) -> str:
        return storage().signed_url(
            PREFIX + name, expires_s=_GOOD_S, media_type=MEDIA_TYPE, filename="export.zip", now_ms=now_ms
        )

    def sweep(self, before_ms: int) -> int:
        try:
            here = storage()
            old = [entry.key for entry in here.keys(PREFIX) if entry.modified_ms < before_ms]
            here.delete(old)
            return len(old)
        except StorageUnavailable as error:
            raise ArchivesUnavailable from error
