"""Which pages may open a socket. The same-origin policy of browsers does not hold for WebSockets: the server has to look."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from typing import Any
from urllib.parse import urlsplit

from whatsapp.infra.headers import HEADERS
from whatsapp.infra.problem import document
from whatsapp.wire.errors import Code

Message = dict[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]


_WHY = {
    403: (Code.FORBIDDEN, "Pages of this origin may not open sockets here."),
    404: (Code.NOT_FOUND, "There is nothing here, or nothing that you may see."),
    # RFC 9110, section 15.5.20: the same request may be made over another connection.
    421: (Code.UNAVAILABLE, "No sockets are opened over this connection; open another one."),
}


def _values(scope: Message, wanted: bytes) -> list[bytes]:
    return [value for name, value in scope["headers"] if name == wanted]


class Origins:
    """An allow-list. Clients that are no browsers send no ``Origin`` and are not asked for one; their token is what counts."""

    def __init__(self, allowed: Iterable[str]) -> None:
        known = frozenset(allowed)
        self._any = "*" in known
        self._allowed = frozenset(origin.encode("latin-1") for origin in known)

    def allow(self, scope: Message) -> bool:
        given = _values(scope, b"origin")
        return self._any or not given or (len(given) == 1 and given[0] in self._allowed)


def same_origin(scope: Message) -> bool:
    """For sockets that a cookie opens (the admin's): the page comes from the very host that it talks to, and says so."""
    origins, hosts = _values(scope, b"origin"), _values(scope, b"host")
    if len(origins) != 1 or len(hosts) != 1:
        return False
    try:
        origin = urlsplit(origins[0].decode("ascii"))
        return (
            origin.scheme in ("http", "https") and origin.netloc.lower() == hosts[0].decode("ascii").lower()
        )
    except ValueError:
        return False


async def refuse(scope: Message, receive: Receive, send: Send, status: int) -> None:
    """Answer an upgrade with a problem document, or, where the server cannot, close it before it is accepted (HTTP 403)."""
    if (await receive())["type"] != "websocket.connect":
        return
    if "websocket.http.response" not in (scope.get("extensions") or {}):
        await send({"type": "websocket.close", "code": 1000})
        return
    code, text = _WHY[status]
    body, headers = document(code, text, status)
    await send(
        {
            "type": "websocket.http.response.start",
            "status": status,
            "headers": [*headers, *HEADERS, (b"connection", b"close")],
        }
    )
    await send({"type": "websocket.http.response.body", "body": body})
