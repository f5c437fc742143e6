"""One HTTP/2 connection to one server, kept, and shared by many requests at once (RFC 9113).

Why not httpx: what became of a request decides whether it may be sent again, and httpx does not say it; and some things that
servers do leave its connection of no use (docs/adr/0139).
"""

from __future__ import annotations

import asyncio
import logging
import socket
import ssl
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Final, NamedTuple, Protocol, TypeVar, cast

from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.errors import ErrorCodes
from h2.events import (
    ConnectionTerminated,
    DataReceived,
    Event,
    RemoteSettingsChanged,
    ResponseReceived,
    StreamEnded,
    StreamReset,
)
from h2.exceptions import ProtocolError
from h2.settings import SettingCodes, Settings
from hyperframe.frame import Frame, GoAwayFrame

logger = logging.getLogger(__name__)

#: Requests under way at once, however many more the server allows: h2 looks at each open stream with every new one.
STREAMS: Final = 200
#: Bytes of an answer; what is longer is nothing that we understand.
LARGEST_ANSWER: Final = 16_384
#: Connections that one request is tried on. It goes on only where the one before has certainly not looked at it.
ATTEMPTS: Final = 3
_SILENCE_S: Final = 60  # then the kernel asks whether the other side is still there
_UNANSWERED_MS: Final = 10_000  # what the other side's kernel does not acknowledge ends the connection

Headers = Sequence[tuple[str, str]]
_T = TypeVar("_T")


class Unsent(Exception):
    """The server has certainly not acted on it. The argument says why, in a word."""


class _Refused(Unsent):
    """By this connection; another one may take it at once."""


class Lost(Exception):
    """It was sent, and no answer came: whether the server acted on it is not known. The argument says why, in a word."""


class Answer(NamedTuple):
    status: int
    headers: dict[str, str]
    body: bytes


class Times(NamedTuple):
    """Seconds."""

    connect: float = 5  # to the server's settings
    wait: float = 10  # for one of the streams that the server allows
    answer: float = 10  # behind the request


class Connect(Protocol):
    """``loop.create_connection``, as far as it is used here."""

    async def __call__(
        self,
        protocol_factory: Callable[[], _Connection],
        host: str,
        port: int,
        *,
        ssl: ssl.SSLContext,
        server_hostname: str,
    ) -> tuple[asyncio.Transport, _Connection]: ...


class _Exchange:
    __slots__ = ("began", "body", "head", "headers", "limit", "received", "reply", "stream")

    def __init__(self, headers: Headers, body: bytes, reply: asyncio.Future[Answer]) -> None:
        self.headers = headers
        self.body = body
        self.reply = reply
        self.limit: asyncio.Timeout | None = None
        self.stream = 0  # 0: not sent yet
        self.began = 0.0
        self.head: dict[str, str] = {}
        self.received = bytearray()


class _H2(H2Connection):
    """h2 ends a connection with a GOAWAY. RFC 9113 section 6.8: requests up to its number may still be answered."""

    def _receive_goaway_frame(self, frame: GoAwayFrame) -> tuple[list[Frame], list[Event]]:
        event = ConnectionTerminated()
        event.last_stream_id = frame.last_stream_id
        event.additional_data = frame.additional_data or None
        return [], [event]


