"""The Channels consumer of ``/ws``: negotiates, accepts and hands the socket to a :class:`chats.connection.Connection`.

It does not pass through ``AsyncConsumer.dispatch``: that costs a task switch and a queue per frame, five times the whole
gateway work of a message (``docs/subsystems/engine.md``). On the gateway's own server frames do not come through ASGI at all.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from channels.consumer import AsyncConsumer

from accounts.rest.address import scope_address
from chats.connection import Connection
from chats.gateway import gateway
from chats.handlers import HANDLERS
from chats.outbound import AsgiOutlet, SocketOutlet
from whatsapp.wire.errors import Close
from whatsapp.wire.versions import HEADER, UpgradeRequired, negotiate

Message = dict[str, Any]
_VERSION_HEADER = HEADER.lower().encode()
_BEARER = b"bearer "


class ChatConsumer(AsyncConsumer):
    async def __call__(
        self,
        scope: Message,
        receive: Callable[[], Awaitable[Message]],
        send: Callable[[Message], Awaitable[None]],
    ) -> None:
        self.scope = scope
        here = await gateway()
        if (await receive())["type"] != "websocket.connect":
            return
        headers = dict(scope["headers"])
        version = headers.get(_VERSION_HEADER)
        try:
            spoken = negotiate(scope["subprotocols"], version.decode("latin-1") if version else None)
        except UpgradeRequired as error:
            # Accepted first, so that a browser sees the code.
            await send({"type": "websocket.accept", "subprotocol": error.subprotocol})
            await send(
                {"type": "websocket.close", "code": Close.UPGRADE_REQUIRED, "reason": "upgrade_required"}
            )
            return
        echo = [(_VERSION_HEADER, spoken.version.encode())] if version else []
        await send({"type": "websocket.accept", "subprotocol": spoken.subprotocol, "headers": echo})
        token = _bearer(headers.get(b"authorization"))
        socket = scope.get("whatsapp.socket")
        if socket is not None:
            # It goes on without this task.
            connection = Connection(here, SocketOutlet(socket), spoken, scope_address(scope), HANDLERS)
            socket.attach(
                connection.on_frame,
                text=spoken.codec.text,
                on_control=connection.on_control,
                on_end=connection.ended,
            )
            connection.opened(token)
            return
        connection = Connection(
            here, AsgiOutlet(send, text=spoken.codec.text), spoken, scope_address(scope), HANDLERS
        )
        said = 1006
        try:
            connection.opened(token)
            while (message := await receive())["type"] != "websocket.disconnect":
                text = message.get("text")
                if text is not None:
                    connection.on_frame(text.encode(), True)
                else:
                    connection.on_frame(message.get("bytes") or b"", False)
            said = message.get("code", said)
        finally:
            connection.ended(said)


def _bearer(header: bytes | None) -> str | None:
    if header is None or header[:7].lower() != _BEARER:
        return None
    return header[7:].decode("latin-1").strip()
