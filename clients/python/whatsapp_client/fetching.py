"""One download: the address of the file is asked for, its bytes come from there into an unfinished file beside the target, and go
on after every cut (RFC 9110: `Range`, `If-Range`). The token goes to our server alone, and no address leads to another one."""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import os
import pathlib
import re
import threading
import urllib.parse
import urllib.request
import weakref
from typing import Any, BinaryIO

from .errors import ClientError, MediaDamaged, MediaRefused, RestError, Unreachable
from .rest import Rest, opened, opener_of
from .retry import Backoff
from .transfers import Progress, Told, passes

READ = 128 * 1024
MOST = 2 * 2**30  # what the server takes, and so what it may give
QUIET = 30.0  # s without a byte
_LOCKS: weakref.WeakValueDictionary[pathlib.Path, Any] = weakref.WeakValueDictionary()
REFUSALS = 3  # an address that is not good is asked for again so often
_RANGE = re.compile(r"bytes (\d{1,15})-(\d{1,15})/(\d{1,15})")


class LocalError(Exception):
    """The disk's doing, not the network's."""

    def __init__(self, error: OSError) -> None:
        super().__init__(str(error))
        self.error = error


class Part:
    """The unfinished file. What it is the beginning of (an `ETag`) stands in a file beside it, and is written first."""

    def __init__(self, path: pathlib.Path) -> None:
        self.path = path
        self._of = path.with_name(path.name + ".etag")

    def known(self) -> tuple[int, str]:
        """Bytes that are here, and of what; (0, "") for none."""
        try:
            return self.path.stat().st_size, self._of.read_text("ascii")
        except (OSError, ValueError):
            return 0, ""

    def open(self, at: int, etag: str) -> BinaryIO:
        file: BinaryIO
        if at:
            file = self.path.open("r+b")
            file.seek(at)
            file.truncate()
            return file
        self._of.unlink(missing_ok=True)
        self.path.unlink(missing_ok=True)
        descriptor = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        file = os.fdopen(descriptor, "wb")
        if (
            etag.startswith('"') and len(etag) < 200 and etag.isascii()
        ):  # a weak one does not say that all bytes are the same
            self._of.write_text(etag, "ascii")
        return file

    def remove(self) -> None:
        self.path.unlink(missing_ok=True)
        self._of.unlink(missing_ok=True)

    def keep_as(self, target: pathlib.Path) -> None:
        os.replace(self.path, target)
        self._of.unlink(missing_ok=True)


def checked_address(own: str, address: str) -> str:
    """Raises :class:`ClientError` for one that is none, or that leads away from TLS."""
    scheme = urllib.parse.urlsplit(address).scheme
    if scheme not in ("http", "https"):
        raise ClientError("the server does not say where the file is")
    if scheme == "http" and own.startswith("https"):
        raise ClientError("the server leads to a place without TLS")
    return address


