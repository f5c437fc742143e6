"""Asks a ClamAV daemon whether bytes are harmful (clamd's INSTREAM, https://docs.clamav.net/manual/Usage/Scanning.html).

:func:`scan` returns a verdict only if the daemon gave one for all of the bytes. Whatever else happens raises
:class:`ScannerUnavailable`, and nothing that a caller could take for *clean* ever stands for *unknown*: a verdict has no truth
value, and is compared with :attr:`Verdict.clean`, or matched.
"""

from __future__ import annotations

import logging
import re
import select
import socket
import time
from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum
from typing import NoReturn
from urllib.parse import urlsplit

from django.conf import settings

from whatsapp.infra import metrics

log = logging.getLogger(__name__)

PORT = 3310
#: Bytes of a chunk: each is a write, and one of clamd's reads.
CHUNK = 256 * 1024
_MOST_ANSWER = 4_096


class ScannerUnavailable(Exception):
    """Nobody knows whether the bytes are harmful: the daemon does not answer, broke off, or could not scan them. They have to
    wait."""


class Kind(Enum):
    CLEAN = "clean"
    INFECTED = "infected"
    TOO_LARGE = "too_large"  # not all of it was looked into


class _Sent(Enum):
    ALL = 0
    PART = 1  # it answered before the end
    MORE_THAN_MOST = 2


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the daemon said. ``name``: of what was found, else empty; for staff, not for those who sent it."""

    kind: Kind
    name: str = ""

    @property
    def clean(self) -> bool:
        """The daemon has seen all of the bytes and found nothing."""
        return self.kind is Kind.CLEAN

    def __bool__(self) -> NoReturn:
        raise TypeError("a verdict is no truth value: ask for .clean")


@dataclass(frozen=True, slots=True)
class Scanner:
    """Where clamd is, and how long it is waited for. For any number of threads.

    ``url``: ``tcp://host:port`` or ``unix:///path``. ``most_bytes``: what is scanned at most; clamd's own StreamMaxLength says
    the same by an answer or by hanging up, and both are :attr:`Kind.TOO_LARGE` only if it says so. ``wait_s``: seconds without
    any progress while bytes are sent; ``verdict_s``: from the last one to the verdict (more than clamd's MaxScanTime);
    ``whole_s``: for all of it, the time that ``pieces`` take included.

    clamd has to run with ``AlertExceedsMax yes``: without it, it says OK of what it has not looked into because of its limits.
    """

    url: str
    most_bytes: int = 100 * 2**20
    connect_s: float = 3.0
    wait_s: float = 30.0
    verdict_s: float = 150.0
    whole_s: float = 600.0

    def scan(self, pieces: Iterable[bytes]) -> Verdict:
        """The verdict about the bytes of ``pieces``, which may be of any size, one after the other. Raises
        :class:`ScannerUnavailable`, and what ``pieces`` raises."""
        deadline = time.monotonic() + self.whole_s
        with self._connect() as connection:
            try:
                sent = self._send(connection, pieces, deadline)
                if sent is _Sent.MORE_THAN_MOST:
                    verdict = Verdict(Kind.TOO_LARGE)
                else:
                    verdict = _read(
                        self._answer(connection, min(deadline, time.monotonic() + self.verdict_s))
                    )
            except OSError as error:
                # It may have said why before it hung up: that it is too much, for one.
                answer = self._last_words(connection)
                if answer is None or not _says_too_large(answer):
                    raise _unavailable(f"it broke off: {type(error).__name__}") from error
                verdict = Verdict(Kind.TOO_LARGE)
        if verdict.clean and sent is not _Sent.ALL:
            raise _unavailable("it calls clean what it has not seen")
        metrics.count("media_scans", verdict.kind.value)
        return verdict

    def ping(self) -> None:
        """Raises :class:`ScannerUnavailable` unless the daemon is there and has read its signatures."""
        with self._connect() as connection:
            try:
                connection.sendall(b"zPING\0")
                answer = self._answer(connection, time.monotonic() + self.wait_s)
            except OSError as error:
                raise _unavailable(type(error).__name__) from error
        if answer != "PONG":
            raise _unavailable("it answers something else")

    def _send(self, connection: socket.socket, pieces: Iterable[bytes], deadline: float) -> _Sent:
        """Send everything, or until it is too much, or answered. Raises ``OSError``."""
        total = 0
        answered = select.poll()  # select.select knows no descriptor above 1,023
        answered.register(connection, select.POLLIN)
        connection.sendall(b"zINSTREAM\0")
        for piece in pieces:
            total += len(piece)
            if total > self.most_bytes:
                return _Sent.MORE_THAN_MOST
            view = memoryview(piece)
            for at in range(0, len(view), CHUNK):
                chunk = view[at : at + CHUNK]
                if answered.poll(0):
                    return _Sent.PART
                self._bound(connection, deadline, self.wait_s)
                connection.sendall(len(chunk).to_bytes(4, "big") + chunk)
        self._bound(connection, deadline, self.wait_s)
        connection.sendall(bytes(4))  # the end
        return _Sent.ALL

    def _answer(self, connection: socket.socket, deadline: float) -> str:
        """The text up to its NUL: without that the connection broke off. Raises ``OSError``."""
        found = b""
        while not found.endswith(b"\0"):
            self._bound(connection, deadline, self.whole_s)
            part = connection.recv(_MOST_ANSWER)
            if not part or len(found) > _MOST_ANSWER:
                raise ConnectionError("the answer has no end")
            found += part
        return found[:-1].decode("utf-8", "replace")

    def _last_words(self, connection: socket.socket) -> str | None:
        try:
            return self._answer(connection, time.monotonic() + 1)
        except OSError:
            return None

    @staticmethod
    def _bound(connection: socket.socket, deadline: float, most_s: float) -> None:
        left = deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError("the whole took too long")
        connection.settimeout(min(most_s, left))

    def _connect(self) -> socket.socket:
        parts = urlsplit(self.url)
        try:
            if parts.scheme == "unix":
                connection = socket.socket(socket.AF_UNIX)
                connection.settimeout(self.connect_s)
                try:
                    connection.connect(parts.path)
                except BaseException:
                    connection.close()
                    raise
                return connection
            return socket.create_connection(
                (parts.hostname or "", parts.port or PORT), timeout=self.connect_s
            )
        except OSError as error:
            raise _unavailable(f"no connection: {type(error).__name__}") from error


def scanner() -> Scanner | None:
    """The one that ``CLAMD_URL`` names; None: there is none, and what to do about that is the caller's to decide."""
    if not settings.CLAMD_URL:
        return None
    return Scanner(
        settings.CLAMD_URL, most_bytes=settings.CLAMD_MOST_BYTES, verdict_s=settings.CLAMD_TIMEOUT_MS / 1000
    )


def _read(answer: str) -> Verdict:
    """``stream: OK``, ``stream: NAME FOUND``, or an error. Anything else is no verdict."""
    if answer == "stream: OK":
        return Verdict(Kind.CLEAN)
    if _says_too_large(answer):
        return Verdict(Kind.TOO_LARGE)
    if found := re.fullmatch(r"stream: (.+) FOUND", answer, re.DOTALL):
        return Verdict(Kind.INFECTED, found[1])
    raise _unavailable(f"it could not scan: {answer[:200]!r}")


def _says_too_large(answer: str) -> bool:
    """Beyond its StreamMaxLength; or beyond what it looks into: the file, what it unpacks to, how deep, how many, how long."""
    return answer.startswith(("INSTREAM size limit exceeded", "stream: Heuristics.Limits.Exceeded"))


def _unavailable(why: str) -> ScannerUnavailable:
    log.warning("clamd gave no verdict: %s", why)
    metrics.count("media_scans", "unavailable")
    return ScannerUnavailable(why)