class _Connection(asyncio.Protocol):
    _transport: asyncio.Transport

    def __init__(self, times: Times) -> None:
        self._loop = asyncio.get_running_loop()
        self._times = times
        self._h2 = _H2(
            H2Configuration(
                header_encoding="utf-8", validate_outbound_headers=False, normalize_outbound_headers=False
            )
        )
        self._waiting: deque[_Exchange] = deque()
        self._exchanges: dict[int, _Exchange] = {}  # by stream
        self._heard = 0.0  # when the server last said anything
        self._paused = False
        self._turn_comes = False
        self.usable = True  # for new requests
        self.ready: asyncio.Future[None] = self._loop.create_future()  # the server's settings are here

    # requests

    async def post(self, headers: Headers, body: bytes, first: bool) -> Answer:
        """Raises ``Unsent``, ``Lost``."""
        exchange = _Exchange(headers, body, self._loop.create_future())
        try:
            async with asyncio.timeout(self._times.wait) as exchange.limit:
                (self._waiting.appendleft if first else self._waiting.append)(exchange)
                self._soon()
                return await exchange.reply
        except TimeoutError:
            if not exchange.stream:
                raise Unsent("NoStream") from None
            if self._heard < exchange.began:
                self._end()  # nothing at all came since then: the next request takes a new connection
            raise Lost("Timeout") from None
        finally:
            self._give_up(exchange)

    def _soon(self) -> None:
        """All that is asked for in one turn of the loop leaves in one write."""
        if not self._turn_comes:
            self._turn_comes = True
            self._loop.call_soon(self._turn)

    def _turn(self) -> None:
        self._turn_comes = False
        try:
            while self._waiting and self._room(len(self._waiting[0].body)):
                exchange = self._waiting.popleft()
                if not exchange.reply.done():
                    self._send(exchange)
        except ProtocolError as error:  # such as: the numbers of streams are used up
            logger.warning("A push connection is given up: %s", type(error).__name__)
            self._end()
        self._flush()
        if not self.usable:
            self._refuse_waiting()
            if not self._exchanges:
                self._transport.close()

    def _room(self, size: int) -> bool:
        """Whether one more may be sent whole: streams and windows are the server's to give (RFC 9113 sections 5.1.2, 5.2)."""
        theirs = self._h2.remote_settings
        return (
            self.usable
            and self.ready.done()
            and not self._paused
            and len(self._exchanges) < min(STREAMS, theirs.max_concurrent_streams)
            and size <= min(self._h2.outbound_flow_control_window, theirs.initial_window_size)
        )

    def _send(self, exchange: _Exchange) -> None:
        try:
            stream = self._h2.get_next_available_stream_id()
            self._h2.send_headers(stream, exchange.headers)
            self._h2.send_data(stream, exchange.body, end_stream=True)
        except ProtocolError:
            _fail(exchange.reply, _Refused("ConnectionLost"))
            raise
        exchange.stream = stream
        exchange.began = self._loop.time()
        self._exchanges[stream] = exchange
        assert exchange.limit is not None
        exchange.limit.reschedule(exchange.began + self._times.answer)

    def _give_up(self, exchange: _Exchange) -> None:
        """Nobody waits for it any longer. Without an answer: its place among the streams becomes free."""
        if self._exchanges.pop(exchange.stream, None) is not None:
            with suppress(ProtocolError):
                self._h2.reset_stream(exchange.stream, ErrorCodes.CANCEL)
            self._soon()
        elif not exchange.stream:
            with suppress(ValueError):
                self._waiting.remove(exchange)

    # what the server says

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        _watch(transport.get_extra_info("socket"))
        if not _speaks_http2(transport):
            return  # it hears nothing that it would not understand
        self._h2.local_settings = Settings(
            client=True,
            initial_values={SettingCodes.ENABLE_PUSH: 0, SettingCodes.MAX_HEADER_LIST_SIZE: LARGEST_ANSWER},
        )
        self._h2.initiate_connection()
        self._flush()

    def data_received(self, data: bytes) -> None:
        self._heard = self._loop.time()
        try:
            for event in self._h2.receive_data(data):
                self._take(event)
        except ProtocolError as error:
            logger.warning("A push service broke the protocol: %s", type(error).__name__)
            self._end()
        self._soon()

    def _take(self, event: Event) -> None:
        if isinstance(event, ResponseReceived):
            if exchange := self._exchanges.get(event.stream_id or 0):
                exchange.head = dict(cast(list[tuple[str, str]], event.headers))
        elif isinstance(event, DataReceived):
            assert event.stream_id
            assert event.data is not None
            assert event.flow_controlled_length is not None
            self._h2.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
            if exchange := self._exchanges.get(event.stream_id):
                exchange.received += event.data[: LARGEST_ANSWER - len(exchange.received)]
        elif isinstance(event, StreamEnded):
            if exchange := self._exchanges.pop(event.stream_id or 0, None):
                status = int(exchange.head.pop(":status"))
                _set(exchange.reply, Answer(status, exchange.head, bytes(exchange.received)))
        elif isinstance(event, StreamReset):
            if exchange := self._exchanges.pop(event.stream_id or 0, None):
                unseen = event.error_code == ErrorCodes.REFUSED_STREAM
                _fail(exchange.reply, _Refused("Refused") if unseen else Lost("StreamReset"))
        elif isinstance(event, RemoteSettingsChanged):
            _set(self.ready, None)
        elif isinstance(event, ConnectionTerminated):
            self._go_away(event)

    def _go_away(self, event: ConnectionTerminated) -> None:
        logger.info("A push service ends its connection: %.200r", event.additional_data)
        self.usable = False
        for stream in [s for s in self._exchanges if s > (event.last_stream_id or 0)]:
            _fail(self._exchanges.pop(stream).reply, _Refused("GoAway"))

    def pause_writing(self) -> None:
        self._paused = True

    def resume_writing(self) -> None:
        self._paused = False
        self._soon()

    # its end

    def retire(self) -> None:
        """No new request; those under way may end."""
        self.usable = False
        self._soon()

    def _end(self) -> None:
        self.usable = False
        self._transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        self.usable = False
        self._refuse_waiting()
        _fail(self.ready, _Refused("ConnectionLost"))
        for exchange in self._exchanges.values():
            _fail(exchange.reply, Lost("ConnectionLost"))
        self._exchanges.clear()

    def _refuse_waiting(self) -> None:
        while self._waiting:
            _fail(self._waiting.popleft().reply, _Refused("ConnectionLost"))

    def close(self) -> None:
        with suppress(ProtocolError):
            self._h2.close_connection()
            self._flush()
        self.usable = False
        self._transport.close()

    def _flush(self) -> None:
        if (data := self._h2.data_to_send()) and not self._transport.is_closing():
            self._transport.write(data)


