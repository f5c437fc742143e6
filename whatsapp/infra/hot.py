"""The hot node as the engine sees it: an epoch, a term, and scripts.

*Epoch* = (run id, replication id, number of flushes): a FLUSHALL keeps the first two, a failback brings an old run id back,
so all three are needed (R1). It is read on every new connection and once a second.

*Term* = one stretch of time in which the epoch, the connection and the subscription stayed the same. Sessions are opened
under a term and opened again under the next (R6, R7).
"""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Callable, Iterable, Sequence
from hashlib import blake2b
from typing import Any

import hiredis

from whatsapp.infra import clock, metrics
from whatsapp.infra.fenced import placed, run_fenced
from whatsapp.infra.valkey import Command, Connection, HotUnavailable, Script, Valkey

log = logging.getLogger(__name__)

EPOCH_COMMAND: Command = ("INFO", "server", "replication", "commandstats")
_RUN_ID = re.compile(rb"run_id:(\w+)")
_REPLID = re.compile(rb"master_replid:(\w+)")
_FLUSHES = re.compile(rb"cmdstat_(?:flush(?:all|db)|cluster\|flushslot):calls=(\d+)")


def parse_epoch(info: bytes | str) -> str:
    """Epoch from the text of ``INFO server replication commandstats``."""
    data = info.encode() if isinstance(info, str) else info
    run_id, replid = _RUN_ID.search(data), _REPLID.search(data)
    if run_id is None or replid is None:
        raise HotUnavailable("INFO names no run id")
    flushes = sum(int(number) for number in _FLUSHES.findall(data))
    return f"{run_id[1][:16].decode()}.{replid[1][:16].decode()}.{flushes}"


def epoch_of_all(epochs: Iterable[str]) -> str:
    """The epoch of a cluster from those of its nodes."""
    return blake2b("|".join(sorted(epochs)).encode(), digest_size=12).hexdigest()


