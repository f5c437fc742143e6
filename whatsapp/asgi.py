"""The ASGI application: HTTP to Django, ``/ws`` to the chat consumer, every other socket refused."""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable
from typing import Any

import django

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "whatsapp.settings")
django.setup(set_prefix=False)  # the imports below need its models

from channels.routing import ProtocolTypeRouter  # noqa: E402
from django.conf import settings  # noqa: E402

import whatsapp.celery  # noqa: E402, F401  (tasks are enqueued with this application's broker, not the default one)
from accounts.rest.address import scope_address  # noqa: E402
from accounts.rest.body_limit import BodyLimit  # noqa: E402
from chats.consumer import ChatConsumer  # noqa: E402
from media.uploads.addresses import streams  # noqa: E402
from whatsapp.infra.busy import Busy  # noqa: E402
from whatsapp.infra.headers import with_headers  # noqa: E402
from whatsapp.infra.origins import Origins, refuse  # noqa: E402
from whatsapp.infra.streaming import StreamingHandler  # noqa: E402
from whatsapp.staff.online.consumer import OnlineConsumer  # noqa: E402

Message = dict[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

django_application = StreamingHandler(streams)
_chat = ChatConsumer.as_asgi()
_online = OnlineConsumer.as_asgi()  # asks for the origin itself: its cookie makes the browser a party
_origins = Origins(settings.WEB_ORIGINS)


async def websocket(scope: Message, receive: Receive, send: Send) -> None:
    if scope["path"] == "/admin/online/ws":
        await _online(scope, receive, send)
    elif scope["path"] != "/ws":
        await refuse(scope, receive, send, 404)
    elif not _origins.allow(scope):
        await refuse(scope, receive, send, 403)
    else:
        await _chat(scope, receive, send)


async def no_websocket(scope: Message, receive: Receive, send: Send) -> None:
    await refuse(scope, receive, send, 421)


def build(*, sockets: bool = True) -> ProtocolTypeRouter:
    """An application for one port. Each counts its running requests for itself, so that whoever floods the public port does not
    turn away the balancer's checks and the operators on the private one. ``sockets``: whether it takes WebSockets."""
    return ProtocolTypeRouter(
        {
            "http": with_headers(
                Busy(
                    BodyLimit(django_application, settings.DATA_UPLOAD_MAX_MEMORY_SIZE, streams),
                    scope_address,
                )
            ),
            "websocket": websocket if sockets else no_websocket,
        }
    )


application = build()
