"""The write side of a connection: bounded, without a task of its own.

On the gateway it is the transport itself (``whatsapp.infra.websocket``). Under another ASGI server (``runserver``'s daphne) it is
a queue and one task, bounded in bytes.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Protocol

from whatsapp.infra import metrics
from whatsapp.infra.limits import LIMITS
from whatsapp.infra.websocket import Socket
from whatsapp.wire.errors import Close

#: Pings without an answer after which a peer is gone.
MISSED_PINGS = 2


class Outlet(Protocol):
    """``delivery.session.Outlet`` and what the connection needs besides."""

    on_resume: Callable[[], None] | None

    @property
    def paused(self) -> bool: ...

    @property
    def paused_at(self) -> float: ...

    @property
    def closed(self) -> bool: ...

    def write(self, data: bytes) -> None: ...

    def join(self, frames: Sequence[bytes]) -> object: ...

    def write_joined(self, joined: Any) -> None: ...

    def ping(self) -> bool:
        """False when the peer did not answer the last two."""

    def close(self, code: int, reason: str = "") -> None: ...


class SocketOutlet:
    """Straight to the transport."""

    __slots__ = ("_socket", "close", "join", "write", "write_joined")

    def __init__(self, socket: Socket) -> None:
        self._socket = socket
        self.write = socket.write
        self.join = socket.join
        self.write_joined = socket.write_joined
        self.close = socket.close

    @property
    def paused(self) -> bool:
        return self._socket.paused

    @property
    def paused_at(self) -> float:
        return self._socket.paused_at

    @property
    def closed(self) -> bool:
        return self._socket.close_sent or self._socket.disconnected

    @property
    def on_resume(self) -> Callable[[], None] | None:
        return self._socket.on_resume

    @on_resume.setter
    def on_resume(self, callback: Callable[[], None] | None) -> None:
        self._socket.on_resume = callback

    def ping(self) -> bool:
        if self._socket.unanswered >= MISSED_PINGS:
            return False
        self._socket.ping()
        return True


class AsgiOutlet:
    """Through ASGI ``send``, for servers other than our own."""

    def __init__(self, send: Callable[[dict[str, Any]], Awaitable[None]], *, text: bool) -> None:
        self.paused = False
        self.paused_at = 0.0
        self.on_resume: Callable[[], None] | None = None
        self.closed = False
        self._send = send
        self._text = text
        self._queue: deque[dict[str, Any]] = deque()
        self._bytes = 0
        self._task: asyncio.Task[None] | None = None

    def write(self, data: bytes) -> None:
        if self.closed:
            return
        body: dict[str, Any] = {"text": data.decode()} if self._text else {"bytes": data}
        self._bytes += len(data)
        self._push({"type": "websocket.send", **body})
        if self._bytes > LIMITS.outbound_close_bytes:
            self._queue.clear()
            self.close(Close.SLOW_CONSUMER, "slow consumer")
        elif self._bytes > LIMITS.outbound_pause_bytes and not self.paused:
            self.paused, self.paused_at = True, asyncio.get_running_loop().time()

    def join(self, frames: Sequence[bytes]) -> object:
        return frames

    def write_joined(self, joined: Sequence[bytes]) -> None:
        for data in joined:
            self.write(data)

    def ping(self) -> bool:
        return True  # the server's own business

    def close(self, code: int, reason: str = "") -> None:
        if not self.closed:
            self.closed = True
            metrics.closed(code)
            self._push({"type": "websocket.close", "code": code, "reason": reason})

    def _push(self, message: dict[str, Any]) -> None:
        self._queue.append(message)
        if self._task is None:
            self._task = asyncio.get_running_loop().create_task(self._write_all())

    async def _write_all(self) -> None:
        try:
            while self._queue:
                message = self._queue.popleft()
                await self._send(message)
                self._bytes -= len(message.get("text") or message.get("bytes") or b"")
                if self.paused and self._bytes < LIMITS.outbound_pause_bytes // 4:
                    self.paused = False
                    if self.on_resume is not None:
                        self.on_resume()
        except Exception:
            self.closed = True  # the peer is gone: the consumer hears it from ``receive``
            self._queue.clear()
        finally:
            self._task = None
