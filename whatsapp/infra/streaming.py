"""Django over ASGI, with bodies that a view reads as they come.

Django's own handler stores a whole body, on disk if need be, before it makes a request of it: a video of 2 GB would wait there.
For addresses that say so, :class:`StreamingHandler` gives the view the body itself: its ``read`` waits for the client, in the
view's thread, and what is not read is not received. What a view leaves unread the server throws away (``http.py``).
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, Final

from django.core.handlers.asgi import ASGIHandler
from django.http import HttpRequest

Message = dict[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

#: Bytes that are collected before the thread is woken: a hop for each piece of a network would cost more than the piece.
_AT_ONCE: Final = 262_144


class Cut(Exception):
    """The client was gone before the end of its body."""


class Body:
    """The body of one request; file-like, for the thread of the view. ``received``: bytes read so far."""

    def __init__(self, receive: Receive) -> None:
        self._receive = receive
        self._loop = asyncio.get_running_loop()
        self._kept = bytearray()
        self._ended = False
        self._cut = False
        self.received = 0

    @property
    def ended(self) -> bool:
        """Whether all of it was read."""
        return self._ended and not self._kept

    def read(self, size: int = -1) -> bytes:
        """Up to ``size`` bytes (-1: what comes next), b"" at the end. Blocks. Raises :class:`Cut` behind the last byte that
        came."""
        if not self._kept and not self._ended:
            if not self._cut:
                self._cut = asyncio.run_coroutine_threadsafe(self._collect(), self._loop).result()
            if self._cut and not self._kept:
                raise Cut
        if size < 0 or size >= len(self._kept):
            data = bytes(self._kept)
            self._kept.clear()
        else:
            with memoryview(self._kept) as view:
                data = bytes(view[:size])
            del self._kept[:size]
        self.received += len(data)
        return data

    def close(self) -> None:
        self._kept.clear()

    async def _collect(self) -> bool:
        """Until there is enough, or the body ends, or (True) the client is gone."""
        while len(self._kept) < _AT_ONCE and not self._ended:
            message = await self._receive()
            if message["type"] == "http.disconnect":
                return True
            self._kept += message.get("body", b"")
            self._ended = not message.get("more_body", False)
        return False


class _Streamed:
    """``receive`` of a request whose body is read by its view."""

    def __init__(self, receive: Receive) -> None:
        self.body = Body(receive)


class StreamingHandler(ASGIHandler):
    """``streams(method, path)``: whether the view of that address reads the body itself."""

    def __init__(self, streams: Callable[[str, str], bool]) -> None:
        super().__init__()
        self._streams = streams

    async def handle(self, scope: Message, receive: Any, send: Send) -> None:
        if self._streams(scope["method"], scope["path"]):
            receive = _Streamed(receive)
        await super().handle(scope, receive, send)

    async def read_body(self, receive: Any) -> Any:
        return receive.body if isinstance(receive, _Streamed) else await super().read_body(receive)

    async def listen_for_disconnect(self, receive: Any) -> None:
        if isinstance(receive, _Streamed):
            # Its view hears of it, and has something to finish then.
            await asyncio.get_running_loop().create_future()
        await super().listen_for_disconnect(receive)


def streamed(request: HttpRequest) -> Body | None:
    """The body of a request whose view reads it itself, None of any other."""
    body = getattr(request, "_stream", None)
    return body if isinstance(body, Body) else None
