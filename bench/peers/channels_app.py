"""What many begin with: a consumer of Channels, a group for each user over channels_redis. It checks nobody and stores nothing.

Served by uvicorn (:mod:`bench.peers.channels`); ``PEER_VALKEY`` is the URL of its Valkey.
"""

from __future__ import annotations

import os
from typing import Any

from django.conf import settings

settings.configure(
    SECRET_KEY="a bench has none",  # noqa: S106
    CHANNEL_LAYERS={
        "default": {
            "BACKEND": "channels_redis.core.RedisChannelLayer",
            "CONFIG": {
                # Without a time limit on reads: with redis-py 8's own one of 5 s, quiet consumers die (channels_redis#422).
                "hosts": [{"address": os.environ["PEER_VALKEY"], "socket_timeout": None}],
                # One list holds what a whole process has to deliver; the default of 100 would lose messages under this load.
                "capacity": 100_000,
            },
        }
    },
)

from channels.generic.websocket import AsyncJsonWebsocketConsumer  # noqa: E402  settings come first
from channels.routing import ProtocolTypeRouter, URLRouter  # noqa: E402
from django.urls import path  # noqa: E402


class Chat(AsyncJsonWebsocketConsumer):
    """``message``, ``delivered`` and ``read`` are passed to whom they name; a message is answered with ``sent``."""

    async def connect(self) -> None:
        self.user = self.scope["url_route"]["kwargs"]["user"]
        await self.channel_layer.group_add(f"user.{self.user}", self.channel_name)
        await self.accept(subprotocol="chat")

    async def disconnect(self, code: int) -> None:
        await self.channel_layer.group_discard(f"user.{self.user}", self.channel_name)

    async def receive_json(self, content: dict[str, Any], **kwargs: Any) -> None:
        to = content.pop("to")
        await self.channel_layer.group_send(
            f"user.{to}", {"type": "chat.frame", "frame": {**content, "from": self.user}}
        )
        if content["type"] == "message":
            await self.send_json({"type": "sent", "id": content["id"]})

    async def chat_frame(self, event: dict[str, Any]) -> None:
        await self.send_json(event["frame"])


application = ProtocolTypeRouter({"websocket": URLRouter([path("ws/<user>", Chat.as_asgi())])})
