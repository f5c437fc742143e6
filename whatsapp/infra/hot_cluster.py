"""Hot state on a Valkey Cluster: what :class:`whatsapp.infra.hot.Hot` is for one node, with an epoch and a term for each.

*Epoch of a node*: as for one node (R1), and its config epoch, which rises when a node takes slots over: a slot that went away and
came back does not find the epoch under which it left. *Epoch of the process*: of all nodes that serve slots together; under it
progress in the outbox is earned. A slot's epoch is that of the node that serves it.

*Term of a node*: one stretch of time in which its epoch, the connection to it and the subscription stayed the same. So what a
session was opened under ends when its slot moves to another node, and only the sessions of what is new are opened again.

The subscription is at the node that serves the channel's slot, and follows it. While it is away every term has ended: nobody
knows what was published.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
import re
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import hiredis

from whatsapp.infra import clock, metrics
from whatsapp.infra.hot import EPOCH_COMMAND, Hot, epoch_of_all, parse_epoch
from whatsapp.infra.router import Router
from whatsapp.infra.slots import Place, at, is_cluster, parse_nodes, seeds, slot_of_key
from whatsapp.infra.valkey import Command, Connection, HotUnavailable, Script, Valkey

log = logging.getLogger(__name__)

#: The map and the epochs are read again after this time, and at once when something says that they are old.
POLL_S = 1.0
#: The same while a node is away: its replica may serve at any moment.
AWAY_POLL_S = 0.1
ASK_S = 1.0
#: A node that was never connected is waited for this long.
FIRST_S = 1.0
#: For so long after a slot has moved its old master might still take marks that the new one never sees; far more than a node's
#: timeout, after which it refuses them.
UNSETTLED_S = 30.0
#: Receipts are told from the first of several ends on, if they are closer than this (``sessions.REOPEN_SPREAD_S`` and more).
ENDS_TOGETHER_MS = 90_000

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


class _Node:
    """One node that serves slots, or did, or will: a connection, its epoch and its term (0: none)."""

    def __init__(self, hot: ClusterHot, place: Place) -> None:
        self.place = place
        self.epoch = ""
        self.term = 0
        self._hot = hot
        self.valkey = Valkey(at(hot.seeds[0], place))
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

    async def send(self, commands: Sequence[Command]) -> list[Any]:
        if not self.valkey.connected and not self._first.done():
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(FIRST_S):
                    await asyncio.shield(self._first)
            await asyncio.sleep(0)  # the connection is taken over in the same turn
        return await self.valkey.send(commands)

    async def _greeted(self, connection: Connection) -> None:
        try:
            self.epoch = epoch_of_node(await connection.run(_INFO))
        except HotUnavailable:
            self._hot.look()
            raise
        if not self._first.done():
            self._first.set_result(None)
        asyncio.get_running_loop().call_soon(self._hot.maybe_begin)

    def _lost(self) -> None:
        self._hot.ended(self)
        self._hot.look()

    async def _poll(self) -> None:
        while True:
            await asyncio.sleep(POLL_S)
            if not self.valkey.connected:
                continue
            try:
                epoch = epoch_of_node(await self.valkey.send(_INFO))
            except HotUnavailable as error:
                log.info("a hot node is given up: %s", error)
                self.valkey.drop()
                continue
            if epoch != self.epoch:
                log.warning("a hot node has a new epoch")
                self._hot.ended(self)
                self.epoch = epoch
            self._hot.maybe_begin()


class ClusterHot(Hot, Router):
    """``term`` is the newest term of any node, 0 while one that serves slots is away; ``epoch`` is that of all together."""

    one_node = False

    def __init__(
        self, url: str, *, channel: str = "", on_message: Callable[[bytes], None] | None = None
    ) -> None:
        Router.__init__(self)
        self.seeds = seeds(url)
        self.epoch = ""
        self.term = 0
        self.ended_at = 0
        self.on_term: list[Callable[[], None]] = []
        self._terms = 0
        self._nodes: dict[Place, _Node] = {}
        self._guests: dict[Place, _Node] = {}  # where slots are on their way to
        self._epochs: frozenset[str] = frozenset()  # of which ``epoch`` is made
        self._moved: dict[int, float] = {}  # slot -> loop time
        self._started = 0.0
        self._channel = channel
        self._on_message = on_message
        self._subscriber: Valkey | None = None
        self._subscribed_at: Place | None = None
        self._follows = False  # the subscription was confirmed there
        self._looking = asyncio.Event()
        self._looks = 0
        self._reading = asyncio.Lock()
        self._tasks: set[asyncio.Task[Any]] = set()
        self._keeper: asyncio.Task[None] | None = None

    async def start(self) -> None:
        self._started = asyncio.get_running_loop().time()
        self._looking.set()
        self._keeper = asyncio.get_running_loop().create_task(self._keep())

    async def stop(self) -> None:
        if self._keeper is not None:
            self._keeper.cancel()
        for task in list(self._tasks):
            task.cancel()
        if self._subscriber is not None:
            await self._subscriber.stop()
        for node in [*self._nodes.values(), *self._guests.values()]:
            await node.stop()
        self.term = 0

    # commands

    async def run(self, commands: Sequence[Command]) -> list[Any]:
        return await Router.run(self, commands)

    async def run_each(self, commands: Sequence[Command]) -> list[Any]:
        return await Router.run_each(self, commands)

    def send(self, place: Place, commands: Sequence[Command]) -> Awaitable[list[Any]]:
        node = self._nodes.get(place)
        if node is None:
            return self._to_guest(place, commands)
        if node.valkey.connected:
            return node.valkey.send(commands)
        return node.send(commands)

    async def _to_guest(self, place: Place, commands: Sequence[Command]) -> list[Any]:
        guest = self._guests.get(place)
        if guest is None:
            guest = self._guests[place] = _Node(self, place)
            await guest.start()
        return await guest.send(commands)

    def script(self, text: str) -> Script:
        script = Script(text)
        return self.scripts.setdefault(script.sha, script)

    def mget(self, keys: Sequence[str]) -> list[Command]:
        return [("GET", key) for key in keys]

    def values(self, answers: Sequence[Any]) -> list[Any]:
        return list(answers)

    # epochs and terms

    def under(self, key: str) -> tuple[int, str]:
        node = self._node_of(key)
        return (node.term, node.epoch) if node is not None else (0, "")

    def epochs(self) -> frozenset[str]:
        return self._epochs

    def settled(self, key: str) -> bool:
        now = asyncio.get_running_loop().time()
        moved = self._moved.get(slot_of_key(f"{{{key}}}"), self._started)
        return now - moved > UNSETTLED_S

    def _node_of(self, key: str) -> _Node | None:
        place = self.table.owners[slot_of_key(f"{{{key}}}")]
        return self._nodes.get(place) if place is not None else None

    @property
    def nodes(self) -> dict[Place, tuple[int, str]]:
        """(term, epoch) of each node that serves slots."""
        return {place: (node.term, node.epoch) for place, node in self._nodes.items()}

    def ended(self, node: _Node) -> None:
        if node.term:
            log.warning("a hot node is away")
        node.term = 0
        self._settle_term()

    def _settle_term(self) -> None:
        whole = self.table.whole and all(node.term for node in self._nodes.values()) and bool(self._nodes)
        if self.term and not whole:
            now = clock.now_ms()
            if now - self.ended_at > ENDS_TOGETHER_MS:
                self.ended_at = now
        self.term = self._terms if whole else 0

    def maybe_begin(self) -> None:
        """Terms of nodes that are there again; called whenever something has changed."""
        if self._channel and not (self._follows and self._subscriber and self._subscriber.connected):
            return
        begun = False
        for node in self._nodes.values():
            if not node.term and node.epoch and node.valkey.connected:
                self._terms += 1
                node.term = self._terms
                begun = True
                metrics.TERMS.add()
        epochs = frozenset(node.epoch for node in self._nodes.values())
        if epochs and all(epochs) and self.table.whole and epochs != self._epochs:
            self._epochs = epochs
            self.epoch = epoch_of_all(epochs)
        self._settle_term()
        if begun:
            self._tell()

    def _tell(self) -> None:
        for callback in self.on_term:
            callback()

    # the map

    def look(self) -> None:
        """Something says that the map is old."""
        self._looking.set()

    async def _keep(self) -> None:
        while True:
            calm = self.available and not self._looking.is_set()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(POLL_S if calm else AWAY_POLL_S):
                    await self._looking.wait()
            if self._looking.is_set():
                self._looking.clear()
            try:
                await self.refresh()
                for place in [
                    p for p in self._guests if p not in self.table.places and len(self._guests) > 8
                ]:
                    await self._guests.pop(place).stop()
            except Exception:
                log.exception("the map of the hot nodes could not be read")
            if not self.available:
                await asyncio.sleep(AWAY_POLL_S)

    async def refresh(self, hint: Place | None = None) -> None:
        # Who waits for the answer that somebody else is waiting for needs no other.
        looks = self._looks
        async with self._reading:
            if hint is None or looks == self._looks:
                await self._read_map(hint)
                self._looks += 1

    async def _read_map(self, hint: Place | None) -> None:
        asked = [place for place, node in self._nodes.items() if node.valkey.connected]
        if not asked and self._nodes:
            self.table.forget()
        random.shuffle(asked)
        if hint is not None:
            asked.insert(0, hint)
        for place in dict.fromkeys(asked):
            try:
                async with asyncio.timeout(ASK_S):
                    (text,) = await self.send(place, [("CLUSTER", "NODES")])
                if not isinstance(text, Exception):
                    await self._take(text, place)
                    return
            except (HotUnavailable, TimeoutError):
                continue
        others = [at(self.seeds[0], place) for place in self._nodes] + self.seeds
        for address in others:
            try:
                async with asyncio.timeout(ASK_S):
                    connection = await Connection.open(address, lambda _: None)
                    try:
                        (text,) = await connection.run([("CLUSTER", "NODES")])
                    finally:
                        connection.close()
                if not isinstance(text, Exception):
                    await self._take(text, (address.host, address.port))
                    return
            except (HotUnavailable, hiredis.ReplyError, TimeoutError):
                continue

    async def _take(self, text: bytes, asked: Place) -> None:
        served = self.table.places
        changed = self.table.merge(parse_nodes(text, asked), asked)
        if changed:
            now = asyncio.get_running_loop().time()
            self._moved = {slot: moved for slot, moved in self._moved.items() if now - moved < UNSETTLED_S}
            for slot in changed:
                # A node that served nothing has an epoch that nobody has earned anything under: all is marked again.
                if self.table.owners[slot] in served:
                    self._moved[slot] = now
        places = self.table.places
        gone = [self._nodes.pop(place) for place in list(self._nodes) if place not in places]
        for place in places - self._nodes.keys():
            node = self._guests.pop(place, None)
            self._nodes[place] = node or _Node(self, place)
            if node is None:
                await self._nodes[place].start()
        await self._follow_channel()
        if changed or gone:
            self.maybe_begin()
            self._settle_term()
            self._tell()
        for node in gone:
            await node.stop()  # what waits for it fails now

    # the subscription

    async def _follow_channel(self) -> None:
        if not self._channel:
            return
        place = self.table.owners[slot_of_key(self._channel)]
        if place is None or place == self._subscribed_at:
            return
        self._subscribed_at = place
        if self._subscriber is None:
            self._subscriber = Valkey(at(self.seeds[0], place))
            self._subscriber.on_connect = self._subscribe
            self._subscriber.on_push = self._pushed
            self._subscriber.on_lost = self._unsubscribed
            await self._subscriber.start()
        else:
            self._follows = False
            self._subscriber.address = at(self.seeds[0], place)
            self._unsubscribed()
            self._subscriber.drop()

    async def _subscribe(self, connection: Connection) -> None:
        (answer,) = await connection.run([("SSUBSCRIBE", self._channel)])
        if isinstance(answer, Exception):
            self.look()
            raise HotUnavailable(str(answer))
        self._follows = True
        asyncio.get_running_loop().call_soon(self.maybe_begin)

    def _pushed(self, reply: list[Any]) -> None:
        if reply[0] == b"smessage":
            if self._on_message is not None:
                self._on_message(reply[2])
        elif reply[0] == b"sunsubscribe" and self._subscriber is not None:  # the slot has moved
            self._subscriber.drop()

    def _unsubscribed(self) -> None:
        for node in self._nodes.values():
            node.term = 0
        self._settle_term()
        self.look()


def open_hot(url: str, **options: Any) -> Hot:
    """The hot node of a process, or the cluster: whatever the URL says. See :class:`Hot` for the options."""
    return ClusterHot(url, **options) if is_cluster(url) else Hot(url, **options)
