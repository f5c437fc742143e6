"""The side of a WebSocket that an ASGI server has: opening it, and an application that sends and receives by ``await``.

Sockets of the message path need it until they are attached (``whatsapp/infra/websocket.py``). What only the others need is made
when it is first asked for, and then served by uvicorn's protocol.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from functools import cached_property
from typing import Any
from urllib.parse import unquote

from uvicorn.config import Config
from uvicorn.protocols.utils import ClientDisconnected
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from uvicorn.server import ServerState
from websockets.http11 import Response
from websockets.protocol import CONNECTING, OPEN, Protocol
from websockets.server import ServerProtocol
from websockets.typing import StatusLike

from whatsapp.infra import handshake
from whatsapp.infra.headers import HEADERS

#: The connection has ended, or we have ended it: with this close code (RFC 6455, section 7.4).
OnEnd = Callable[[int], None]


class _Nobody:
    """Stands where uvicorn has a queue and an event for an application that waits, once there is none."""

    def put_nowait(self, event: object) -> None: ...

    def set(self) -> None: ...

    def clear(self) -> None: ...


_NOBODY: Any = _Nobody()


class _Library(ServerProtocol):
    """What comes is frames from the first byte on: the opening handshake is done before. Its refusals have the headers of
    every other answer."""

    parse = Protocol.parse

    def reject(self, status: StatusLike, text: str) -> Response:
        response = super().reject(status, text)
        for name, value in HEADERS:
            response.headers[name.decode()] = value.decode()
        return response


class AsgiSocket(WebSocketsSansIOProtocol):
    """One connection, from a handshake that was read to an application that has accepted it."""

    logger = logging.getLogger("uvicorn.error")
    # Of uvicorn's protocol. Most connections never change them: they cost nothing here.
    transport: asyncio.Transport = None  # type: ignore[assignment]
    handshake_complete = False
    close_sent = False
    disconnected = False
    close_timer: asyncio.TimerHandle | None = None  # type: ignore[assignment]
    close_timeout = 10.0
    initial_response = None
    read_paused = False
    ping_timer = pong_timer = pending_ping_payload = None

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        # Not uvicorn's: a queue, an event and the library's state machine would be made for each connection, and a gateway's
        # sockets use none of them.
        self.config = config
        self.app = config.loaded_app
        self.loop = _loop or asyncio.get_event_loop()
        self.connections = server_state.connections
        self.tasks = server_state.tasks
        self.default_headers = server_state.default_headers
        self._key = b""  # of the handshake, until it is answered
        self._told = False  # the application knows that somebody connects
        self._on_end: OnEnd | None = None  # set: the socket was given away
        self.leave_door: Callable[[], None] | None = None  # until it is counted among the sockets, or gone

    # for the server

    def open(
        self,
        transport: asyncio.Transport,
        http_scope: Any,
        target: bytes,
        offer: handshake.Offer,
        leave_door: Callable[[], None],
    ) -> None:
        """Take a connection over whose request asks for a socket, and start the application. ``http_scope``: of that request,
        as the parser's protocol made it; ``target``: the request's."""
        self.transport = transport
        self.leave_door = leave_door
        self._key = offer.key
        self.connections.add(self)
        path, _, query = target.partition(b"?")
        root = http_scope["root_path"]
        self.scope = {
            "type": "websocket",
            "asgi": {"version": http_scope["asgi"]["version"], "spec_version": "2.4"},
            "http_version": "1.1",
            "scheme": "wss" if http_scope["scheme"] == "https" else "ws",
            "server": http_scope["server"],
            "client": http_scope["client"],
            "root_path": root,
            "path": root + unquote(path.decode("ascii")),
            "raw_path": root.encode("ascii") + path,
            "query_string": query,
            "headers": [(name, value.strip(b" \t")) for name, value in http_scope["headers"]],
            "subprotocols": offer.subprotocols,
            "state": http_scope["state"],
            "extensions": {"websocket.http.response": {}},
            "whatsapp.socket": self,  # type: ignore[typeddict-unknown-key]
        }
        task = self.loop.create_task(self.run_asgi())
        task.add_done_callback(self.tasks.discard)
        self.tasks.add(task)

    # for consumers that do not attach: made when it is first asked for

    @cached_property
    def conn(self) -> ServerProtocol:  # type: ignore[override]
        self.frames: list[bytes] = []
        state = OPEN if self.handshake_complete else CONNECTING
        return _Library(state=state, max_size=self.config.ws_max_size, logger=self.logger)

    @cached_property
    def queue(self) -> Any:  # type: ignore[override]
        return asyncio.Queue()

    @cached_property
    def writable(self) -> Any:  # type: ignore[override]
        event = asyncio.Event()
        event.set()
        return event

    async def run_asgi(self) -> None:
        """The application, to its end. The connection ends with it unless it gave its socket away."""
        try:
            await self.app(self.scope, self.receive, self.send)  # type: ignore[arg-type]
        except ClientDisconnected:
            pass
        except BaseException:
            self.logger.exception("Exception in ASGI application")
            self.send_500_response()
        else:
            if not self.handshake_complete:
                self.logger.error("ASGI callable returned without completing handshake.")
                self.send_500_response()
            elif self._on_end is not None:
                self._let_go()
                return
        if self.close_timer is None:
            self.transport.close()

    def _let_go(self) -> None:
        """Nobody waits any more, and nobody asks what the handshake was."""
        self.queue = self.writable = _NOBODY
        self.conn = None  # type: ignore[assignment]
        self.scope.clear()  # type: ignore[attr-defined]

    async def receive(self) -> Any:
        if not self._told:
            self._told = True
            return {"type": "websocket.connect"}
        return await super().receive()

    async def send(self, message: Any) -> None:
        """What consumers send that do not :meth:`attach`, and everybody's accept."""
        if message["type"] != "websocket.accept" or self.handshake_complete or self.initial_response:
            await super().send(message)
            return
        headers = [*self.default_headers, *message.get("headers", ())]
        answer = handshake.answer(self._key, message.get("subprotocol"), headers)
        if not self.transport.is_closing():
            self._key = b""
            self.handshake_complete = True
            if "conn" in self.__dict__:  # the client did not wait for the answer
                self.conn.state = OPEN
            self.transport.write(answer)
        self.loop.call_soon(self._accepted)

    def _accepted(self) -> None:
        if not self.close_sent:  # who is accepted only to be told a close code is no socket to count
            self._leave_door()

    def _leave_door(self) -> None:
        leave, self.leave_door = self.leave_door, None
        if leave is not None:
            leave()
