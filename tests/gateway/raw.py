"""A socket at the level of bytes, for frames that no WebSocket library would send, and for clients that stop reading."""

from __future__ import annotations

import asyncio
import base64
import os
import socket as sockets
import struct
from typing import NamedTuple, Self
from urllib.parse import urlsplit

from tests.gateway.peer import SUBPROTOCOL
from tests.support.patience import PATIENCE

TEXT, BINARY, CONT, CLOSE, PING, PONG = 1, 2, 0, 8, 9, 10


class Received(NamedTuple):
    opcode: int
    payload: bytes

    @property
    def code(self) -> int:
        """Of a close frame."""
        return int.from_bytes(self.payload[:2], "big")


def frame(
    opcode: int,
    payload: bytes = b"",
    *,
    final: bool = True,
    masked: bool = True,
    reserved: int = 0,
    size: int | None = None,
    mask: bytes | None = None,
) -> bytes:
    """One WebSocket frame (RFC 6455, section 5.2); ``size``: what its header claims."""
    mask = os.urandom(4) if mask is None else mask
    length = len(payload) if size is None else size
    first = (0x80 if final else 0) | reserved << 4 | opcode
    flag = 0x80 if masked else 0
    if length < 126:
        head = struct.pack("!BB", first, flag | length)
    elif length < 65_536:
        head = struct.pack("!BBH", first, flag | 126, length)
    else:
        head = struct.pack("!BBQ", first, flag | 127, length)
    if not masked:
        return head + payload
    return head + mask + bytes(byte ^ mask[index % 4] for index, byte in enumerate(payload))


class RawSocket:
    """``receive_buffer``: bytes that the kernel takes while nobody reads (it doubles them), for slow clients."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, head: str) -> None:
        self.reader = reader
        self.writer = writer
        self.head = head  # the HTTP answer

    @classmethod
    async def open(cls, url: str, codec: str = "json", token: str = "", *, receive_buffer: int = 0) -> Self:
        address = urlsplit(url)
        plain = sockets.socket()
        plain.setblocking(False)
        if receive_buffer:
            plain.setsockopt(sockets.SOL_SOCKET, sockets.SO_RCVBUF, receive_buffer)
        await asyncio.get_running_loop().sock_connect(plain, (address.hostname, address.port))
        reader, writer = await asyncio.open_connection(sock=plain)
        lines = [
            f"GET {address.path} HTTP/1.1",
            f"Host: {address.netloc}",
            "Upgrade: websocket",
            "Connection: Upgrade",
            f"Sec-WebSocket-Key: {base64.b64encode(os.urandom(16)).decode()}",
            "Sec-WebSocket-Version: 13",
            f"Sec-WebSocket-Protocol: {SUBPROTOCOL.format(codec)}",
        ]
        if token:
            lines.append(f"Authorization: Bearer {token}")
        writer.write("\r\n".join([*lines, "", ""]).encode())
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        assert head.startswith("HTTP/1.1 101"), head
        return cls(reader, writer, head)

    def write(self, data: bytes) -> None:
        self.writer.write(data)

    async def receive(self, timeout: float = PATIENCE) -> Received | None:
        """The next frame; None at the end of the stream."""
        async with asyncio.timeout(timeout):
            try:
                first, second = await self.reader.readexactly(2)
                size = second & 0x7F
                if size == 126:
                    (size,) = struct.unpack("!H", await self.reader.readexactly(2))
                elif size == 127:
                    (size,) = struct.unpack("!Q", await self.reader.readexactly(8))
                return Received(first & 0x0F, await self.reader.readexactly(size))
            except (asyncio.IncompleteReadError, ConnectionError):
                return None

    async def until_closed(self, timeout: float = PATIENCE) -> tuple[int, list[Received]]:
        """Read to the close frame: its code (1006 if there is none), and the frames before it."""
        before: list[Received] = []
        async with asyncio.timeout(timeout):
            while (got := await self.receive(timeout)) is not None:
                if got.opcode == CLOSE:
                    return got.code, before
                before.append(got)
        return 1006, before

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        self.writer.transport.abort()
