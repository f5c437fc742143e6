"""Hot state on a Valkey Cluster: what :class:`whatsapp.infra.hot.Hot` is for one node, with an epoch and a term for each.

*Epoch of a node*: as for one node (R1), and its config epoch, which rises when a node takes slots over: a slot that went away and
came back does not find the epoch under which it left. *Epoch of the process*: of all nodes that serve slots together; under it
progress in the outbox is earned. A slot's epoch is that of the node that serves it.

*Term of a node*: one stretch of time in which its epoch, the connection to it and the subscription stayed the same. So what a
session was opened under ends when its slot moves to another node, and only the sessions of what is new are opened again.

A process listens on two channels, in most cases at two nodes; who cannot publish on the first one takes the other. The first that
hears counts: when another takes its place all terms end and begin anew, for nobody knows what was published in between. While
none hears there is no term.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import hiredis

from whatsapp.infra import clock, metrics
from whatsapp.infra.cluster_ear import Ear
from whatsapp.infra.cluster_node import ClusterNode
from whatsapp.infra.fenced import placed, run_fenced
from whatsapp.infra.hot import Hot, epoch_of_all
from whatsapp.infra.router import Router
from whatsapp.infra.slots import Place, at, is_cluster, parse_nodes, redirect, seeds, slot_of, slot_of_key
from whatsapp.infra.valkey import Command, Connection, HotUnavailable, Script

log = logging.getLogger(__name__)

#: The map is read again after this time, and at once when something says that it is old.
POLL_S = 1.0
#: The same while a node is away: its replica may serve at any moment.
AWAY_POLL_S = 0.1
ASK_S = 1.0
#: A pipeline waits no longer for one node when the others have answered (seconds).
PATIENCE_S = 1.5
#: For so long after a slot has moved its old master might still take marks that the new one never sees; far more than a node's
#: timeout, after which it refuses them.
UNSETTLED_S = 30.0
#: Receipts are told from the first of several ends on, if they are closer than this (``sessions.REOPEN_SPREAD_S`` and more).
ENDS_TOGETHER_MS = 90_000


class ClusterHot(Hot, Router):
    """``term`` is the newest term of any node, 0 while one that serves slots is away; ``epoch`` is that of all together."""

    one_node = False

    def __init__(
        self,
        url: str,
        *,
        channel: str = "",
        spare: str = "",
        on_message: Callable[[bytes], None] | None = None,
    ) -> None:
        Router.__init__(self)
        self.patience_s = PATIENCE_S
        self.seeds = seeds(url)
        self.epoch = ""
        self.term = 0
        self.ended_at = 0
        self.on_term: list[Callable[[], None]] = []
        self._terms = 0
        self._nodes: dict[Place, ClusterNode] = {}
        self._guests: dict[Place, ClusterNode] = {}  # where slots are on their way to
        self._epochs: frozenset[str] = frozenset()  # of which ``epoch`` is made
        self._moved: dict[int, float] = {}  # slot -> loop time
        self._started = 0.0
        self._ears = [
            Ear(name, self.seeds[0], on_message or (lambda _: None), self._heard, self.look)
            for name in (channel, spare)
            if name
        ]
        self._hears: Ear | None = None  # that counts
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
        for ear in self._ears:
            await ear.stop()
        for node in [*self._nodes.values(), *self._guests.values()]:
            await node.stop()
        self.term = 0

    # commands

    async def run(self, commands: Sequence[Command]) -> list[Any]:
        return await Router.run(self, commands)

    async def run_each(self, commands: Sequence[Command]) -> list[Any]:
        return await Router.run_each(self, commands)

    async def run_under(self, asked: Sequence[tuple[str, Command]], patience_s: float) -> list[Any]:
        groups: dict[Place, list[int]] = {}
        for index, (epoch, command) in enumerate(asked):
            place = self.table.owners[slot_of(command)]
            node = self._nodes.get(place) if place is not None else None
            if place is not None and node is not None and node.term and node.epoch == epoch:
                groups.setdefault(place, []).append(index)
        parts = [
            (indexes, self._fenced(self._nodes[place], [asked[index] for index in indexes]))
            for place, indexes in groups.items()
        ]
        answers = await placed(len(asked), parts, patience_s)
        for index, answer in enumerate(answers):
            if isinstance(answer, hiredis.ReplyError) and redirect(answer) is not None:
                answers[index] = HotUnavailable("its slot is on the move")
                self.look()
        return answers

    async def _fenced(self, node: ClusterNode, asked: Sequence[tuple[str, Command]]) -> list[Any]:
        if not node.answers:
            raise HotUnavailable("the node does not answer")
        commands = [command for _, command in asked]
        return await run_fenced(node.valkey, commands, asked[0][0], lambda: node.epoch, self.scripts)

    def parts(self) -> list[Any]:
        return [place for place, node in self._nodes.items() if node.term and node.answers]

    async def run_at(self, part: Any, commands: Sequence[Command]) -> list[Any]:
        answers = await self.ask_at(part, commands)
        for answer in answers:
            if isinstance(answer, Exception):
                raise HotUnavailable(str(answer)) from None
        return answers

    async def ask_at(self, part: Any, commands: Sequence[Command]) -> list[Any]:
        return await self.send(part, commands)

    def send(self, place: Place, commands: Sequence[Command]) -> Awaitable[list[Any]]:
        node = self._nodes.get(place)
        if node is None:
            return self._to_guest(place, commands)
        if node.answers:
            return node.valkey.send(commands)
        return node.send(commands)

    def _node(self, place: Place) -> ClusterNode:
        return ClusterNode(self, place, at(self.seeds[0], place))

    async def _to_guest(self, place: Place, commands: Sequence[Command]) -> list[Any]:
        guest = self._guests.get(place)
        if guest is None:
            guest = self._guests[place] = self._node(place)
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

    def epochs_there(self) -> frozenset[str]:
        return frozenset(node.epoch for node in self._nodes.values() if node.answers and node.epoch)

    def reaches(self, key: str) -> bool:
        node = self._node_of(key)
        return node is not None and node.answers

    @property
    def partly(self) -> bool:
        return any(node.answers for node in self._nodes.values())

    def settled(self, key: str) -> bool:
        now = asyncio.get_running_loop().time()
        moved = self._moved.get(slot_of_key(f"{{{key}}}"), self._started)
        return now - moved > UNSETTLED_S

    def _node_of(self, key: str) -> ClusterNode | None:
        place = self.table.owners[slot_of_key(f"{{{key}}}")]
        return self._nodes.get(place) if place is not None else None

    @property
    def nodes(self) -> dict[Place, tuple[int, str]]:
        """(term, epoch) of each node that serves slots."""
        return {place: (node.term, node.epoch) for place, node in self._nodes.items()}

    def ended(self, node: ClusterNode) -> None:
        if node.term:
            log.warning("the hot node %s:%d is away", *node.place)
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
        if self._ears and self._hears is None:
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
            self._nodes[place] = node or self._node(place)
            if node is None:
                await self._nodes[place].start()
        for ear in self._ears:
            await ear.follow(self.table.owners[ear.slot])
        if changed or gone:
            self.maybe_begin()
            self._settle_term()
            self._tell()
        for node in gone:
            await node.stop()  # what waits for it fails now

    def _heard(self) -> None:
        """One of the subscriptions has changed."""
        hears = next((ear for ear in self._ears if ear.hears), None)
        if hears is not self._hears or hears is None:
            self._hears = hears
            for node in self._nodes.values():
                node.term = 0
            self._settle_term()
        self.maybe_begin()


def open_hot(url: str, *, spare: str = "", **options: Any) -> Hot:
    """The hot node of a process, or the cluster: whatever the URL says. See :class:`Hot` for the options; ``spare`` is a second
    channel, for a cluster, in which the first one's node may be away alone."""
    return ClusterHot(url, spare=spare, **options) if is_cluster(url) else Hot(url, **options)