class Hot:
    """Commands, epoch and the subscription of one process.

    ``on_term`` is called (on the loop) whenever a new term begins; ``term`` is 0 while the node is away.
    """

    #: Whether all keys are on one server: then a command may have keys of many users.
    one_node = True

    def __init__(
        self, url: str, *, channel: str = "", on_message: Callable[[bytes], None] | None = None
    ) -> None:
        self.commands = Valkey(url)
        self.commands.on_connect = self._read_epoch
        self.commands.on_lost = self._commands_lost
        self.epoch = ""
        self.term = 0
        self.ended_at = 0  # when the last term ended, ms; 0 before the second begins
        self.on_term: list[Callable[[], None]] = []
        self._terms = 0
        self._known = ""  # epoch read on the current connection
        self._channel = channel
        self._subscribed = not channel
        self._subscriber: Valkey | None = None
        self._on_message = on_message
        self._poller: asyncio.Task[None] | None = None
        if channel:
            self._subscriber = Valkey(url)
            self._subscriber.on_connect = self._subscribe
            self._subscriber.on_push = self._pushed
            self._subscriber.on_lost = self._unsubscribed

    async def start(self) -> None:
        await self.commands.start()
        if self._subscriber is not None:
            await self._subscriber.start()
        self._poller = asyncio.get_running_loop().create_task(self._poll())

    async def stop(self) -> None:
        if self._poller is not None:
            self._poller.cancel()
        if self._subscriber is not None:
            await self._subscriber.stop()
        await self.commands.stop()
        self.term = 0

    async def run(self, commands: Sequence[Command]) -> list[Any]:
        """A pipeline; see :meth:`Valkey.run`."""
        return await self.commands.run(commands)

    async def run_each(self, commands: Sequence[Command]) -> list[Any]:
        """:meth:`run`, where a node of several that is away leaves ``HotUnavailable`` in the place of its answers. Raises what
        :meth:`run` does for one node."""
        return await self.run(commands)

    async def run_under(self, asked: Sequence[tuple[str, Command]], patience_s: float) -> list[Any]:
        """Commands, each with the epoch under which alone its answer counts: ``HotUnavailable`` stands in its place if the node
        that has its key is of another one, before or behind it, or does not answer for ``patience_s``. Nobody follows a
        redirection: what stands elsewhere is another node's, whoever served the key before. Error replies are in their places."""
        here = [index for index, (epoch, _) in enumerate(asked) if self.term and epoch == self.epoch]
        parts = []
        if here:
            commands = [asked[index][1] for index in here]
            scripts = self.commands.scripts
            parts.append(
                (here, run_fenced(self.commands, commands, self.epoch, lambda: self._known, scripts))
            )
        return await placed(len(asked), parts, patience_s)

    def parts(self) -> list[Any]:
        """The nodes that can be asked for what they have (:meth:`run_at`)."""
        return [None] if self.available else []

    async def run_at(self, part: Any, commands: Sequence[Command]) -> list[Any]:
        """A pipeline to one of :meth:`parts`, about keys that it has. Raises what :meth:`run` does."""
        del part
        return await self.run(commands)

    async def ask_at(self, part: Any, commands: Sequence[Command]) -> list[Any]:
        """The same, with error replies in their places."""
        del part
        return await self.commands.send(commands)

    def script(self, text: str) -> Script:
        return self.commands.add_script(Script(text))

    def mget(self, keys: Sequence[str]) -> list[Command]:
        """What reads strings of many users; :meth:`values` makes one list of the answers."""
        return [("MGET", *keys)]

    def values(self, answers: Sequence[Any]) -> list[Any]:
        return answers[0]

    def under(self, key: str) -> tuple[int, str]:
        """Term and epoch of the node that has what belongs to ``key``: a user, a conversation."""
        return self.term, self.epoch

    def epochs(self) -> frozenset[str]:
        """The epochs of all nodes."""
        return frozenset((self.epoch,))

    def epochs_there(self) -> frozenset[str]:
        """The epochs of the nodes that can be reached now."""
        return self.epochs() if self.available else frozenset()

    def settled(self, key: str) -> bool:
        """Whether no other node may have taken marks for ``key`` a moment ago that are lost."""
        return True

    @property
    def available(self) -> bool:
        """Whether all of it is there."""
        return self.term != 0

    def reaches(self, key: str) -> bool:
        """Whether commands for what belongs to ``key`` have a chance: of several nodes one may be away alone."""
        return self.available

    @property
    def partly(self) -> bool:
        """Whether at least a part of it is there."""
        return self.available

    async def _read_epoch(self, connection: Connection) -> None:
        (info,) = await connection.run([EPOCH_COMMAND])
        if isinstance(info, Exception):
            raise HotUnavailable(str(info))
        self._known = parse_epoch(info)
        # The connection becomes usable right after this; the term begins then.
        asyncio.get_running_loop().call_soon(self._maybe_begin)

    async def _subscribe(self, connection: Connection) -> None:
        connection.write(("SSUBSCRIBE", self._channel))

    def _pushed(self, reply: list[Any]) -> None:
        kind = reply[0]
        if kind == b"smessage":
            if self._on_message is not None:
                self._on_message(reply[2])
        elif kind == b"ssubscribe":
            self._subscribed = True
            self._maybe_begin()
        elif kind == b"sunsubscribe":  # the slot moved: subscribe again
            self._unsubscribed()
            if self._subscriber is not None:
                self._subscriber.write(("SSUBSCRIBE", self._channel))

    def _unsubscribed(self) -> None:
        self._subscribed = False
        self._ended()

    def _commands_lost(self) -> None:
        # What ended this connection may have moved the node: the subscription is made anew where the commands go.
        if self._subscriber is not None:
            self._subscriber.drop()
        self._ended()

    def _ended(self) -> None:
        if self.term:
            log.warning("the hot node is away")
        self._end_term()

    def _end_term(self) -> None:
        if self.term:
            self.ended_at = clock.now_ms()
        self.term = 0

    def _maybe_begin(self) -> None:
        if self.term or not self._known or not self._subscribed or not self.commands.connected:
            return
        self._terms += 1
        self.term, self.epoch = self._terms, self._known
        metrics.TERMS.add()
        for callback in self.on_term:
            callback()

    async def _poll(self) -> None:
        while True:
            await asyncio.sleep(1.0)
            if not self.commands.connected:
                continue
            try:
                (info,) = await self.run([EPOCH_COMMAND])
                epoch = parse_epoch(info)
            except (HotUnavailable, hiredis.ReplyError):
                continue
            if epoch != self._known:
                log.warning("the hot node has a new epoch")
                self._end_term()
                self._known = epoch
            self._maybe_begin()