class Download:
    """``size``: bytes that it must have, if that is known; ``most``: that it may have. :meth:`run` ends when all of them are in
    the part."""

    def __init__(
        self, rest: Rest, content: str, part: Part, backoff: Backoff, size: int | None, progress: Progress | None,
        most: int = MOST, limit: int | None = MOST,
    ) -> None:  # fmt: skip
        self._rest, self._content, self._part, self._backoff = rest, content, part, backoff
        self._size, self._most, self._progress = size, most if limit is None else min(most, limit), progress
        self._told: Told | None = None
        self._stopped = False
        # The thread of a call that was given up may still write.
        self._lock = _LOCKS.setdefault(part.path, threading.Lock())

    async def run(self, place: asyncio.Semaphore) -> int:
        """The size. Raises :class:`RestError`, :class:`MediaRefused`, :class:`MediaDamaged` (another size), OSError."""
        address, refusals = "", 0
        while True:
            try:
                if not address:
                    address = await self._where()
                async with place:
                    return await self._fetched(address)
            except Unreachable:
                address = ""
                await asyncio.sleep(self._backoff.next())
            except RestError as error:
                if error.code == "unsupported_media":
                    details = error.details if isinstance(error.details, dict) else {}
                    raise MediaRefused(str(details.get("reason") or "")) from None
                if address and not passes(error):  # said by the storage: the address has ended
                    refusals += 1
                    if refusals > REFUSALS:
                        raise
                elif not passes(error):
                    raise
                address = ""
                await asyncio.sleep(self._backoff.next(at_least=error.retry_after or 0.0))
            except LocalError as failed:
                raise failed.error from None

    async def _where(self) -> str:
        answer = await self._rest.exchange("GET", self._content, {"Accept": "*/*"})
        if not answer.get("Location"):
            raise ClientError("the server does not say where the file is")
        return checked_address(self._rest.url, urllib.parse.urljoin(self._rest.url + "/", answer["Location"]))

    async def _fetched(self, address: str) -> int:
        try:
            size = await asyncio.to_thread(self._fetch, address, asyncio.get_running_loop())
        except asyncio.CancelledError:
            self._stopped = True
            raise
        assert self._told is not None
        self._told.through()
        return size

    # -- in a thread ---------------------------------------------------------------------------------------
    def _fetch(self, address: str, loop: asyncio.AbstractEventLoop) -> int:
        with self._lock:
            if self._stopped:
                raise Unreachable("given up")
            have, etag = self._part.known()
            have = (
                max(0, have - 1) if etag else 0
            )  # of a file that is all here one byte is asked for: no range is empty
            headers = {"Accept": "*/*", "Accept-Encoding": "identity"}
            resume = {"Range": f"bytes={have}-", "If-Range": etag} if have else {}
            try:
                return self._receive(address, headers | resume, have, loop)
            except RestError as error:
                if error.status != 416:
                    raise
                return self._receive(address, headers, 0, loop)

    def _receive(
        self, address: str, headers: dict[str, str], have: int, loop: asyncio.AbstractEventLoop
    ) -> int:
        request = urllib.request.Request(address, headers=headers)
        with opened(opener_of(address), request, QUIET, follow=False) as response:
            at, total = _place(response.status, response.headers, have)
            if (self._size is not None and total != self._size) or total > self._most:
                raise MediaDamaged(f"the file has {total} bytes, which is not what was sent")
            if self._told is None or self._told.total != total:
                self._told = Told(total, self._progress)
            with _disk():
                file = self._part.open(at, response.headers.get("ETag") or "")
            try:
                self._copy(response, file, at, total, loop)
                with _disk():
                    file.flush()
                    os.fsync(file.fileno())
            finally:
                file.close()
        return total

    def _copy(
        self, response: Any, file: BinaryIO, at: int, total: int, loop: asyncio.AbstractEventLoop
    ) -> None:
        told, step, said = self._told, max(65_536, total // 256), -1
        assert told is not None
        while at < total:
            if said < 0 or at - said >= step:
                said = at
                loop.call_soon_threadsafe(told.at, at)
            data = response.read(min(READ, total - at))
            if self._stopped:
                raise Unreachable("given up")
            if not data:
                raise Unreachable("the file broke off")
            with _disk():
                file.write(data)
            at += len(data)


def _place(status: int, headers: http.client.HTTPMessage, have: int) -> tuple[int, int]:
    """The first byte that comes, and the size of the whole."""
    if status == 206:
        found = _RANGE.fullmatch(headers.get("Content-Range") or "")
        if found is None or int(found[1]) != have or int(found[2]) + 1 != int(found[3]):
            raise MediaDamaged("the server answers with other bytes than it was asked for")
        return have, int(found[3])
    length = headers.get("Content-Length") or ""
    if status != 200 or not length.isdecimal() or headers.get("Content-Encoding") not in (None, "identity"):
        raise MediaDamaged("the server does not say how large the file is")
    return 0, int(length)


@contextlib.contextmanager
def _disk() -> Any:
    try:
        yield
    except OSError as error:
        raise LocalError(error) from error
