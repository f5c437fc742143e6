"""The default Channels layer: groups ``user.<id>`` on the bus between gateways.

Any Django code may ``group_send("user.<id>", {"type": …})``: the event goes to the processes that hold a session of the user
and there to its consumers. At most once, like every channel layer; whoever needs more writes a durable row first. Groups of
other names live on the second layer (``admin``, channels_redis).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec
from channels.layers import BaseChannelLayer
from django.conf import settings

from whatsapp.infra import clock
from whatsapp.infra.bus import DEVICES, VISIBILITY, channel, process_of, publish
from whatsapp.infra.directory import parse_sessions, sessions_key, watch_key
from whatsapp.infra.valkey import Command
from whatsapp.infra.visit import Visitor, visit

LAYER = "layer"  # payload: [user, event]
PREFIX = "user."


class BusLayer(BaseChannelLayer):
    """See the Channels layer specification; ``send`` and ``receive`` of single channels are not offered."""

    extensions = ["groups"]

    def __init__(self, expiry: int = 60, capacity: int = 100, **kwargs: Any) -> None:
        super().__init__(expiry=expiry, capacity=capacity, **kwargs)
        self._url = settings.HOT_URL

    async def group_add(self, group: str, channel: str) -> None:
        """Consumers belong to their user's group by being open."""

    async def group_discard(self, group: str, channel: str) -> None:
        """See :meth:`group_add`."""

    async def group_send(self, group: str, message: dict[str, Any]) -> None:
        """Raises ``HotUnavailable`` when the bus cannot be reached, ``ValueError`` for a group that is no user's."""
        if not group.startswith(PREFIX):
            raise ValueError(f"{group!r} is no user.<id>; use the layer 'admin' for other groups")
        await self.tell([group[len(PREFIX) :]], message)

    async def tell(self, users: Sequence[str], message: dict[str, Any]) -> None:
        """:meth:`group_send` to several users: one connection, one look at where they are, one publish a process. No part of
        the layer's specification. Raises ``HotUnavailable``."""
        await self._tell(
            [("GET", sessions_key(user)) for user in users],
            lambda raw: [entry.process for entry in parse_sessions(raw).values()],
            [(LAYER, (user, message)) for user in users],
        )

    async def tell_followers(self, users: Sequence[str], topic: str = VISIBILITY) -> None:
        """What these users show (:data:`VISIBILITY`), or their profile (:data:`PROFILE`), has changed: to where somebody follows
        them, and where they are themselves, who may see of others what they show. Raises ``HotUnavailable``."""
        look_up: list[Command] = [
            ("ZRANGEBYSCORE", watch_key(user), clock.now_ms(), "+inf") for user in users
        ]
        look_up += [("GET", sessions_key(user)) for user in users]

        def processes(raw: Any) -> list[str]:
            if isinstance(raw, list):
                return [process.decode() for process in raw]
            return [entry.process for entry in parse_sessions(raw).values()]

        await self._tell(look_up, processes, [(topic, user) for user in users] * 2)

    async def tell_all(self, users: Sequence[str], topic: str = DEVICES) -> None:
        """The devices of these users, or their keys, have changed (:data:`DEVICES`), or classes of limits have
        (:data:`LIMIT_CLASS`): to every process that listens, for any may have them in its cache. Raises ``HotUnavailable``."""
        async with visit(self._url) as hot:
            # Each node knows the channels of its own slots.
            found = await hot.everywhere(("PUBSUB", "SHARDCHANNELS", channel("*")))
            processes = {process_of(name) for names in found for name in names}
            await _publish(hot, {process: [(topic, user) for user in users] for process in processes})

    async def _tell(
        self, look_up: list[Command], processes: Callable[[Any], list[str]], items: list[tuple[str, Any]]
    ) -> None:
        """Each item to the processes that the answer to its look-up names, in one publish a process."""
        # A connection of its own: async_to_sync brings a new loop with each call.
        async with visit(self._url) as hot:
            # An item that two look-ups ask for goes to a process once.
            out: dict[str, dict[int, Any]] = {}
            found = await hot.run_each(look_up)
            for item, raw in zip(items, found, strict=True):
                for process in set(processes(raw)) if not isinstance(raw, Exception) else ():
                    out.setdefault(process, {})[id(item)] = item
            await _publish(hot, {process: list(batch.values()) for process, batch in out.items()})
            _raise(found)  # who could be told has been


async def _publish(hot: Visitor, out: Mapping[str, list[Any]]) -> None:
    encode = msgspec.msgpack.encode
    _raise(await publish(hot, [(process, encode(batch)) for process, batch in out.items()]))


def _raise(answers: Sequence[Any]) -> None:
    for answer in answers:
        if isinstance(answer, Exception):
            raise answer
