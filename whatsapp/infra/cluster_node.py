"""One node of a Valkey Cluster, as a process knows it: a connection, its epoch and its term."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import re
from collections.abc import Sequence
from typing import Any, Protocol

from whatsapp.infra.hot import EPOCH_COMMAND, parse_epoch
from whatsapp.infra.slots import Place
from whatsapp.infra.valkey import Address, Command, Connection, HotUnavailable, Valkey

log = logging.getLogger(__name__)

#: The epoch is read again after this time.
POLL_S = 1.0
#: A node that was never connected is waited for this long.
FIRST_S = 1.0
#: A node that leaves a command without answer for so long is passed over until it answers, or is given up. More than a pause of
#: its disk, less than what anybody would notice who has nothing there.
SLOW_S = 1.5

_CONFIG_EPOCH = re.compile(rb"cluster_my_epoch:(\d+)")
_INFO: tuple[Command, ...] = (EPOCH_COMMAND, ("CLUSTER", "INFO"))


def epoch_of_node(replies: Sequence[Any]) -> str:
    """From the answers to ``INFO`` and ``CLUSTER INFO``. Raises :class:`HotUnavailable` for anything but a master."""
    for reply in replies:
        if isinstance(reply, Exception):
            raise HotUnavailable(str(reply))
    info, cluster = replies
    if b"role:master" not in info:
        raise HotUnavailable("it is a replica")
    config = _CONFIG_EPOCH.search(cluster)
    if config is None:
        raise HotUnavailable("CLUSTER INFO names no epoch")
    return f"{parse_epoch(info)}.{config[1].decode()}"


class Keeper(Protocol):
    """Who has the node, and hears what becomes of it."""

    def look(self) -> None:
        """The map may be old."""

    def maybe_begin(self) -> None:
        """It is there, or has another epoch."""

    def ended(self, node: ClusterNode) -> None:
        """Its term is over."""


class ClusterNode:
    """One node that serves slots, or did, or will: a connection, its epoch and its term (0: none)."""

    def __init__(self, keeper: Keeper, place: Place, address: Address) -> None:
        self.place = place
        self.epoch = ""
        self.term = 0
        self._keeper = keeper
        self.valkey = Valkey(address)
        self.valkey.on_connect = self._greeted
        self.valkey.on_lost = self._lost
        self._first: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._poller: asyncio.Task[None] | None = None

    async def start(self) -> None:
        await self.valkey.start()
        self._poller = asyncio.get_running_loop().create_task(self._poll())

    async def stop(self) -> None:
        self.term = 0
        if self._poller is not None:
            self._poller.cancel()
        await self.valkey.stop()

    @property
    def answers(self) -> bool:
        """Whether a command that is sent now has a chance."""
        return self.valkey.connected and self.valkey.waits_s < SLOW_S

    async def send(self, commands: Sequence[Command]) -> list[Any]:
        """:meth:`Valkey.send`, which waits for the first connection for a moment. Raises :class:`HotUnavailable`."""
        if not self.valkey.connected and not self._first.done():
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(FIRST_S):
                    await asyncio.shield(self._first)
            await asyncio.sleep(0)  # the connection is taken over in the same turn
        if self.valkey.waits_s >= SLOW_S:
            raise HotUnavailable("the node does not answer")
        return await self.valkey.send(commands)

    async def _greeted(self, connection: Connection) -> None:
        try:
            self.epoch = epoch_of_node(await connection.run(_INFO))
        except HotUnavailable:
            self._keeper.look()
            raise
        if not self._first.done():
            self._first.set_result(None)
        asyncio.get_running_loop().call_soon(self._keeper.maybe_begin)

    def _lost(self) -> None:
        self._keeper.ended(self)
        self._keeper.look()

    async def _poll(self) -> None:
        while True:
            await asyncio.sleep(POLL_S)
            if not self.valkey.connected:
                continue
            try:
                epoch = epoch_of_node(await self.valkey.send(_INFO))
            except HotUnavailable as error:
                log.info("the hot node %s:%d is given up: %s", *self.place, error)
                self.valkey.drop()
                continue
            if epoch != self.epoch:
                log.warning("the hot node %s:%d has a new epoch", *self.place)
                self._keeper.ended(self)
                self.epoch = epoch
            self._keeper.maybe_begin()
