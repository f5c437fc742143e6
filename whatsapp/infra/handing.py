"""HTTP of connections that change processes (:mod:`whatsapp.infra.handover`): where they leave, and where they arrive."""

from __future__ import annotations

import asyncio
import socket
from pathlib import Path
from typing import Any, ClassVar, Final

from uvicorn.server import Server

from whatsapp.infra import faults
from whatsapp.infra.handover import Giver, Taker
from whatsapp.infra.http import Http, Phase

#: How a request for a file begins. Whatever comes in smaller pieces, or with other words, is served where it came.
_BEGINNINGS: Final = tuple(
    method + b" /media/" for method in (b"POST", b"PATCH", b"HEAD", b"GET", b"OPTIONS", b"DELETE", b"PUT")
)


class Giving(Http):
    """HTTP of the port that gateways share. Set :attr:`giver` before the first connection.

    A balancer's connections stay: they carry requests of many clients, sockets among them; it can tell addresses apart itself.
    """

    giver: ClassVar[Giver]

    def data_received(self, data: bytes) -> None:
        # Each socket that opens comes by here: a look at its first bytes, and nothing else.
        if data.startswith(_BEGINNINGS) and self._begins() and self._given(data):
            return
        super().data_received(data)

    def _begins(self) -> bool:
        """Whether nothing but what comes now belongs to this request, and nothing is owed for the one before."""
        if self._deaf or not (self._phase is Phase.IDLE or (self._phase is Phase.HEAD and not self._head)):
            return False
        return not self.transport.get_write_buffer_size()

    def _given(self, data: bytes) -> bool:
        if faults.off("hand_over") or (self.client and self.door.is_proxy(self.client[0])):
            return False
        connection = self.transport.get_extra_info("socket")
        if connection is None or not self.giver.give(connection.fileno(), data):
            return False
        self._deaf = True
        self.door.waiting.pop(self, None)
        self.transport.abort()  # closes our descriptor; the connection lives on in the other one
        return True


class Taken(Http):
    """HTTP of a connection that a gateway has read the beginning of a request from."""

    def __init__(self, read: bytes, **options: Any) -> None:
        super().__init__(**options)
        self._read = read

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self.loop.call_soon(self._begin)

    def data_received(self, data: bytes) -> None:
        if self._read:
            data, self._read = self._read + data, b""
        super().data_received(data)

    def _begin(self) -> None:
        if self._read and not self.transport.is_closing():
            self.data_received(b"")


def taking(server: Server, folder: Path, name: str) -> Taker:
    """What gives ``server`` (which has started) the connections of gateways."""
    loop = asyncio.get_running_loop()
    beginning: set[asyncio.Task[None]] = set()

    async def begin(connection: socket.socket, read: bytes) -> None:
        try:
            await loop.connect_accepted_socket(
                lambda: Taken(
                    read,
                    config=server.config,
                    server_state=server.server_state,
                    app_state=server.lifespan.state,
                ),
                connection,
            )
        except OSError:
            connection.close()  # its client has gone

    def take(connection: socket.socket, read: bytes) -> None:
        task = loop.create_task(begin(connection, read))
        beginning.add(task)
        task.add_done_callback(beginning.discard)

    return Taker(folder, name, take)
