"""A bound on the HTTP requests that run at once: Django gives each of them a thread."""

from __future__ import annotations

from collections import Counter
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
    """ASGI around ``inner``: above ``LIMITS.http_requests`` a request is told ``unavailable`` (503, ``Retry-After``) at once;
    above ``LIMITS.http_requests_per_address`` ``rate_limited`` (429), so that nobody alone makes everybody wait.

    ``address_of`` tells where a request comes from, behind balancers too. Health checks have as much again for themselves: a
    busy gateway that a balancer took for a dead one would make the next one busier.
    """

    def __init__(self, inner: Application, address_of: Callable[[Message], str]) -> None:
        self._inner = inner
        self._address_of = address_of
        self._running = 0
        self._by_address: Counter[str] = Counter()

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        address = self._address_of(scope)
        factor = 2 if scope["path"].startswith("/health/") else 1
        if self._running >= factor * LIMITS.http_requests:
            await self._refuse(send, 503, Code.UNAVAILABLE, "Too many requests run here at once; try again.")
            return
        if self._by_address[address] >= factor * LIMITS.http_requests_per_address:
            await self._refuse(
                send, 429, Code.RATE_LIMITED, "Too many requests of yours run at once; try again."
            )
            return
        self._running += 1
        self._by_address[address] += 1
        try:
            await self._inner(scope, receive, send)
        finally:
            self._running -= 1
            self._by_address[address] -= 1
            if not self._by_address[address]:
                del self._by_address[address]

    async def _refuse(self, send: Send, status: int, code: str, text: str) -> None:
        metrics.count("http_refused", "busy")
        body, headers = document(code, text, status, retry_after_s=1)
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": body})
