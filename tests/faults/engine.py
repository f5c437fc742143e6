"""The engine inside the test: processes without sockets, on a real store (PostgreSQL, or Cassandra with ``--store cassandra``)
and Valkey, for interleavings that must be exact.

A :class:`Process` is a gateway's :class:`delivery.node.Node`; a :class:`Seat` is a device's session at it, whose frames are kept
instead of sent. See also :mod:`tests.support.wire` and :mod:`tests.faults.moments`.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Coroutine, Sequence
from hashlib import blake2b
from pathlib import Path
from typing import Any

import pytest

from delivery.drain import DrainRequest
from delivery.envelopes import Seal, pack
from delivery.lane_worker import LaneWorker
from delivery.lanes import SubmitLane
from delivery.node import Node
from delivery.ports import EnvelopeDevices, keyless
from delivery.session import Session, State
from delivery.store.interface import Store
from delivery.store.values import Appended, Send
from delivery.sweep import Sweep
from devtools.processes import Child
from devtools.valkey import ValkeyServer
from tests.contract.people import answered
from tests.gateway.phone import new_id
from tests.support.cassandra import copies_are_on, on_cassandra
from tests.support.patience import PATIENCE, until
from tests.support.wire import Wire
from whatsapp.infra import clock, hot_sync
from whatsapp.infra.bus import Bus
from whatsapp.infra.hot_cluster import ClusterHot
from whatsapp.infra.slots import is_cluster
from whatsapp.wire import frames
from whatsapp.wire.codec import JSON

HOUR_MS = 3_600_000

Message = (frames.Message, frames.Event)  # what has a seq
SubmitDrain = Callable[[DrainRequest], None]


def body_hash(body: bytes) -> bytes:
    return blake2b(body, digest_size=16).digest()


class Screen:
    """What a device was sent. Acks each message and batch in the next turn, as a client would, while ``acking``."""

    paused = False

    def __init__(self) -> None:
        self.frames: list[Any] = []
        self.closed = 0
        self.acking = True
        self.seat: Seat | None = None

    def write(self, data: bytes) -> None:
        frame = JSON.decode_server(data)
        self.frames.append(frame)
        if self.acking and self.seat is not None:
            if isinstance(frame, Message):
                asyncio.get_running_loop().call_soon(self.seat.ack, frame.conversation_id, frame.seq)
            elif isinstance(frame, frames.SyncBatch) and frame.events:
                asyncio.get_running_loop().call_soon(
                    self.seat.ack, frame.conversation_id, frame.events[-1].seq
                )

    def join(self, messages: Sequence[bytes]) -> object:
        return messages

    def write_joined(self, joined: Sequence[bytes]) -> None:
        for data in joined:
            self.write(data)

    def close(self, code: int, reason: str = "") -> None:
        self.closed = code


class Seat:
    """A session of a device at a process."""

    def __init__(self, process: Process, user: str, device: str) -> None:
        self.node = process.node
        self.screen = Screen()
        self.screen.seat = self
        self.session = Session(user, device, JSON, self.screen, clock.now_ms())

    async def open(self, sync: bool = True) -> Seat:
        await self.node.sessions.open(self.session)
        self.session.state = State.READY
        if sync:
            await self.sync()
        return self

    async def sync(self) -> None:
        self.ask()
        await until(lambda: self.session.state is State.LIVE, "the sync ends")

    def ask(self, have: dict[str, int] | None = None, ref: str = "", *, limit: int = 100) -> None:
        """Ask for a sync; its end is a ``sync_complete`` among the frames."""
        self.node.sync.start(self.session, have or {}, limit, 0, ref)

    def completed(self) -> list[str]:
        """The refs of the syncs that ended."""
        return [frame.ref for frame in self.screen.frames if isinstance(frame, frames.SyncComplete)]

    def leave(self) -> None:
        self.node.sessions.closed(self.session)

    def ack(self, conversation: str, seq: int) -> None:
        self.node.sync.ack(self.session, {conversation: seq})

    def send(
        self,
        conversation: str,
        text: str = "hello",
        *,
        message_id: str = "",
        seq_num: int = 0,
        seal: Seal | None = None,
    ) -> str:
        """Submit a message; its answer comes among the frames."""
        body, message_id = text.encode(), message_id or new_id()
        send = Send(
            conversation,
            self.session.user,
            self.session.device,
            message_id,
            "text",
            body,
            body_hash(body),
            1,
            seq_num,
            envelopes=pack(seal.envelopes) if seal is not None else None,
        )
        self.node.log.submit(self.session, send, "", 0.0, seal=seal)
        return message_id

    async def answer(self, message_id: str, count: int = 1) -> Any:
        """The ``count``-th answer to a message: a ``status_update`` or an ``error``."""

        def answers() -> list[Any]:
            kinds = (frames.StatusUpdate, frames.Error)
            return [f for f in self.screen.frames if isinstance(f, kinds) and f.message_id == message_id]

        await until(lambda: len(answers()) >= count, f"answer {count} to {message_id}")
        return answers()[count - 1]

    async def say(self, conversation: str, text: str = "hello", **fields: Any) -> int:
        """Send and wait for ✓; the seq."""
        answer = await self.answer(self.send(conversation, text, **fields))
        assert isinstance(answer, frames.StatusUpdate), answer
        assert answer.seq, answer
        return answer.seq

    def seqs(self, conversation: str) -> list[int]:
        """What arrived, in the order of arrival, live and in batches."""
        found: list[int] = []
        for frame in self.screen.frames:
            if isinstance(frame, Message) and frame.conversation_id == conversation:
                found.append(frame.seq)
            elif isinstance(frame, frames.SyncBatch) and frame.conversation_id == conversation:
                found += [event.seq for event in frame.events]
        return found

    def told(self, status: str) -> set[tuple[str, int | None]]:
        """The receipts that arrived: (conversation, up to)."""
        updates = [f for f in self.screen.frames if isinstance(f, frames.StatusUpdate) and f.status == status]
        return {(update.conversation_id, update.up_to) for update in updates}

    async def has(self, conversation: str, seqs: Sequence[int], timeout: float = PATIENCE) -> None:
        """Until exactly these arrived, in this order."""
        with contextlib.suppress(AssertionError):
            await until(lambda: len(self.seqs(conversation)) >= len(seqs), "it arrives", timeout)
        assert self.seqs(conversation) == list(seqs), f"got {self.seqs(conversation)}, not {list(seqs)}"


class Process:
    """One gateway process, or what is like one."""

    def __init__(
        self,
        store: Store,
        hot_url: str,
        submit_drain: SubmitDrain | None = None,
        submit_lane: SubmitLane | None = None,
        envelope_devices: EnvelopeDevices = keyless,
        name: str = "",
    ) -> None:
        self.store = store
        self.node = Node(
            process=name or new_id(),
            store=self.store,
            hot_url=hot_url,
            identify=_everybody,
            submit_drain=submit_drain,
            submit_lane=submit_lane,
            envelope_devices=envelope_devices,
        )
        self.hot = self.node.bus.hot

    async def start(self) -> Process:
        await self.node.start()
        await until(lambda: self.hot.available, "the hot node is there")
        if isinstance(self.hot, ClusterHot):
            # Who hears by the spare channel first begins anew once it hears by its own, and opens its sessions again.
            await until(self._hears_well, "it hears by its own channel")
        # A writer begins by asking for its rows; its watermark counts from then on.
        await until(lambda: not self.node.fanout.progress._broken, "its progress counts")
        return self

    def _hears_well(self) -> bool:
        hot = self.hot
        assert isinstance(hot, ClusterHot)
        own = hot._ears[0]
        place = hot.table.owners[own.slot]
        node = hot._nodes.get(place) if place is not None else None
        return hot._hears is own or node is None or not node.answers

    async def stop(self) -> None:
        await self.node.stop()

    async def seat(self, user: str, device: str, **options: Any) -> Seat:
        return await Seat(self, user, device).open(**options)

    async def dirty(self, user: str, device: str) -> dict[str, int]:
        return await self.node.inbox.dirty(user, device)

    async def saved(self) -> None:
        """Acks and receipts are durable, and their marks gone."""
        await self.node.receipts.flush()


class Worker:
    """The lanes of one worker process; :meth:`submit` stands for the broker between it and the gateways."""

    def __init__(self, store: Store, hot_url: str) -> None:
        self.bus = Bus(hot_url, new_id())
        self.lanes = LaneWorker(store, self.bus)
        self.submitted: list[tuple[int, str]] = []
        self.tasks: set[asyncio.Task[Any]] = set()

    def submit(self, lane: int, token: str) -> None:
        self.submitted.append((lane, token))
        self.start(self.lanes.run(lane, token))

    def start(self, work: Coroutine[Any, Any, Any]) -> None:
        self.tasks.add(asyncio.get_running_loop().create_task(work))

    def die(self) -> None:
        """Its tasks end where they are, nothing is given back, and nobody listens at its channel."""
        for task in self.tasks:
            task.cancel()
        self.tasks.clear()
        self.bus.hot.on_term.clear()

    async def stop(self) -> None:
        self.die()
        await self.bus.stop()


async def _everybody(sessions: Sequence[tuple[str, str, int]]) -> list[str]:
    return ["ok"] * len(sessions)


class World:
    """A log and a hot node of a test alone; processes on them, people in them. ``log``: the harness of its store (see
    :mod:`tests.contract.harness`), for what a store is not asked for."""

    def __init__(self, log: Any, hot_url: str) -> None:
        self.log = log
        self.hot_url = hot_url
        self.redis: Any = hot_sync.client(hot_url)
        self._closing = contextlib.AsyncExitStack()

    async def __aenter__(self) -> World:
        if on_cassandra() and copies_are_on():
            await self.log.use_copies(self.hot_url)
        self.store: Store = await self.log.process()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._closing.aclose()

    async def process(
        self,
        *,
        through: Wire | None = None,
        hot_url: str = "",
        submit_drain: SubmitDrain | None = None,
        submit_lane: SubmitLane | None = None,
        envelope_devices: EnvelopeDevices = keyless,
        name: str = "",
    ) -> Process:
        """``through``: what stands between the process and the store's server (:meth:`log_wire`)."""
        process = Process(
            await self.log.process(through, hot_url),
            hot_url or self.hot_url,
            submit_drain,
            submit_lane,
            envelope_devices,
            name,
        )
        await process.start()
        self._closing.push_async_callback(process.stop)
        return process

    async def lane_worker(self, *, hot_url: str = "") -> Worker:
        """What a worker has for lanes; it takes them when it is told to."""
        worker = Worker(self.store, hot_url or self.hot_url)
        await worker.bus.start()
        self._closing.push_async_callback(worker.stop)
        await until(lambda: worker.bus.hot.available, "the hot node is there")
        return worker

    async def sweep(self) -> Sweep:
        """A sweep that works when the test calls ``once()``."""
        sweep = Sweep(self.store, self.hot_url)
        await sweep.bus.start()
        self._closing.push_async_callback(sweep.bus.stop)
        await until(lambda: sweep.bus.hot.available, "the hot node is there")
        self.redis.delete("{sweep}:lease")  # that of a sweep which is gone
        return sweep

    async def wire(self, url: str) -> Wire:
        if is_cluster(url):
            pytest.skip("it is about the connection to one node")
        wire = await Wire(url).start()
        self._closing.push_async_callback(wire.stop)
        return wire

    async def log_wire(self) -> Wire:
        """For a process that is cut off from the store's server."""
        wire: Wire = await self.log.wire()
        self._closing.push_async_callback(wire.stop)
        return wire

    async def person(self) -> tuple[str, str]:
        """(user, device), the device an hour old: a younger one rebuilds its dirty set at each opening."""
        user, device = new_id(), new_id()
        await answered(lambda: self.store.link_device(user, device, clock.now_ms() - HOUR_MS))
        return user, device

    async def direct(self, a: str, b: str) -> str:
        return await answered(lambda: self.store.ensure_direct(a, b, new_id(), clock.now_ms()))

    async def group(self, *intervals: tuple[str, int, int]) -> str:
        """A group with these (user, joined, left)."""
        conversation: str = await answered(lambda: self.log.group(created_at=1))
        for user, joined, left in intervals:
            await self.log.join(conversation, user, joined)
            if left:
                await self.log.leave(conversation, user, left)
        return conversation

    async def append(
        self, conversation: str, user: str, device: str, writer: str, text: str = "x"
    ) -> Appended:
        """Stored by a process that then is gone: durable, and nobody was told."""
        body = text.encode()
        send = Send(conversation, user, device, new_id(), "text", body, body_hash(body), 1)
        return (await self.store.append(writer, [send], clock.now_ms())).results[0]

    def held(self, conversation: str) -> contextlib.AbstractAsyncContextManager[None]:
        """Something else holds the conversation: appends to it wait."""
        held: contextlib.AbstractAsyncContextManager[None] = self.log.held(conversation)
        return held

    async def waiting(self, count: int = 1) -> None:
        """Until so many appends wait for :meth:`held`."""
        await self.log.waiting(count)


async def saved(world: World, process: Process) -> bool:
    """Whether the durable watermark of a writer stands at its newest row."""
    row, done = await world.log.newest(process.node.fanout.progress.writer)
    return row is not None and row == done


@contextlib.contextmanager
def valkey(folder: Path, port: int) -> Any:
    """A Valkey of a test alone; its URL."""
    server = ValkeyServer(folder, password="secret", log=folder.with_suffix(".log"), port=port)
    child: Child = server.start()
    try:
        yield server.url()
    finally:
        child.kill()
