"""A bound on request bodies, before Django: its ASGI handler stores a body of any size before a view can refuse it."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from typing import Any

from accounts.rest.problems import CONTENT_TYPE, document
from whatsapp.wire.errors import Code

Message = dict[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Application = Callable[[Message, Receive, Send], Awaitable[None]]


class BodyLimit:
    """ASGI application around ``inner``: a body above ``limit`` bytes is answered 413 ``too_large``.

    A ``Content-Length`` is believed before anything is read; a chunked body is counted, and Django is told that the client
    has gone. ``unless(method, path)``: addresses that bound their bodies themselves, while they read them.
    """

    def __init__(self, inner: Application, limit: int, unless: Callable[[str, str], bool]) -> None:
        self._inner = inner
        self._limit = limit
        self._unless = unless

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        if self._unless(scope["method"], scope["path"]):
            await self._inner(scope, receive, send)
            return
        if self._declared(scope) > self._limit:
            await self._refuse(send)
            return
        received, refused = 0, False

        async def counted() -> Message:
            nonlocal received, refused
            if refused:
                return {"type": "http.disconnect"}
            message = await receive()
            received += len(message.get("body", b""))
            if received > self._limit:
                refused = True
                await self._refuse(send)
                return {"type": "http.disconnect"}
            return message

        async def unless_refused(message: Message) -> None:
            if not refused:
                await send(message)

        await self._inner(scope, counted, unless_refused)

    @staticmethod
    def _declared(scope: Message) -> int:
        for name, value in scope["headers"]:
            if name == b"content-length" and value.isdigit():
                return int(value)
        return 0

    @staticmethod
    async def _refuse(send: Send) -> None:
        body, status, headers = document(Code.TOO_LARGE, "The body is too large.")
        content = json.dumps(body).encode()
        shown = {
            **headers,
            "Content-Type": CONTENT_TYPE,
            "Content-Length": str(len(content)),
            "Connection": "close",
        }
        await send(
            {
                "type": "http.response.start",
                "status": status,
                "headers": [(name.lower().encode(), value.encode()) for name, value in shown.items()],
            }
        )
        await send({"type": "http.response.body", "body": content})