class Client:
    """The connection to one server: made when it is first needed, and made anew when it has ended. Used on one event loop."""

    def __init__(
        self, host: str, port: int, tls: ssl.SSLContext, times: Times, connect: Connect | None = None
    ) -> None:
        """``tls`` offers ``h2`` (ALPN). ``connect``: instead of the loop's own ``create_connection``; what it raises that is
        no ``OSError`` is passed on."""
        self._host, self._port, self._tls, self._times = host, port, tls, times
        self._connect_to = connect
        self._connection: _Connection | None = None
        self._connecting: asyncio.Task[_Connection] | None = None

    async def post(self, headers: Headers, body: bytes, *, first: bool = False) -> Answer:
        """``headers`` with the pseudo-headers in front, names in lower case. ``first``: before those that wait for a stream.

        Raises ``Unsent``, ``Lost``; never waits longer than the sum of its times for each attempt.
        """
        for attempt in range(1, ATTEMPTS + 1):
            connection = await self._usable()
            try:
                return await connection.post(headers, body, first)
            except _Refused:
                if attempt == ATTEMPTS:
                    raise
        raise AssertionError

    def retire(self) -> None:
        """The server wants no more on this connection; the next request takes a new one."""
        if self._connection is not None:
            self._connection.retire()

    async def close(self) -> None:
        if self._connecting is not None:
            self._connecting.cancel()
        if self._connection is not None:
            self._connection.close()

    async def _usable(self) -> _Connection:
        if self._connection is not None and self._connection.usable:
            return self._connection
        if self._connecting is None:
            self._connecting = asyncio.create_task(self._connect())
            self._connecting.add_done_callback(self._connected)
        return await asyncio.shield(self._connecting)

    def _connected(self, task: asyncio.Task[_Connection]) -> None:
        self._connecting = None
        if not task.cancelled() and task.exception() is None:
            self._connection = task.result()

    async def _connect(self) -> _Connection:
        loop = asyncio.get_running_loop()
        transport: asyncio.Transport | None = None
        try:
            async with asyncio.timeout(self._times.connect):
                connect = self._connect_to or loop.create_connection
                transport, connection = await connect(
                    lambda: _Connection(self._times),
                    self._host,
                    self._port,
                    ssl=self._tls,
                    server_hostname=self._host,
                )
                if not _speaks_http2(transport):
                    raise Unsent("NoHttp2")
                await connection.ready
                return connection
        except BaseException as error:
            if transport is not None:
                connection.ready.cancel()
                transport.abort()
            if isinstance(error, OSError | TimeoutError | _Refused):
                logger.warning("No connection to %s: %s", self._host, type(error).__name__)
                raise Unsent("Unreachable") from error
            raise


def _speaks_http2(transport: asyncio.BaseTransport) -> bool:
    return bool(transport.get_extra_info("ssl_object").selected_alpn_protocol() == "h2")


def _watch(connection: socket.socket) -> None:
    """A connection may be idle for hours. One whose other side is gone is noticed by the kernel, not by a push that is lost."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in (
        ("TCP_KEEPIDLE", _SILENCE_S),
        ("TCP_KEEPINTVL", 10),
        ("TCP_KEEPCNT", 3),
        ("TCP_USER_TIMEOUT", _UNANSWERED_MS),
    ):
        if option := getattr(socket, name, None):  # not every system has each
            connection.setsockopt(socket.IPPROTO_TCP, option, value)


def _set(future: asyncio.Future[_T], value: _T) -> None:
    if not future.done():
        future.set_result(value)


def _fail(future: asyncio.Future[_T], error: Exception) -> None:
    if not future.done():
        future.set_exception(error)
