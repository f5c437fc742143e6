"""A file of the storage of archives that is written as it is made, by a worker that has a lease on it."""

from __future__ import annotations

import zipfile
from collections.abc import Callable
from typing import Any

from accounts.archives import Sink
from whatsapp.infra.clock import now_ms


class Lost(Exception):
    """Somebody else works on it, or nobody is to any more."""


class Leased:
    """Passes on what is written, counts it, and renews the lease in between. No seeking: a ZIP is written front to back.

    ``renew(now)`` makes the lease longer and says whether it is this worker's still; it is asked each ``every_ms``. ``seen`` is
    given what goes out. Raises :class:`Lost`.
    """

    def __init__(
        self,
        sink: Sink,
        renew: Callable[[int], bool],
        every_ms: int,
        seen: Callable[[bytes], object] | None = None,
    ) -> None:
        self.size = 0
        self._sink, self._renew, self._every_ms, self._seen = sink, renew, every_ms, seen
        self._renewed = now_ms()

    def write(self, data: bytes) -> int:
        self._sink.write(data)
        self.size += len(data)
        if self._seen is not None:
            self._seen(data)
        now = now_ms()
        if now - self._renewed > self._every_ms:
            self._renewed = now
            if not self._renew(now):
                raise Lost
        return len(data)

    def flush(self) -> None:
        """Parts go when they are full."""


def zip_into(out: Leased) -> zipfile.ZipFile:
    file_like: Any = out  # it is only written to
    return zipfile.ZipFile(file_like, "w", zipfile.ZIP_DEFLATED, allowZip64=True)


def named(path: str, compression: int = zipfile.ZIP_DEFLATED) -> zipfile.ZipInfo:
    """A member without a time of its own."""
    info = zipfile.ZipInfo(path, date_time=(1980, 1, 1, 0, 0, 0))
    info.compress_type = compression
    return info
