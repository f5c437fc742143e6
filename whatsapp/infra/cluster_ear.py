"""A process' subscription to one channel of a Valkey Cluster: at the node that serves the channel's slot, which it follows."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from whatsapp.infra.slots import Place, at, slot_of_key
from whatsapp.infra.valkey import Address, Connection, HotUnavailable, Valkey


class Ear:
    """``changed`` is called whenever ``hears`` may have; ``look`` when the map of the slots may be old."""

    def __init__(
        self,
        channel: str,
        seed: Address,
        on_message: Callable[[bytes], None],
        changed: Callable[[], None],
        look: Callable[[], None],
    ) -> None:
        self.channel = channel
        self.slot = slot_of_key(channel)
        self._seed = seed
        self._on_message = on_message
        self._changed = changed
        self._look = look
        self._valkey: Valkey | None = None
        self._place: Place | None = None
        self._confirmed = False

    @property
    def hears(self) -> bool:
        """Whether all that is published at its node arrives."""
        return self._confirmed and self._valkey is not None and self._valkey.connected

    async def follow(self, place: Place | None) -> None:
        """Its slot is served there."""
        if place is None or place == self._place:
            return
        self._place = place
        if self._valkey is None:
            self._valkey = Valkey(at(self._seed, place))
            self._valkey.on_connect = self._subscribe
            self._valkey.on_push = self._pushed
            self._valkey.on_lost = self._lost
            await self._valkey.start()
        else:
            self._valkey.address = at(self._seed, place)
            self._lost()
            self._valkey.drop()

    async def stop(self) -> None:
        if self._valkey is not None:
            await self._valkey.stop()

    async def _subscribe(self, connection: Connection) -> None:
        (answer,) = await connection.run([("SSUBSCRIBE", self.channel)])
        if isinstance(answer, Exception):
            self._look()
            raise HotUnavailable(str(answer))
        self._confirmed = True
        asyncio.get_running_loop().call_soon(self._changed)

    def _pushed(self, reply: list[Any]) -> None:
        if reply[0] == b"smessage":
            self._on_message(reply[2])
        elif reply[0] == b"sunsubscribe" and self._valkey is not None:  # the slot has moved
            self._valkey.drop()

    def _lost(self) -> None:
        self._confirmed = False
        self._changed()
        self._look()
