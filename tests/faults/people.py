"""Devices that behave as clients do, and write down what happens to them (:mod:`tests.faults.history`).

A :class:`Device` acks what it got, sends again with the same messageId until it has a ✓, and comes back when its socket ends,
at the gateway it is told or the next one. It never asks for a hole: the gateway must keep the order by itself.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any

from websockets.exceptions import ConnectionClosed, InvalidHandshake

from tests.faults.history import History, Seen, Sent
from tests.gateway.peer import Peer
from tests.gateway.phone import Phone, new_id
from tests.support.patience import PATIENCE, until
from whatsapp.wire import frames
from whatsapp.wire.codec import JSON, PROTOBUF
from whatsapp.wire.errors import RETRYABLE

AGAIN_S = 0.05


class Device:
    """One device. ``urls``: where it connects, in turn. ``codec`` alternates over devices, so that both are used."""

    _count = 0

    def __init__(self, history: History, phone: Phone, urls: list[str]) -> None:
        self.history = history
        self.phone = phone
        self.urls = urls
        self.seen: Seen = history.device(phone.user, phone.device)
        self.peer: Peer | None = None
        self.ready: frames.Ready | None = None
        self.acking = True
        self.unacked: list[tuple[str, int]] = []
        self.answers: list[Any] = []  # every answer to a send
        self.closes: list[int] = []
        self.synced = asyncio.Event()
        Device._count += 1
        self._codec = (JSON, PROTOBUF)[Device._count % 2]
        self._pump: asyncio.Task[None] | None = None

    @property
    def id(self) -> str:
        return self.phone.device

    @property
    def got(self) -> int:
        """How many messages it has."""
        return len(self.seen.ids)

    # coming and going

    async def connect(self, url: str = "", *, timeout: float = PATIENCE) -> None:
        """Open a socket, at ``url`` or the next of its addresses, until one opens; ask for the backlog."""
        async with asyncio.timeout(timeout):
            while True:
                try:
                    peer = await Peer.open(url or self.urls[0], self.phone, self._codec, sync=False)
                    self.synced.clear()
                    await peer.send(frames.Sync())
                    break
                except (OSError, ConnectionClosed, InvalidHandshake, AssertionError):
                    if not url:
                        self.urls.append(self.urls.pop(0))
                    await asyncio.sleep(AGAIN_S)
        self.peer, self.ready = peer, peer.ready
        self._pump = asyncio.create_task(self._take(peer))

    async def online(self, url: str = "", *, timeout: float = PATIENCE) -> Device:
        """Connect and read the backlog to its end, over as many sockets as it takes."""
        async with asyncio.timeout(timeout):
            while True:
                await self.connect(url, timeout=timeout)
                await until(lambda: self.synced.is_set() or not self.alive, "the backlog is read", timeout)
                if self.synced.is_set():
                    return self

    async def leave(self) -> None:
        """Close the socket in order."""
        if self.peer is not None:
            await self.peer.close()
        await self._end()

    async def cut(self) -> None:
        """The network goes away."""
        if self.peer is not None:
            self.peer.cut()
        await self._end()

    async def _end(self) -> None:
        if self._pump is not None:
            self._pump.cancel()
            with contextlib.suppress(asyncio.CancelledError, Exception):
                await self._pump
        self.peer = None

    @property
    def alive(self) -> bool:
        """Its socket is open."""
        return self.peer is not None and not self.peer.is_closed

    # sending

    async def say(self, conversation: str, text: str, *, timeout: float = PATIENCE, **fields: Any) -> Sent:
        """Send until there is a ✓, over whatever socket there is."""
        sent = self.prepare(conversation, text)
        async with asyncio.timeout(timeout):
            while not await self.attempt(sent, **fields):
                if not self.alive:
                    await self.connect(timeout=timeout)
                await asyncio.sleep(AGAIN_S)
        return sent

    def prepare(self, conversation: str, text: str) -> Sent:
        return self.history.sending(
            Sent(conversation, self.phone.user, self.phone.device, new_id(), text.encode())
        )

    async def attempt(self, sent: Sent, timeout: float = PATIENCE / 3, **fields: Any) -> bool:
        """Send once; True with a ✓. An error that is not retryable fails the test."""
        if not self.alive:
            return False
        assert self.peer is not None
        sent.attempts += 1
        try:
            message = self.peer.message(sent.conversation, sent.content, message_id=sent.message_id, **fields)
            answer = await self.peer.ask(message, timeout)
        except (ConnectionClosed, AssertionError):
            return False
        self.answers.append(answer)
        if isinstance(answer, frames.StatusUpdate):
            self.history.confirmed(sent, answer)
            return True
        assert answer.code in RETRYABLE, answer
        return False

    # receiving

    async def _take(self, peer: Peer) -> None:
        kinds = (frames.Message, frames.SyncBatch, frames.SyncComplete, frames.StatusUpdate)
        while True:
            try:
                frame = await peer.take(lambda f: isinstance(f, kinds) and not f.ref, "", 3600)
            except AssertionError:  # the socket ended
                self.closes.append(peer.socket.close_code or 1006)
                return
            if isinstance(frame, frames.Message):
                self.history.received(self.id, frame)
                await self._ack(peer, frame.conversation_id, frame.seq)
            elif isinstance(frame, frames.SyncBatch):
                for event in frame.events:
                    if isinstance(event, frames.Message):  # not a change of members
                        self.history.received(self.id, event)
                if frame.events:
                    await self._ack(peer, frame.conversation_id, frame.events[-1].seq)
            elif isinstance(frame, frames.SyncComplete):
                self.synced.set()
            elif frame.status in ("delivered", "read"):
                self.history.receipt(frame)

    async def _ack(self, peer: Peer, conversation: str, seq: int) -> None:
        if not self.acking:
            self.unacked.append((conversation, seq))
            return
        self.history.acking(self.id, conversation, seq)
        with contextlib.suppress(ConnectionClosed):
            await peer.ack(conversation, seq)

    async def ack_all(self) -> None:
        """Begin to ack again, with what was withheld."""
        self.acking = True
        waiting, self.unacked = self.unacked, []
        assert self.peer is not None
        for conversation, seq in waiting:
            await self._ack(self.peer, conversation, seq)
