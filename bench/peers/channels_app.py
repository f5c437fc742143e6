"""What many begin with: a consumer of Channels, a group for each user over channels_redis; in a room a group for all. It checks
nobody and stores nothing.

Served by uvicorn (:mod:`bench.peers.channels`); ``PEER_VALKEY`` is the URL of its Valkey, ``PEER_LAYER`` one of :data:`_LAYERS`,
``PEER_CONNECTIONS`` how many connections to Valkey a process may have.
"""

from __future__ import annotations

import os
from typing import Any

from django.conf import settings

_HOST = {
    "address": os.environ["PEER_VALKEY"],
    # Without a time limit on reads: with redis-py 8's own one of 5 s, quiet consumers die (channels_redis#422).
    "socket_timeout": None,
    # redis-py 8 gives a pool 100 connections, redis-py 7 as many as it needs. A consumer that gets none dies of
    # MaxConnectionsError: its client sees 1006, and the group keeps its name.
    "max_connections": int(os.environ["PEER_CONNECTIONS"]),
}
_LAYERS: dict[str, dict[str, Any]] = {
    "core": {
        "BACKEND": "channels_redis.core.RedisChannelLayer",
        # One list holds what a whole process has to deliver; the default of 100 would lose messages under this load.
        "CONFIG": {"hosts": [_HOST], "capacity": 100_000},
    },
    "pubsub": {"BACKEND": "channels_redis.pubsub.RedisPubSubChannelLayer", "CONFIG": {"hosts": [_HOST]}},
}
settings.configure(
    SECRET_KEY="a bench has none",  # noqa: S106
    CHANNEL_LAYERS={"default": _LAYERS[os.environ["PEER_LAYER"]]},
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


class Room(AsyncJsonWebsocketConsumer):
    """What a member sends goes to all of the room, to itself as well: that is its ✓."""

    async def connect(self) -> None:
        where = self.scope["url_route"]["kwargs"]
        self.user, self.group = where["user"], f"room.{where['room']}"
        await self.channel_layer.group_add(self.group, self.channel_name)
        await self.accept(subprotocol="chat")

    async def disconnect(self, code: int) -> None:
        await self.channel_layer.group_discard(self.group, self.channel_name)

    async def receive_json(self, content: dict[str, Any], **kwargs: Any) -> None:
        await self.channel_layer.group_send(
            self.group, {"type": "chat.frame", "frame": {**content, "from": self.user}}
        )

    async def chat_frame(self, event: dict[str, Any]) -> None:
        await self.send_json(event["frame"])


application = ProtocolTypeRouter(
    {"websocket": URLRouter([path("ws/<user>", Chat.as_asgi()), path("rooms/<room>/<user>", Room.as_asgi())])}
)
