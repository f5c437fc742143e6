"""One authenticated XMPP connection over plain TCP, from the connection to the session that hears messages."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import cast

from bench.peers import xmpp


class StreamError(ConnectionError):
    """The server refused something, or ended the stream."""


class Stream(asyncio.Protocol):
    """``on_stanza`` gets each stanza after the session began. ``acks``: whether stream management (XEP-0198) is enabled: its
    requests are answered here, ``out`` and ``came`` count stanzas as it does."""

    def __init__(
        self, user: str, password: str, acks: bool, on_stanza: Callable[[bytes], None], on_close: Callable[[str], None]
    ) -> None:  # fmt: skip
        self._user, self._password, self._acks = user, password, acks
        self._on_stanza, self._on_close = on_stanza, on_close
        self._rest = b""
        self._transport: asyncio.Transport | None = None
        self._live = self._closed = False
        self.out = self.came = 0
        self.ready: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def send(self, data: bytes, stanzas: int = 1) -> None:
        """Silently nothing once the connection has ended."""
        if self._transport is not None and not self._closed:
            self.out += stanzas
            self._transport.write(data)

    def close(self) -> None:
        if self._transport is not None and not self._closed:
            self._closed = True
            self._transport.write(xmpp.END)
            self._transport.close()

    # asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._transport.write(xmpp.HEADER)

    def connection_lost(self, exc: Exception | None) -> None:
        self._end("the connection ended")

    def data_received(self, data: bytes) -> None:
        if self._closed:
            return
        try:
            stanzas, self._rest = xmpp.split(self._rest + data if self._rest else data)
        except xmpp.BrokenStream as error:
            self._end(str(error))
            return
        for stanza in stanzas:
            if self._live:
                self._heard(stanza)
            else:
                self._begins(stanza)

    def _heard(self, stanza: bytes) -> None:
        if stanza.startswith(b"<r "):
            self.send(xmpp.handled(self.came), 0)
            return
        if stanza.startswith((b"<stream:error", b"</stream:stream")):
            self._end(stanza.decode())
            return
        if not stanza.startswith(b"<a "):
            self.came += 1
        self._on_stanza(stanza)

    def _begins(self, stanza: bytes) -> None:
        """The steps of RFC 6120; those that need not wait for each other's answers go together."""
        assert self._transport is not None
        if stanza.startswith(b"<stream:features"):
            if b"<mechanism>" in stanza:
                self._transport.write(xmpp.auth(self._user, self._password))
            else:
                self._transport.write(xmpp.BIND + (xmpp.ENABLE if self._acks else b"") + xmpp.PRESENCE)
                self.out = 1
        elif stanza.startswith(b"<success"):
            self._transport.write(xmpp.HEADER)
        elif stanza.startswith(b"<presence"):
            self.came = 1
            self._live = True
            if not self.ready.done():
                self.ready.set_result(None)
        elif stanza.startswith(b"<r "):
            self._transport.write(xmpp.handled(0))
        elif not stanza.startswith((b"<iq type='result'", b"<enabled")):
            self._end(f"refused: {stanza.decode()}")

    def _end(self, reason: str) -> None:
        if self._closed:
            return
        self._closed = True
        if self._transport is not None:
            self._transport.close()
        if not self.ready.done():
            self.ready.set_exception(StreamError(reason))
        self._on_close(reason)


async def connect(
    person: dict[str, str], acks: bool, on_stanza: Callable[[bytes], None], on_close: Callable[[str], None]
) -> Stream:
    """Until the session hears messages. ``person``: ``user``, ``password``, ``host``, ``port``. Raises :class:`StreamError`."""
    _, stream = await asyncio.get_running_loop().create_connection(
        lambda: Stream(person["user"], person["password"], acks, on_stanza, on_close),
        person["host"],
        int(person["port"]),
    )
    await stream.ready
    return stream


class Idler:
    """A session that does nothing."""

    def __init__(self, person: dict[str, str]) -> None:
        self._person = person
        self._stream: Stream | None = None
        self.closed = False

    async def connect(self) -> float:
        """Seconds until the session hears messages."""
        start = time.perf_counter()
        self._stream = await connect(self._person, True, lambda stanza: None, self._ended)
        return time.perf_counter() - start

    async def sync(self) -> None:
        """Its session began with it."""

    def close(self) -> None:
        if self._stream is not None:
            self._stream.close()

    def _ended(self, reason: str) -> None:
        self.closed = True
