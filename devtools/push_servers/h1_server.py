"""A server of HTTP/1.1 over TLS (RFC 9112), told what to do as :mod:`devtools.push_servers.h2_server` is."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import h11


@dataclass(slots=True)
class Request:
    method: str
    path: str
    headers: dict[str, str]
    body: bytearray
    _answered: asyncio.Future[tuple[int, dict[str, str], bytes] | None] = field(repr=False)

    def answer(self, status: int, headers: dict[str, str] | None = None, body: bytes = b"") -> None:
        if not self._answered.done():
            self._answered.set_result((status, headers or {}, body))

    def cut(self) -> None:
        """The connection ends instead."""
        if not self._answered.done():
            self._answered.set_result(None)


class H1Server:
    """``async with H1Server(handle, certificate, key) as server``. ``handle`` gets each whole request and answers it, at once or
    later."""

    def __init__(self, handle: Callable[[Request], None], certificate: Path, key: Path) -> None:
        self.handle = handle
        self.port = 0
        self._open: set[asyncio.StreamWriter] = set()
        self._tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        self._tls.load_cert_chain(certificate, key)
        self._tls.set_alpn_protocols(["http/1.1"])
        self._listener: asyncio.Server | None = None

    @property
    def url(self) -> str:
        return f"https://127.0.0.1:{self.port}"

    async def __aenter__(self) -> Self:
        self._listener = await asyncio.start_server(self._serve, "127.0.0.1", 0, ssl=self._tls)
        self.port = self._listener.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: Any) -> None:
        if self._listener is not None:
            self._listener.close()
        for writer in list(self._open):
            writer.transport.abort()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._open.add(writer)
        try:
            connection = h11.Connection(h11.SERVER)
            while (request := await _request(connection, reader)) is not None:
                self.handle(request)
                answer = await request._answered
                if answer is None:
                    writer.transport.abort()
                    return
                status, headers, body = answer
                sent = [(name, value) for name, value in headers.items()] + [
                    ("Content-Length", str(len(body)))
                ]
                for event in (
                    h11.Response(status_code=status, headers=sent),
                    h11.Data(data=body),
                    h11.EndOfMessage(),
                ):
                    writer.write(connection.send(event) or b"")
                await writer.drain()
                if connection.our_state is h11.MUST_CLOSE:
                    return
                connection.start_next_cycle()
        except (OSError, h11.ProtocolError):
            return  # the client is gone
        finally:
            self._open.discard(writer)
            writer.close()


async def _request(connection: h11.Connection, reader: asyncio.StreamReader) -> Request | None:
    head: h11.Request | None = None
    body = bytearray()
    while True:
        event = connection.next_event()
        if event is h11.NEED_DATA:
            connection.receive_data(await reader.read(65_536))
        elif isinstance(event, h11.Request):
            head = event
        elif isinstance(event, h11.Data):
            body += event.data
        elif isinstance(event, h11.EndOfMessage):
            assert head is not None
            headers = {name.decode(): value.decode() for name, value in head.headers}
            answered = asyncio.get_running_loop().create_future()
            return Request(head.method.decode(), head.target.decode(), headers, body, answered)
        else:
            return None  # the connection has ended
