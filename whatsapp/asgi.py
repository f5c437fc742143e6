"""The ASGI application: HTTP to Django, ``/ws`` to the chat consumer, every other socket refused."""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable
from typing import Any

from django.core.asgi import get_asgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "whatsapp.settings")
django_application = get_asgi_application()  # sets Django up: the imports below need its models

from channels.routing import ProtocolTypeRouter  # noqa: E402
from django.conf import settings  # noqa: E402

import whatsapp.celery  # noqa: E402, F401  (tasks are enqueued with this application's broker, not the default one)
from accounts.rest.body_limit import BodyLimit  # noqa: E402
from chats.consumer import ChatConsumer  # noqa: E402
from whatsapp.infra.headers import with_headers  # noqa: E402

Message = dict[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

_chat = ChatConsumer.as_asgi()
_any_origin = "*" in settings.WEB_ORIGINS
_origins = frozenset(origin.encode("latin-1") for origin in settings.WEB_ORIGINS)


def _origin_allowed(scope: Message) -> bool:
    """Browsers name the page that opens a socket; other clients send no ``Origin`` and are not asked for one."""
    return all(value in _origins for name, value in scope["headers"] if name == b"origin")


async def _refuse(receive: Receive, send: Send) -> None:
    """Close before accepting: the client sees HTTP 403 (ASGI specification, "Close - send event")."""
    message = await receive()
    if message["type"] == "websocket.connect":
        await send({"type": "websocket.close", "code": 1000})


async def websocket(scope: Message, receive: Receive, send: Send) -> None:
    if scope["path"] == "/ws" and (_any_origin or _origin_allowed(scope)):
        await _chat(scope, receive, send)
    else:
        await _refuse(receive, send)


application = ProtocolTypeRouter(
    {
        "http": with_headers(BodyLimit(django_application, settings.DATA_UPLOAD_MAX_MEMORY_SIZE)),
        "websocket": websocket,
    }
)
