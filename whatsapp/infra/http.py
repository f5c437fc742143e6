"""uvicorn's HTTP/1.1 with a bound on everything that a client can withhold, repeat or make long.

uvicorn bounds idle connections between two requests and nothing else: a client that sends half a request, or a header
without an end, or reads no answer, would keep a descriptor and memory for ever. Here each connection is in one phase, each
phase has a timer, and the connections that are no sockets yet are counted, altogether and by address (:class:`Door`). A
socket leaves the door once the gateway has it and costs nothing here from then on. Limits: ``http_…`` of
``whatsapp/infra/limits.py``.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from enum import Enum
from http import HTTPStatus
from math import inf
from typing import Any, ClassVar

import httptools
from uvicorn.protocols.http.flow_control import FlowControl
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from whatsapp.infra import handshake, metrics
from whatsapp.infra.headers import HEADERS
from whatsapp.infra.limits import LIMITS
from whatsapp.infra.problem import document
from whatsapp.wire.errors import Code

#: How long a connection lives on after our last word, so that the peer can read it; closing over unread input resets it.
LINGER_S = 2.0
#: Bytes on the wire for a byte of a chunked body: 6 when each has a chunk of its own.
CHUNK_OVERHEAD = 8
#: Of one header.
MAX_LINE = 8_000


class Phase(Enum):
    """What a connection waits for."""

    HEAD = "head"  # the rest of a request's head, or its first byte
    BODY = "body"
    ANSWER = "answer"  # ours: the client owes nothing
    UPGRADE = "upgrade"  # ours too: until the application has taken the socket
    IDLE = "idle"  # another request
    CLOSING = "closing"


#: The client's turn: who is in one of these may be cut to make room.
_OWED = frozenset({Phase.HEAD, Phase.BODY, Phase.IDLE})


class Door:
    """The connections of a process that are no sockets: how many, from where, and which wait for their client."""

    def __init__(self) -> None:
        self.connections = 0
        self.addresses: Counter[str] = Counter()
        self.waiting: dict[Http, None] = {}  # the one that waits longest is first
        #: Whether an address is a balancer's, behind which everybody comes from one address.
        self.is_proxy: Callable[[str], bool] = lambda address: False

    def enter(self, address: str) -> str:
        """Count a connection. Returns why it may not stay, or "". When the house is full, who has waited longest makes room."""
        self.connections += 1
        self.addresses[address] += 1
        if self.addresses[address] > LIMITS.http_connections_per_address and not self.is_proxy(address):
            return "address"
        if self.connections > LIMITS.http_connections:
            longest = next(iter(self.waiting), None)
            if longest is None:
                return "full"
            longest.cut("full")
        return ""

    def crowds(self, address: str) -> bool:
        """Whether as many of this address as may be here are being told that they are too many: that takes a connection too."""
        return self.addresses[address] > 2 * LIMITS.http_connections_per_address

    def leave(self, address: str) -> None:
        self.connections -= 1
        self.addresses[address] -= 1
        if self.addresses[address] <= 0:
            del self.addresses[address]


class Http(HttpToolsProtocol):
    """Give this class to uvicorn as ``http=``."""

    door: ClassVar[Door] = Door()
    #: ``patient(method, path)``: whether the body of such a request may take as long as it likes, as long as it goes on.
    patient: Callable[[str, str], bool] = staticmethod(lambda method, path: False)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._phase = Phase.HEAD
        self._deadline = inf  # loop time
        self._timer: asyncio.TimerHandle | None = None
        self._due = inf  # when it rings
        self._unread: asyncio.TimerHandle | None = None  # the peer does not take what we write
        self._address: str | None = None  # while it is counted at the door
        self._head = 0  # bytes of a head that has not ended
        self._chunks = 0  # bytes that came for a body
        self._body = 0  # bytes that it has
        self._goes_on = 0  # from so many bytes on it has more time; 0: it has not
        self._deaf = False  # what comes from here on is not looked at
        self._asks = False  # the request, for a WebSocket

    # -- asyncio.Protocol --------------------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        # As uvicorn does, which makes two objects of Python's socket to ask them for the addresses.
        self.connections.add(self)
        self.transport = transport
        self.flow = FlowControl(transport)
        self.server = _endpoint(transport.get_extra_info("sockname"))
        self.client = _endpoint(transport.get_extra_info("peername"))
        self.scheme = "https" if transport.get_extra_info("sslcontext") else "http"
        self._address = self.client[0] if self.client else ""
        refused = self.door.enter(self._address)
        if refused == "address" and self.door.crowds(self._address):
            self.cut(refused)
        elif refused:
            text = "Too many connections" + (" from your address." if refused == "address" else ".")
            self._refuse(503, Code.UNAVAILABLE, text, refused, retry_after_s=1)
        else:
            self._expect(Phase.HEAD, LIMITS.http_head_ms)

    def connection_lost(self, exc: Exception | None) -> None:
        self._leave()
        if self._unread is not None:
            self._unread.cancel()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self._deaf:
            return
        if self._phase is Phase.IDLE:
            self._expect(Phase.HEAD, LIMITS.http_head_ms)
            self._head = 0
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            if not self._should_upgrade() or self._deaf:
                self._last()  # h2c and the like: answered as plain HTTP/1.1, once
            elif upgrade.args[0] < len(data):
                # RFC 6455, section 4.1
                self._refuse(400, Code.BAD_REQUEST, "Frames come behind our answer.", "malformed")
            else:
                self._upgrade()
        except httptools.HttpParserError:
            self._refuse(400, Code.BAD_REQUEST, "This is not HTTP/1.1 as we read it.", "malformed")
        self._count(len(data))

    def _count(self, size: int) -> None:
        """So many bytes came and are neither a whole head nor a whole body."""
        if self._deaf:
            return
        if self._phase is Phase.HEAD:
            self._head += size
            if self._head > LIMITS.http_head_bytes:
                self._too_long()
        elif self._phase is Phase.BODY:
            self._chunks += size
            if self._chunks > CHUNK_OVERHEAD * self._body + 2 * LIMITS.http_head_bytes:
                self._refuse(400, Code.BAD_REQUEST, "The chunks hold too little.", "malformed")

    def _upgrade(self) -> None:
        """Another protocol has the transport from here on; the connection stays at the door until it is counted as a socket."""
        offer = handshake.read(self.scope["method"], self.scope["http_version"], self.headers)
        if isinstance(offer, handshake.Refusal):
            self._refuse(offer.status, Code.BAD_REQUEST, offer.text, "malformed", more=offer.header)
            return
        self._expect(Phase.UPGRADE, LIMITS.http_head_ms)
        self.connections.discard(self)
        socket = self.ws_protocol_class(self.config, self.server_state, self.app_state, self.loop)  # type: ignore[call-arg, misc]
        self.transport.set_protocol(socket)
        socket.open(self.transport, self.scope, self.url, offer, self._leave)  # type: ignore[union-attr]

    def pause_writing(self) -> None:
        super().pause_writing()
        if self._unread is None:
            self._unread = self.loop.call_later(LIMITS.http_unread_ms / 1000, self.cut, "unread")

    def resume_writing(self) -> None:
        super().resume_writing()
        if self._unread is not None:
            self._unread.cancel()
            self._unread = None

    # -- the parser ----------------------------------------------------------------------------------------------------------

    def on_message_begin(self) -> None:
        super().on_message_begin()
        if self._phase is Phase.IDLE and not self._deaf:
            self._expect(Phase.HEAD, LIMITS.http_head_ms)

    def on_headers_complete(self) -> None:
        if self._deaf:
            return
        if self.cycle is not None and not self.cycle.response_complete:
            # Pipelined. The request before it is answered, then the connection ends: a client may repeat what was not answered
            # (RFC 9112, section 9.3.2), and nobody gets an answer that belongs to another request.
            self._last()
            return
        size, longest, hosts, codings = len(self.url), 0, 0, []
        for name, value in self.headers:
            length = len(name) + len(value)
            size += length + 4
            longest = max(longest, length)
            if name == b"host":
                hosts += 1
            elif name == b"transfer-encoding":
                codings.append(value.strip().lower())
        version = self.parser.get_http_version()
        if size > LIMITS.http_head_bytes or len(self.headers) > LIMITS.http_headers or longest > MAX_LINE:
            self._too_long()
        elif len(self.url) > LIMITS.http_url_bytes:
            self._refuse(414, Code.TOO_LARGE, "The address is too long.", "too_long")
        elif version not in ("1.0", "1.1"):
            self._refuse(505, Code.BAD_REQUEST, "Only HTTP/1.1 is spoken here.", "malformed")
        elif hosts > 1 or (not hosts and version == "1.1"):
            # RFC 9112, section 3.2
            self._refuse(400, Code.BAD_REQUEST, "Exactly one Host is needed.", "malformed")
        elif codings not in ([], [b"chunked"]):
            # The parser takes some that others read as no coding at all.
            self._refuse(400, Code.BAD_REQUEST, "Only chunked is understood.", "malformed")
        else:
            self._asks = self.parser.should_upgrade() and handshake.asks(self.headers)
            super().on_headers_complete()
            self._chunks = self._body = 0
            # A socket's scope has no path yet.
            patient = not self._asks and self.patient(self.scope["method"], self.scope["path"])
            self._goes_on = LIMITS.http_body_least if patient else 0
            self._expect(Phase.BODY, LIMITS.http_body_ms)

    def on_header(self, name: bytes, value: bytes) -> None:
        # Behind a body they are trailers. Taken for headers they would pass by whatever a balancer removes from the head.
        if self._phase is not Phase.BODY and not self._deaf:
            super().on_header(name, value)

    def on_body(self, body: bytes) -> None:
        if not self._deaf:
            self._body += len(body)
            if 0 < self._goes_on <= self._body:
                self._goes_on = self._body + LIMITS.http_body_least
                self._expect(Phase.BODY, LIMITS.http_body_ms)
            super().on_body(body)

    def on_message_complete(self) -> None:
        if self._deaf or (self.parser.should_upgrade() and self._should_upgrade()):
            return
        super().on_message_complete()
        if self.cycle.response_complete:
            self._idle()
        else:
            self._expect(Phase.ANSWER, 0)

    def on_response_complete(self) -> None:
        """As uvicorn's, without its timer and without its queue of pipelined requests."""
        self.server_state.total_requests += 1
        if self.transport.is_closing():
            self._expect(Phase.CLOSING, LIMITS.http_unread_ms)
            return
        self.flow.resume_reading()
        if self._phase is Phase.ANSWER:
            self._idle()
        elif self._phase is Phase.BODY and self._goes_on:
            # Answered early: many clients read that only behind their last byte, so the rest is thrown away, for a while.
            self._goes_on = 0
            self._expect(Phase.BODY, LIMITS.http_body_ms)

    def _should_upgrade(self) -> bool:
        return self._asks

    # -- phases --------------------------------------------------------------------------------------------------------------

    def _expect(self, phase: Phase, ms: int) -> None:
        """Enter a phase that lasts ``ms`` at most; 0: as long as it likes."""
        self._phase = phase
        waiting = self.door.waiting
        waiting.pop(self, None)
        if phase in _OWED and self._address is not None:
            waiting[self] = None
        # A timer is dear and a deadline is cheap: one that is due too early finds out and waits on.
        self._deadline = self.loop.time() + ms / 1000 if ms else inf
        if self._deadline < self._due:
            self._arm()

    def _arm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._due = self._deadline
        self._timer = self.loop.call_at(self._due, self._ring)

    def _ring(self) -> None:
        self._timer, self._due = None, inf
        if self._deadline > self.loop.time():
            if self._deadline < inf:
                self._arm()
        else:
            self._too_late()

    def _idle(self) -> None:
        self._expect(Phase.IDLE, LIMITS.http_idle_ms)

    def _too_late(self) -> None:
        if self._phase is Phase.IDLE or (self._phase is Phase.HEAD and not self._head):
            metrics.count("http_refused", "idle")
            self.transport.close()
            self._expect(Phase.CLOSING, LIMITS.http_unread_ms)
        elif self._phase is Phase.BODY and self._goes_on and self.flow.read_paused:
            self._expect(Phase.BODY, LIMITS.http_body_ms)  # it is we who do not read
        elif self._phase is Phase.BODY and self.cycle.response_complete:
            self.cut("slow")
        elif self._phase in (Phase.HEAD, Phase.BODY):
            self._refuse(408, Code.BAD_REQUEST, "The request did not come to its end in time.", "slow")
        else:
            self.transport.abort()

    def _leave(self) -> None:
        """The connection is gone, or is a socket."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer, self._due = None, inf
        self._deadline = inf
        if self._address is not None:
            self.door.waiting.pop(self, None)
            self.door.leave(self._address)
            self._address = None

    # -- the end -------------------------------------------------------------------------------------------------------------

    def cut(self, reason: str) -> None:
        """End the connection without a word."""
        metrics.count("http_refused", reason)
        self._deaf = True
        self.door.waiting.pop(self, None)
        self.transport.abort()

    def _last(self) -> None:
        """The request that runs is the connection's last one."""
        self._deaf = True
        if self.cycle is not None:
            self.cycle.keep_alive = False
            if self.cycle.response_complete:
                self.transport.close()
                self._expect(Phase.CLOSING, LIMITS.http_unread_ms)

    def _too_long(self) -> None:
        self._refuse(431, Code.TOO_LARGE, "The head of the request is too long.", "too_long")

    def _refuse(
        self,
        status: int,
        code: str,
        text: str,
        reason: str,
        *,
        retry_after_s: int = 0,
        more: tuple[bytes, bytes] | None = None,
    ) -> None:
        """Answer what cannot become a request, and end the connection."""
        cycle = self.cycle
        if cycle is not None and not cycle.response_complete:
            if self._phase is Phase.ANSWER:
                self._last()  # this one is about what follows
                return
            cycle.disconnected = True
            cycle.message_event.set()
            if cycle.response_started:
                self.cut(reason)
                return
        metrics.count("http_refused", reason)
        self._deaf = True
        body, headers = document(code, text, status, retry_after_s=retry_after_s)
        lines = [f"HTTP/1.1 {status} {HTTPStatus(status).phrase}\r\n".encode()]
        for name, value in (*headers, *HEADERS, (b"connection", b"close"), *([more] if more else ())):
            lines += [name, b": ", value, b"\r\n"]
        self.transport.write(b"".join([*lines, b"\r\n", body]))
        self.transport.write_eof()
        self._expect(Phase.CLOSING, int(LINGER_S * 1000))


def _endpoint(address: Any) -> tuple[str, int] | None:
    """Address and port of IPv4 and IPv6; a Unix socket has none."""
    return (str(address[0]), int(address[1])) if isinstance(address, tuple) else None
