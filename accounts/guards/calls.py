"""One small request to a service that others run: bounded in time as a whole, in size and in how many go on at once."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from typing import Any, Final

import httpx
from django.conf import settings

#: Bytes of an answer that are read.
_MOST: Final = 65_536
#: Each holds a connection to PostgreSQL meanwhile: a slow service must not take them all.
_AT_ONCE: Final = threading.BoundedSemaphore(settings.GUARD_AT_ONCE)


class NoAnswer(Exception):
    """None in time, or none that makes sense. Its text holds nothing of what was asked."""


def post(url: str, *, headers: dict[str, str] | None = None, **body: Any) -> dict[str, Any]:
    """The JSON object that the service answers within ``GUARD_TIMEOUT_MS``, whatever it does: an answer that drips, a name that
    nobody resolves and a handshake that never ends count as none. ``body``: ``json=`` or ``data=``. Raises :class:`NoAnswer`."""
    timeout = settings.GUARD_TIMEOUT_MS / 1000
    until = time.monotonic() + timeout
    if not _AT_ONCE.acquire(timeout=timeout):
        raise NoAnswer("too many wait for an answer")
    call = _Call(url, {**(headers or {})}, body, max(until - time.monotonic(), 0.05))
    try:
        call.start()
    except RuntimeError:
        _AT_ONCE.release()
        raise NoAnswer("no thread") from None
    call.join(_rest(until))
    if call.is_alive():
        call.cut()
        raise NoAnswer("too slow")
    if call.found is None:
        raise NoAnswer(call.why)
    return call.found


def _rest(until: float) -> float | None:
    """Seconds that a call may still take."""
    return max(until - time.monotonic(), 0.05)


class _Call(threading.Thread):
    """In a thread of its own: time-outs of a socket are those of a single read, and nothing bounds the question for an address.
    It counts among those that go on until it has ended, which is soon after :meth:`cut`."""

    def __init__(self, url: str, headers: dict[str, str], body: dict[str, Any], each: float) -> None:
        super().__init__(name="guard-call", daemon=True)
        self.found: dict[str, Any] | None = None
        self.why = "no object"
        self._what = url, headers, body, each
        self._lock = threading.Lock()
        self._socket: socket.socket | None = None
        self._over = False

    def run(self) -> None:
        try:
            found = self._ask()
            self.found = found if isinstance(found, dict) else None
        except NoAnswer as error:
            self.why = str(error)
        except (httpx.HTTPError, httpx.InvalidURL, OSError, ValueError, RecursionError) as error:
            self.why = type(error).__name__
        finally:
            _AT_ONCE.release()

    def cut(self) -> None:
        """Nobody waits any more."""
        with self._lock:
            self._over = True
            self._shut()

    def _ask(self) -> Any:
        url, headers, body, each = self._what
        # Nothing packed: a small answer must not become a large one here.
        sent = {"Accept-Encoding": "identity", **headers}
        with (
            httpx.Client(timeout=each, follow_redirects=False) as client,
            client.stream("POST", url, headers=sent, extensions={"trace": self._connected}, **body) as answer,
        ):
            if answer.status_code != 200:
                raise NoAnswer(f"status {answer.status_code}")
            text = b""
            for part in answer.iter_raw():
                text += part
                if len(text) > _MOST:
                    raise NoAnswer("too much")
        return httpx.Response(200, content=text).json()

    def _connected(self, event: str, info: dict[str, Any]) -> None:
        """What the client does, as it does it: of a connection, its socket."""
        if event in ("connection.connect_tcp.complete", "connection.start_tls.complete"):
            with self._lock:
                self._socket = info["return_value"].get_extra_info("socket")
                if self._over:
                    self._shut()

    def _shut(self) -> None:
        if self._socket is not None:
            with contextlib.suppress(OSError):
                # Not that of the TLS object, which another thread is reading.
                socket.socket.shutdown(self._socket, socket.SHUT_RDWR)
