"""The client side of a WebSocket (RFC 6455), as cheap as it can be, so that a load generator costs little beside the servers.

Frames are masked with the key 0: valid on the wire, nothing to compute here, and the server unmasks as ever. No
fragments, no compression, one handshake. Not for use outside a bench: a real client's masks must be unpredictable.
"""

from __future__ import annotations

import asyncio
import base64
import os
import ssl
import struct
from collections.abc import Callable
from typing import cast
from urllib.parse import urlsplit

_HEAD16 = struct.Struct("!BBHI").pack
_HEAD64 = struct.Struct("!BBQI").pack
_U16 = struct.Struct("!H").unpack_from
_U64 = struct.Struct("!Q").unpack_from
_NO_MASK = bytes(4)
_tls: ssl.SSLContext | None = None
_CLOSE_NORMAL = b"\x88\x82" + _NO_MASK + b"\x03\xe8"


class HandshakeError(Exception):
    """The server did not switch to WebSocket; the text is its status line."""


class WebSocket(asyncio.Protocol):
    """One connection. ``on_frame(payload)`` is called for each text or binary message, ``on_close(code)`` once at the end
    (1006 when the connection just broke). Made by :func:`connect`."""

    def __init__(
        self, url: str, *, token: str, subprotocol: str, text: bool,
        on_frame: Callable[[bytes], None], on_close: Callable[[int], None],
    ) -> None:  # fmt: skip
        self._url = urlsplit(url)
        self._token = token
        self._subprotocol = subprotocol
        self._opcode = 0x81 if text else 0x82
        self._on_frame = on_frame
        self._on_close = on_close
        self._transport: asyncio.Transport | None = None
        self._rest = b""
        self._open = self._upgrading = False
        self._closed = False
        self.opened: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def send(self, payload: bytes) -> None:
        """Send one message; silently nothing once the connection has ended."""
        if self._closed or self._transport is None:
            return
        size = len(payload)
        if size < 126:
            head = bytes((self._opcode, 0x80 | size)) + _NO_MASK
        elif size < 65_536:
            head = _HEAD16(self._opcode, 0xFE, size, 0)
        else:
            head = _HEAD64(self._opcode, 0xFF, size, 0)
        self._transport.write(head + payload)

    def close(self) -> None:
        """Say 1000 and end; ``on_close`` is not called."""
        if not self._closed and self._transport is not None:
            self._closed = True
            self._transport.write(_CLOSE_NORMAL)
            self._transport.close()

    def abort(self) -> None:
        """End at once, without a word; ``on_close`` is not called."""
        self._closed = True
        if self._transport is not None:
            self._transport.abort()

    # asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        key = base64.b64encode(os.urandom(16)).decode()
        self._transport.write(
            f"GET {self._url.path} HTTP/1.1\r\nHost: {self._url.netloc}\r\nUpgrade: websocket\r\n"
            f"Connection: Upgrade\r\nSec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n"
            f"Sec-WebSocket-Protocol: {self._subprotocol}\r\nAuthorization: Bearer {self._token}\r\n\r\n".encode()
        )

    def data_received(self, data: bytes) -> None:
        if self._rest:
            data = self._rest + data
            self._rest = b""
        if not self._open:
            if self._upgrading:
                self._rest = data
                return
            head, end, data = data.partition(b"\r\n\r\n")
            if not end:
                self._rest = head
                return
            if self._upgraded(head):
                self._rest = data
                # Whoever waits for the 101 has this socket before its first frame, which may have come with it.
                asyncio.get_running_loop().call_soon(self._begin)
            return
        start, end_of_data = 0, len(data)
        while end_of_data - start >= 2:
            size = data[start + 1]
            body = start + 2
            if size > 125:
                body += 2 if size == 126 else 8
                if body > end_of_data:
                    break
                size = (_U16(data, start + 2) if size == 126 else _U64(data, start + 2))[0]
            stop = body + size
            if stop > end_of_data:
                break
            opcode = data[start]
            if opcode == self._opcode:
                self._on_frame(data[body:stop])
            elif opcode == 0x89:
                self._pong(data[body:stop])
            elif opcode == 0x88:
                self._end(int.from_bytes(data[body : body + 2], "big") if size >= 2 else 1005)
                return
            elif opcode != 0x8A:
                self._end(1002)
                return
            start = stop
        self._rest = data[start:]

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.opened.done():
            self.opened.set_exception(HandshakeError("the connection ended in the handshake"))
        if not self._closed:
            self._closed = True
            self._on_close(1006)

    def _upgraded(self, head: bytes) -> bool:
        if self.opened.done():  # whoever waited has given up
            self._closed = True
            if self._transport is not None:
                self._transport.abort()
            return False
        status = head.partition(b"\r\n")[0].decode("latin-1")
        wanted = f"sec-websocket-protocol: {self._subprotocol}".encode()
        if " 101 " not in status or wanted not in head.lower():
            self.opened.set_exception(HandshakeError(status))
            self._closed = True
            if self._transport is not None:
                self._transport.abort()
            return False
        self._upgrading = True
        self.opened.set_result(None)
        return True

    def _begin(self) -> None:
        self._open = True
        self.data_received(b"")

    def _pong(self, payload: bytes) -> None:
        if self._transport is not None:
            self._transport.write(bytes((0x8A, 0x80 | len(payload))) + _NO_MASK + payload)

    def _end(self, code: int) -> None:
        self._closed = True
        if self._transport is not None:
            self._transport.close()
        self._on_close(code)


def trust(certificate: str) -> None:
    """Trust this certificate in ``wss://``, and speak nothing older than TLS 1.3."""
    global _tls
    _tls = ssl.create_default_context(cafile=certificate)
    _tls.minimum_version = ssl.TLSVersion.TLSv1_3


async def connect(
    url: str, *, token: str, subprotocol: str, text: bool,
    on_frame: Callable[[bytes], None], on_close: Callable[[int], None], source: str = "",
) -> WebSocket:  # fmt: skip
    """Open a socket, from the address ``source`` if there is one, and wait for the 101. Raises :class:`HandshakeError` and
    OSError."""
    loop = asyncio.get_running_loop()
    parts = urlsplit(url)
    _, socket = await loop.create_connection(
        lambda: WebSocket(
            url, token=token, subprotocol=subprotocol, text=text, on_frame=on_frame, on_close=on_close
        ),
        parts.hostname or "127.0.0.1",
        parts.port or 80,
        ssl=_tls if parts.scheme == "wss" else None,
        local_addr=(source, 0) if source else None,
    )
    try:
        await socket.opened
    except BaseException:
        socket.abort()  # also when nobody waits for it any more
        raise
    return socket
