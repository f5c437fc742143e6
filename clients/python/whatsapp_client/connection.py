"""One socket: handshake, authentication, frames in and out. It knows nothing of reconnecting."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from typing import Any

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus, WebSocketException
from websockets.typing import Subprotocol

from .codecs import JSON, Codec, Frame, subprotocol
from .duties import Timing
from .errors import Closed
from .rest import is_loopback

#: A sync batch may hold 512 KiB of content, a third more in base64, plus its fields.
MAX_FRAME = 4 * 1024 * 1024


class Connection:
    """A socket that is ready. Everything raises :class:`Closed` once the socket has ended."""

    def __init__(self, socket: ClientConnection, codec: Codec, ready: Frame) -> None:
        self._socket = socket
        self._codec = codec
        self.ready = ready
        self.heard_at = time.monotonic()  # when the last frame came
        self._banned: Any = None  # details of the error before the close 4403

    @classmethod
    async def open(
        cls,
        url: str,
        token: str,
        *,
        codec: Codec = JSON,
        timing: Timing | None = None,
        resume: Frame | None = None,
        timeout: float = 10.0,
    ) -> Connection:
        """Connect, authenticate and wait for `ready`.

        ``url``: ``ws://…/ws``. ``resume``: ``{epoch, have}`` of the `auth` frame. Raises :class:`Closed`,
        with code 1006 when there was no WebSocket to close.
        """
        timing = timing or Timing()
        try:
            async with asyncio.timeout(timeout):
                socket = await connect(
                    url,
                    subprotocols=[Subprotocol(subprotocol(codec))],
                    compression=None,
                    proxy=None if is_loopback(url) else True,
                    open_timeout=timeout,
                    ping_interval=timing.ping_every,
                    ping_timeout=timing.ping_timeout,
                    close_timeout=2,
                    max_size=MAX_FRAME,
                )
        except InvalidStatus as error:
            raise _refused(error) from None
        except (OSError, TimeoutError, WebSocketException) as error:
            raise Closed(1006, str(error) or type(error).__name__) from None
        connection = cls(socket, codec, {})
        try:
            async with asyncio.timeout(timeout):
                await connection.send(
                    {"type": "auth", "token": token, **({"resume": resume} if resume else {})}
                )
                connection.ready = await connection._until_ready()
        except TimeoutError:
            await connection.close()
            raise Closed(4408, "no ready in time") from None
        except BaseException:
            await connection.close()
            raise
        return connection

    async def _until_ready(self) -> Frame:
        """`ready`, or :class:`Closed` with what the server said before it closed."""
        said, after = "", None
        while True:
            try:
                frame = await self._receive()
            except Closed as closed:
                slotted = after is not None
                reason = closed.reason or said
                raise Closed(
                    closed.code, reason, retry_after=after, slotted=slotted, details=closed.details
                ) from None
            match frame.get("type"):
                case "ready":
                    return frame
                case "error":
                    said = str(frame.get("message") or frame.get("code"))
                case "reconnect":
                    after = int(frame.get("afterMs") or 0) / 1000

    async def send(self, frame: Frame) -> None:
        """Send one frame; waits while the server does not read."""
        try:
            await self._socket.send(self._codec.encode(frame))
        except ConnectionClosed as error:
            raise _closed(error) from None

    async def frames(self) -> AsyncIterator[Frame]:
        """Frames as they come, without end. What cannot be decoded is a broken server: raises
        :class:`Closed` 4400."""
        while True:
            yield await self._receive()

    async def _receive(self) -> Frame:
        try:
            data = await self._socket.recv()
        except ConnectionClosed as error:
            closed = _closed(error)
            closed.details = self._banned if closed.code == 4403 else None
            raise closed from None
        self.heard_at = time.monotonic()
        try:
            frame = self._codec.decode(data)
        except ValueError as error:
            raise Closed(4400, f"the server sent no frame: {error}") from None
        if frame.get("type") == "error" and frame.get("code") == "banned":
            self._banned = frame.get("details")
        return frame

    async def close(self) -> None:
        """Close with 1000; never raises."""
        try:
            await self._socket.close()
        except (OSError, WebSocketException):
            pass

    def abort(self) -> None:
        """End the connection at once, without a word: the other side does not hear us anyway."""
        self._socket.transport.abort()

    @property
    def local_address(self) -> Any:
        """(host, port) of this side of the socket."""
        return self._socket.local_address


def _closed(error: ConnectionClosed) -> Closed:
    return Closed(error.rcvd.code, error.rcvd.reason) if error.rcvd else Closed(1006, "connection lost")


def _refused(error: InvalidStatus) -> Closed:
    """An HTTP answer instead of the upgrade."""
    status = error.response.status_code
    if status == 426:
        return Closed(4426, "upgrade required")
    header = error.response.headers.get("Retry-After", "")
    retry_after = float(header) if header.isdigit() else None
    return Closed(1013 if status in (429, 503) else 1006, f"HTTP {status}", retry_after=retry_after)
