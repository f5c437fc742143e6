"""Pairs of people who chat: the lives of their messages, and whether each was what the contract promises.

A life: ``send_message`` → ✓ sent → the other person's device gets ``message`` → its ``ack`` (delivered) and, 20 ms later, its
``status_update read`` → both come back to the sender. It counts when all of that has happened.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from typing import Any

from bench.couples import READ_AFTER_S, Couples, Life, Tally
from bench.frames import Codec, Error, Frame, Key, Message, Ready, Status, SyncComplete
from bench.wsclient import WebSocket, connect


class Peer:
    """One device: sends to its partner and answers what comes."""

    #: What a life is made of: ✓, delivered, read.
    parts = 3

    def __init__(
        self, codec: Codec, tally: Tally, person: dict[str, str], conversation: str, content: bytes
    ) -> None:
        self.codec = codec
        self.tally = tally
        self.url, self.token = person["url"], person["token"]
        self.user = codec.key(person["user"])
        self.conversation = codec.key(conversation)
        self.body = codec.body(content)
        self.partner: Peer = self
        self.again = False  # begin a new life when one is complete
        self.live: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.lives: dict[Key, Life] = {}
        self.undelivered: deque[Life] = deque()
        self.unread: deque[Life] = deque()
        self.seen = bytearray(1024)  # by seq
        self._socket: WebSocket | None = None
        self._seq_num = 0
        self._foreign = self._own = 0  # highest seq of the partner's and of own messages
        self._delivered_to = self._read_to = 0

    async def connect(self) -> None:
        """Until this device is live."""
        self._socket = await connect(
            self.url,
            token=self.token,
            subprotocol=self.codec.subprotocol,
            text=self.codec.text,
            on_frame=self.on_frame,
            on_close=self.on_close,
        )
        await self.live

    def close(self) -> None:
        if self._socket is not None:
            self._socket.close()

    def begin(self, at: float) -> None:
        """Send a message; ``at`` is when its life began (for an open rate: when it was due)."""
        assert self._socket is not None
        self._seq_num += 1
        life = Life(self.codec.new_key(), self._seq_num, at)
        life.missing = self.parts
        self.lives[life.key] = life
        self.undelivered.append(life)
        self.unread.append(life)
        self.tally.started += 1
        self._socket.send(
            self.codec.send(self.conversation, life.key, life.seq_num, int(time.time() * 1000), self.body)
        )

    # what comes

    def on_close(self, code: int) -> None:
        self.tally.problem("closed", str(code))
        if not self.live.done():
            self.live.set_exception(ConnectionError(f"the server closed a socket with {code}"))

    def on_frame(self, data: bytes) -> None:
        frame: Frame = self.codec.decode(data)
        kind = type(frame)
        if kind is Message:
            self._message(frame)  # type: ignore[arg-type]
        elif kind is Status:
            self._status(frame)  # type: ignore[arg-type]
        elif kind is Ready:
            assert self._socket is not None
            self._socket.send(self.codec.sync())
        elif kind is SyncComplete:
            if not self.live.done():
                self.live.set_result(None)
        elif kind is Error:
            self.tally.problem(f"error {frame.code}", frame.message)  # type: ignore[union-attr]
        else:
            self.tally.problem("unexpected", kind.__name__)

    def _message(self, message: Message) -> None:
        now = time.perf_counter()
        life = self.partner.lives.get(message.message_id)
        seq = message.seq
        if life is None or life.received:
            self.tally.problem("duplicate_or_unknown_message", f"seq {seq}")
            return
        life.received = now
        if (
            message.conversation_id != self.conversation
            or message.sender_id != self.partner.user
            or message.seq_num != life.seq_num
            or message.encrypted_content != self.partner.body
        ):
            self.tally.problem("altered_message", f"seq {seq}")
        if seq <= self._foreign:
            self.tally.problem("order_received", f"{seq} after {self._foreign}")
        self._foreign = seq
        self._see(seq)
        self._reply(seq)

    def _reply(self, seq: int) -> None:
        assert self._socket is not None
        self._socket.send(self.codec.ack(self.conversation, seq))
        asyncio.get_running_loop().call_later(READ_AFTER_S, self._read, seq)

    def _read(self, seq: int) -> None:
        assert self._socket is not None
        self._socket.send(self.codec.read(self.conversation, seq))

    def _status(self, update: Status) -> None:
        now = time.perf_counter()
        if update.conversation_id != self.conversation:
            self.tally.problem("foreign_status")
        elif update.status == "sent":
            life = self.lives.get(update.message_id)
            if life is None or life.seq or update.duplicate:
                self.tally.problem("duplicate_or_unknown_sent", f"seq {update.seq}")
                return
            life.seq, life.sent = update.seq, now
            if life.seq <= self._own:
                self.tally.problem("order_sent", f"{life.seq} after {self._own}")
            self._own = life.seq
            self._see(life.seq)
            self._step(life, now)
        elif update.status == "delivered":
            self._delivered_to = max(self._delivered_to, update.up_to)
        elif update.status == "read":
            self._read_to = max(self._read_to, update.up_to)
        else:
            self.tally.problem(f"status {update.status}")
        if update.up_to:
            self.tally.receipt_frames += 1
        # A receipt covers everything up to its seq, once that message has its ✓.
        waiting = self.undelivered
        while waiting and waiting[0].seq and waiting[0].seq <= self._delivered_to:
            life = waiting.popleft()
            life.delivered = now
            self._step(life, now)
        waiting = self.unread
        while waiting and waiting[0].seq and waiting[0].seq <= self._read_to:
            self._step(waiting.popleft(), now)

    def _step(self, life: Life, now: float) -> None:
        life.missing -= 1
        if not life.missing:
            del self.lives[life.key]
            self.tally.complete(life, now if self.parts == Peer.parts else 0.0)
            if self.again:
                self.begin(time.perf_counter())

    def _see(self, seq: int) -> None:
        if seq >= len(self.seen):
            self.seen.extend(bytes(seq + len(self.seen)))
        if self.seen[seq]:
            self.tally.problem("seq_twice", str(seq))
        self.seen[seq] = 1


class Pairs(Couples):
    """All pairs of this process, and what each pair must agree on."""

    def __init__(
        self, codec: Codec, pairs: list[dict[str, Any]], content: bytes, tally: Tally | None = None,
        kind: type[Peer] = Peer,
    ) -> None:  # fmt: skip
        self.peers: list[Peer] = []
        self._conversations: list[tuple[Peer, Peer]] = []
        tally = tally or Tally()
        for pair in pairs:
            a, b = (kind(codec, tally, pair[side], pair["conversation"], content) for side in ("a", "b"))
            a.partner, b.partner = b, a
            self.peers += (a, b)
            self._conversations.append((a, b))
        super().__init__(self.peers, tally)

    def check(self) -> None:
        """When nothing is under way: both devices of each pair saw the same seqs, all from 1 on."""
        for a, b in self._conversations:
            heads = [peer.seen.rfind(1) for peer in (a, b)]
            if heads[0] != heads[1]:
                self.tally.problem("heads_differ", f"{heads[0]} and {heads[1]}")
            for peer, head in zip((a, b), heads, strict=True):
                if head > 0 and (hole := peer.seen.find(0, 1, head)) >= 0:
                    self.tally.problem("hole", f"seq {hole} of {head}")
