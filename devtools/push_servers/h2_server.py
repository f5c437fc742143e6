"""A server of HTTP/2 over TLS (RFC 9113) that does what it is told: it answers late or never, resets streams, says GOAWAY,
closes."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self, cast

from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.errors import ErrorCodes
from h2.events import DataReceived, RequestReceived, StreamEnded, StreamReset
from h2.exceptions import ProtocolError
from h2.settings import SettingCodes
from hyperframe.frame import GoAwayFrame

#: What clients may have open at once unless told otherwise.
STREAMS = 1_000


@dataclass(slots=True)
class Request:
    connection: Connection
    stream: int
    method: str
    path: str
    headers: dict[str, str]
    body: bytearray = field(default_factory=bytearray)

    def answer(self, status: int, headers: dict[str, str] | None = None, body: bytes = b"") -> None:
        self.connection.answer(self.stream, status, headers or {}, body)

    def reset(self, error: ErrorCodes = ErrorCodes.REFUSED_STREAM) -> None:
        self.connection.reset(self.stream, error)


class Connection(asyncio.Protocol):
    """One client. ``open``: streams that it has open now, ``most_open``: at most."""

    transport: asyncio.Transport

    def __init__(self, server: H2Server) -> None:
        self._server = server
        self._h2 = H2Connection(H2Configuration(client_side=False, header_encoding="utf-8"))
        self._requests: dict[int, Request] = {}
        self.open: set[int] = set()
        self.most_open = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        self._server.connections.append(self)
        self._server.opened += 1
        self._h2.local_settings[SettingCodes.MAX_CONCURRENT_STREAMS] = self._server.streams
        self._h2.local_settings.acknowledge()
        if self._server.silent:
            return
        self._h2.initiate_connection()
        self._write()

    def connection_lost(self, exc: Exception | None) -> None:
        self._server.connections.remove(self)

    def data_received(self, data: bytes) -> None:
        if self._server.frozen:
            return
        try:
            events = self._h2.receive_data(data)
        except ProtocolError as error:
            self._server.violations.append(str(error))
            self._write()
            self.transport.close()
            return
        for event in events:
            if isinstance(event, RequestReceived):
                self._begin(event)
            elif isinstance(event, DataReceived):
                assert event.data is not None
                assert event.flow_controlled_length is not None
                if request := self._requests.get(event.stream_id):
                    request.body += event.data
                self._h2.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
            elif isinstance(event, StreamEnded):
                if request := self._requests.pop(event.stream_id, None):
                    self._server.handle(request)
            elif isinstance(event, StreamReset):
                self._requests.pop(event.stream_id, None)
                self.open.discard(event.stream_id)
                self._server.resets += 1
        self._write()

    def _begin(self, event: RequestReceived) -> None:
        headers = cast(list[tuple[str, str]], event.headers)
        assert event.stream_id is not None
        named = dict(headers)
        self._requests[event.stream_id] = Request(
            self, event.stream_id, named.pop(":method"), named.pop(":path"), named
        )
        self.open.add(event.stream_id)
        self.most_open = max(self.most_open, len(self.open))

    def answer(self, stream: int, status: int, headers: dict[str, str], body: bytes) -> None:
        """As APNs does it: without a body the headers end the stream, else one DATA frame."""
        if stream not in self.open:
            return
        self.open.discard(stream)
        self._h2.send_headers(stream, [(":status", str(status)), *headers.items()], end_stream=not body)
        if body:
            self._h2.send_data(stream, body, end_stream=True)
        self._write()

    def reset(self, stream: int, error: ErrorCodes) -> None:
        self.open.discard(stream)
        self._h2.reset_stream(stream, error)
        self._write()

    def set_streams(self, number: int) -> None:
        self._h2.update_settings({SettingCodes.MAX_CONCURRENT_STREAMS: number})
        self._write()

    def goaway(self, last_stream: int, data: bytes = b"") -> None:
        """Says that nothing after ``last_stream`` is looked at. What came before can still be answered: h2 by itself would
        not do that, so the frame is made here."""
        self._write()
        frame = GoAwayFrame(0, last_stream_id=last_stream, error_code=0, additional_data=data)
        self.transport.write(frame.serialize())

    def _write(self) -> None:
        if data := self._h2.data_to_send():
            self.transport.write(data)


class H2Server:
    """``async with H2Server(handle, certificate, key) as server``: it listens on ``server.url``. ``handle`` gets each whole
    request and answers it, at once or later."""

    def __init__(
        self, handle: Callable[[Request], None], certificate: Path, key: Path, streams: int = STREAMS
    ) -> None:
        self.handle = handle
        self.streams = streams
        self.silent = False  # it accepts connections and says nothing
        self.frozen = False  # it reads no more
        self.connections: list[Connection] = []
        self.opened = 0  # connections so far
        self.resets = 0  # streams that clients gave up
        self.violations: list[str] = []  # of the protocol, by clients
        self._tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        self._tls.load_cert_chain(certificate, key)
        self._tls.set_alpn_protocols(["h2"])
        self._listener: asyncio.Server | None = None
        self.port = 0

    @property
    def url(self) -> str:
        return f"https://127.0.0.1:{self.port}"

    async def start(self, port: int = 0) -> None:
        loop = asyncio.get_running_loop()
        self._listener = await loop.create_server(
            lambda: Connection(self), "127.0.0.1", port or self.port, ssl=self._tls
        )
        self.port = self._listener.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        """Nobody is accepted any more, and whoever is connected is cut off."""
        if self._listener is not None:
            self._listener.close()
            self.cut()
            await self._listener.wait_closed()
            self._listener = None

    def cut(self) -> None:
        for connection in list(self.connections):
            connection.transport.abort()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: Any) -> None:
        await self.stop()
