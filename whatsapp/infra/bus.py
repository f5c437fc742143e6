"""The bus between processes: one sharded channel per process, what goes to one process in one turn goes in one publish, or in
several in order if it is long: a publish is read and handled in one piece, while the sockets of its reader wait.

At most once: a lost publish is found by the 60 s check of the sessions (R8), never relied upon. Order from one process to
another is kept while the connection lives.

An item is ``(topic, payload)``; ``payload`` is anything msgpack can carry.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Protocol

import hiredis
import msgspec

from whatsapp.infra import faults, metrics
from whatsapp.infra.batcher import Batcher
from whatsapp.infra.hot_cluster import open_hot
from whatsapp.infra.logs import process_name
from whatsapp.infra.valkey import Command, HotUnavailable

log = logging.getLogger(__name__)

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(list[tuple[str, Any]]).decode

#: Of one publish; an item that is longer goes alone, so whoever sends long ones cuts them (:mod:`delivery.parcels`).
PUBLISH_BYTES = 1024 * 1024
#: Of publishes that wait for the node's answer together.
FLIGHT_BYTES = 4 * PUBLISH_BYTES

#: When what one node of several did not take is published again (seconds between two attempts).
LATE_S = (0.1, 0.2, 0.4, 0.8, 1.6, 3.2)

#: Topic: a user has other devices, or other keys on one; payload: the user. To every process.
DEVICES = "devices"

#: Topic: what may be seen of a user has changed; payload: the user.
VISIBILITY = "visibility"
#: Topic: a user's name, about or photo has changed; payload: the user.
PROFILE = "profile"
#: Topic: a class of accounts has other limits; payload: the class. To every process.
LIMIT_CLASS = "limit_class"

_SPARE = ".spare"

#: Processes prove that they live by this key; sessions that name a process without it are void.
ALIVE_TTL_MS = 5_000


def channel(process: str) -> str:
    return f"gw:{{{process}}}"


def spare_channel(process: str) -> str:
    """Where a process listens too: on a cluster this is most likely another node."""
    return f"gw:{{{process}{_SPARE}}}"


def process_of(channel: bytes) -> str:
    """Whose channel it is."""
    return channel[len("gw:{") : -1].decode().removesuffix(_SPARE)


def alive_key(process: str) -> str:
    return f"gw:{{{process}}}:alive"


def _cut(batch: list[tuple[str, Any]]) -> Iterator[tuple[list[tuple[str, Any]], bytes]]:
    """The items with their encoding, in parts of at most :data:`PUBLISH_BYTES`, or of one item."""
    data = _encode(batch)
    if len(data) <= PUBLISH_BYTES or len(batch) == 1:
        yield batch, data
    else:
        half = len(batch) // 2
        yield from _cut(batch[:half])
        yield from _cut(batch[half:])


class Publisher(Protocol):
    one_node: bool

    async def run_each(self, commands: Sequence[Command]) -> list[Any]: ...


async def publish(hot: Publisher, parts: Sequence[tuple[str, bytes]]) -> list[Any]:
    """Publish (process, data) pairs: how many heard each, or what it failed with. Raises what a single node raises.

    On a cluster what nobody heard goes to the other channel: its node may be away, or a replica has just taken over."""
    counts = await hot.run_each([("SPUBLISH", channel(process), data) for process, data in parts])
    if hot.one_node or faults.off("spare"):
        return counts
    missed = [at for at, count in enumerate(counts) if not count or isinstance(count, HotUnavailable)]
    if missed:
        others = await hot.run_each(
            [("SPUBLISH", spare_channel(parts[at][0]), parts[at][1]) for at in missed]
        )
        for at, count in zip(missed, others, strict=True):
            if isinstance(count, int) and count:
                counts[at] = count
    return counts


class Bus:
    """``send`` is fire and forget; ``subscribe(topic, handler)`` before :meth:`start`."""

    def __init__(self, url: str, process: str) -> None:
        self.process = process
        self._name = (
            process_name()
        )  # what the heartbeat says: which of the processes of a machine this one is
        self.names = {process}  # what this process keeps alive: itself, and what it writes as
        self.hot = open_hot(
            url, channel=channel(process), spare=spare_channel(process), on_message=self._received
        )
        self._handlers: dict[str, Callable[[Any], None]] = {}
        self._undelivered: dict[str, Callable[[Any], None]] = {}
        self._out: Batcher[tuple[str, str, Any]] = Batcher(self._publish, max_batch=2048)
        self._retries: set[asyncio.Task[None]] = set()
        self._late = 0  # bytes that wait to be published again
        self._heart: asyncio.Task[None] | None = None
        self._beaten = asyncio.Event()  # beat at once when the node is there

    def subscribe(self, topic: str, handler: Callable[[Any], None]) -> None:
        self._handlers[topic] = handler

    def on_undelivered(self, topic: str, handler: Callable[[Any], None]) -> None:
        """Hear of items of ``topic`` that nobody received, as far as the node can tell."""
        self._undelivered[topic] = handler

    async def start(self) -> None:
        self.hot.on_term.append(self._beaten.set)
        await self.hot.start()
        self._heart = asyncio.get_running_loop().create_task(self._beat())

    async def stop(self) -> None:
        if self._heart is not None:
            self._heart.cancel()
        for task in self._retries:
            task.cancel()
        try:
            await self.hot.run([("DEL", alive_key(name)) for name in self.names])
        except (HotUnavailable, hiredis.ReplyError):
            pass
        await self.hot.stop()

    def send(self, process: str, topic: str, payload: Any) -> None:
        """Hand an item to a process; to this one, at once."""
        if process == self.process:
            self._dispatch(topic, payload)
        else:
            self._out.add((process, topic, payload))

    async def _publish(self, items: list[tuple[str, str, Any]]) -> None:
        if faults.off("publish"):
            return
        by_process: dict[str, list[tuple[str, Any]]] = {}
        for process, topic, payload in items:
            by_process.setdefault(process, []).append((topic, payload))
        time = asyncio.get_running_loop().time
        started = time()
        flight: list[tuple[str, list[tuple[str, Any]], bytes]] = []
        size = 0
        for process, batch in by_process.items():
            for part, data in _cut(batch):
                if flight and size + len(data) > FLIGHT_BYTES:
                    await self._send(flight)
                    flight, size = [], 0
                flight.append((process, part, data))
                size += len(data)
        if await self._send(flight):
            metrics.PUBLISH.observe(time() - started, len(items))

    async def _send(self, flight: list[tuple[str, list[tuple[str, Any]], bytes]]) -> bool:
        """Publish what belongs together; False when the node did not take it."""
        answered, failed = True, []
        try:
            receivers = await publish(self.hot, [(process, data) for process, _, data in flight])
        except (HotUnavailable, hiredis.ReplyError):
            receivers, answered = [0] * len(flight), False
        for part, count in zip(flight, receivers, strict=True):
            _, batch, data = part
            if isinstance(count, HotUnavailable) and self._late + len(data) <= FLIGHT_BYTES:
                self._late += len(data)
                failed.append(part)
                continue
            if not count or isinstance(count, Exception):
                for topic, payload in batch:
                    handler = self._undelivered.get(topic)
                    if handler is not None:
                        handler(payload)
        if failed:
            task = asyncio.get_running_loop().create_task(self._send_late(failed))
            self._retries.add(task)
            task.add_done_callback(self._retries.discard)
        return answered

    async def _send_late(self, flight: list[tuple[str, list[tuple[str, Any]], bytes]]) -> None:
        """One node of several did not take these. Those who listen there may be back before this process is, and then nothing but
        the check of their sessions would find what was published in between. They need no order: ``seq`` has it."""
        size = sum(len(data) for _, _, data in flight)
        try:
            for delay in LATE_S:
                if faults.off("publish_late"):
                    break
                await asyncio.sleep(delay)
                receivers = await publish(self.hot, [(process, data) for process, _, data in flight])
                flight = [
                    part
                    for part, count in zip(flight, receivers, strict=True)
                    if isinstance(count, Exception)
                ]
                if not flight:
                    return
            for _, batch, _ in flight:
                for topic, payload in batch:
                    handler = self._undelivered.get(topic)
                    if handler is not None:
                        handler(payload)
        finally:
            self._late -= size

    def _received(self, data: bytes) -> None:
        try:
            items = _decode(data)
        except msgspec.DecodeError:
            log.warning("an item on the bus is not ours")
            return
        for topic, payload in items:
            self._dispatch(topic, payload)

    def _dispatch(self, topic: str, payload: Any) -> None:
        handler = self._handlers.get(topic)
        if handler is None:
            return
        try:
            handler(payload)
        except Exception:
            log.exception("the handler of %s failed", topic)

    async def shown(self, patience_s: float) -> bool:
        """Whether everybody can see that this process lives, by now or within ``patience_s``."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(patience_s):
                while not await self._show():
                    await asyncio.sleep(0.02)
                return True
        return False

    async def _show(self) -> bool:
        try:
            await self.hot.run(
                [("SET", alive_key(name), self._name, "PX", ALIVE_TTL_MS) for name in self.names]
            )
        except (HotUnavailable, hiredis.ReplyError):
            return False
        return True

    async def _beat(self) -> None:
        while True:
            await self._show()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(1.0):
                    await self._beaten.wait()
            self._beaten.clear()
