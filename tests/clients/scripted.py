"""A server that does what a test tells it, in real frames over real sockets.

It exists to provoke what a good server does rarely: close codes, lost answers, holes. Everything else is tested against the
real server.
"""

from __future__ import annotations

import asyncio
import http
import json
from collections.abc import Awaitable, Callable
from typing import Any

from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request, Response

Frame = dict[str, Any]


class Peer:
    """The server's end of one socket, after `auth` and `ready`."""

    def __init__(self, socket: ServerConnection, auth: Frame) -> None:
        self.socket = socket
        self.auth = auth
        self.received: list[Frame] = []

    async def send(self, **frame: Any) -> None:
        await self.socket.send(json.dumps(frame))

    async def receive(self, kind: str) -> Frame:
        """The next frame of this type; others are kept in ``received`` only."""
        async with asyncio.timeout(5):
            while True:
                frame = json.loads(await self.socket.recv())
                self.received.append(frame)
                if frame["type"] == kind:
                    return frame

    async def receive_any(self) -> Frame:
        """The next frame."""
        async with asyncio.timeout(5):
            frame = json.loads(await self.socket.recv())
        self.received.append(frame)
        return frame

    async def synced(self) -> Frame:
        """Answer the first sync with nothing; returns it."""
        sync = await self.receive("sync")
        await self.send(type="sync_complete", epoch="e", serverTime=1, ref=sync.get("ref", ""))
        return sync

    async def tick(self, sent: Frame, seq: int, **fields: Any) -> None:
        names = ("messageId", "conversationId", "ref")
        await self.send(
            type="status_update",
            seq=seq,
            timestamp=1,
            **{n: sent[n] for n in names},
            **({"status": "sent"} | fields),
        )

    async def refuse(self, sent: Frame, code: str, **fields: Any) -> None:
        await self.send(
            type="error", code=code, message="", ref=sent["ref"], messageId=sent["messageId"], **fields
        )

    async def close(self, code: int, reason: str = "") -> None:
        await self.socket.close(code, reason)

    def cut(self) -> None:
        """End the connection without a word: 1006."""
        self.socket.transport.abort()

    async def until_closed(self) -> None:
        try:
            while True:
                self.received.append(json.loads(await self.socket.recv()))
        except ConnectionClosed:
            pass


Script = Callable[[Peer], Awaitable[None]]


def before_ready(script: Script) -> Script:
    script.before_ready = True  # type: ignore[attr-defined]
    return script


class ScriptedServer:
    """``scripts``: one for each connection in turn; the last serves all later ones. One with ``before_ready``
    begins before `ready` is sent."""

    def __init__(self, *scripts: Script, refuse: list[int] | None = None) -> None:
        self.scripts = scripts
        self.connections = 0
        self.subprotocols: list[str | None] = []
        self.failures: list[BaseException] = []
        self.refreshed: list[Frame] = []
        self.refresh_status = 200
        self._refuse = refuse or []
        self._server: Server | None = None

    @property
    def url(self) -> str:
        assert self._server is not None
        return f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    async def __aenter__(self) -> ScriptedServer:
        self._server = await serve(
            self._serve, "127.0.0.1", 0, subprotocols=["whatsapp.v3.2.json"], process_request=self._upgrade
        )
        return self

    async def __aexit__(self, *error: object) -> None:
        assert self._server is not None
        self._server.close()
        await self._server.wait_closed()
        for failure in self.failures:
            raise failure

    async def _upgrade(self, socket: ServerConnection, request: Request) -> Response | None:
        if self._refuse:
            return socket.respond(http.HTTPStatus(self._refuse.pop(0)), "")
        return None

    async def _serve(self, socket: ServerConnection) -> None:
        script = self.scripts[min(self.connections, len(self.scripts) - 1)]
        self.connections += 1
        self.subprotocols.append(socket.subprotocol)
        try:
            auth = json.loads(await socket.recv())
            peer = Peer(socket, auth)
            if not getattr(script, "before_ready", False):
                await peer.send(
                type="ready", userId="ann", deviceId="d", protocol="3.2", serverTime=1, epoch="e", syncRequired=False,
                pending=0, pingMs=30_000, limits={},
            )  # fmt: skip
            await script(peer)
        except ConnectionClosed:
            pass
        except BaseException as error:
            self.failures.append(error)
            raise
