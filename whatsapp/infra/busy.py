"""A bound on the HTTP requests that run at once: Django gives each of them a thread."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from whatsapp.infra import metrics
from whatsapp.infra.limits import LIMITS
from whatsapp.infra.problem import document
from whatsapp.wire.errors import Code

Message = dict[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Application = Callable[[Message, Receive, Send], Awaitable[None]]


class Busy:
    """ASGI around ``inner``: above ``LIMITS.http_requests`` a request is told ``unavailable`` (503, ``Retry-After``) at once.

    Health checks have as much again for themselves: a busy gateway that a balancer took for a dead one would make the next
    one busier.
    """

    def __init__(self, inner: Application) -> None:
        self._inner = inner
        self._running = 0

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        limit = LIMITS.http_requests * (2 if scope["path"].startswith("/health/") else 1)
        if self._running >= limit:
            metrics.count("http_refused", "busy")
            body, headers = document(
                Code.UNAVAILABLE, "Too many requests run here at once; try again.", 503, retry_after_s=1
            )
            await send({"type": "http.response.start", "status": 503, "headers": headers})
            await send({"type": "http.response.body", "body": body})
            return
        self._running += 1
        try:
            await self._inner(scope, receive, send)
        finally:
            self._running -= 1
