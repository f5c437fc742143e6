"""A backlog: senders fill the log of a device that is away, then it comes back and reads."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from typing import Any

from bench.frames import Batch, Codec, Error, Frame, Key, Ready, Status, SyncComplete
from bench.wsclient import WebSocket, connect

_WINDOW = 50  # sends without ✓, per sender


class Sender:
    """Writes ``count`` messages to one conversation, a window of them unanswered."""

    def __init__(
        self, codec: Codec, person: dict[str, str], conversation: str, content: bytes, count: int
    ) -> None:
        self._codec = codec
        self._person = person
        self._conversation = codec.key(conversation)
        self._body = codec.body(content)
        self._left = count
        self._unanswered = self._seq_num = 0
        self._socket: WebSocket | None = None
        self._done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def run(self) -> None:
        codec, person = self._codec, self._person
        self._socket = await connect(
            person["url"], token=person["token"], subprotocol=codec.subprotocol, text=codec.text,
            on_frame=self._on_frame, on_close=lambda code: self._fail(f"closed {code}"),
        )  # fmt: skip
        await self._done
        self._socket.close()

    def _on_frame(self, data: bytes) -> None:
        frame = self._codec.decode(data)
        if isinstance(frame, Ready):
            while self._left and self._unanswered < _WINDOW:
                self._send()
        elif isinstance(frame, Status) and frame.status == "sent":
            self._unanswered -= 1
            if self._left:
                self._send()
            elif not self._unanswered and not self._done.done():
                self._done.set_result(None)
        else:
            self._fail(f"a sender got {frame}")

    def _send(self) -> None:
        assert self._socket is not None
        self._left -= 1
        self._unanswered += 1
        self._seq_num += 1
        now = int(time.time() * 1000)
        self._socket.send(
            self._codec.send(self._conversation, self._codec.new_key(), self._seq_num, now, self._body)
        )

    def _fail(self, reason: str) -> None:
        if not self._done.done():
            self._done.set_exception(ConnectionError(reason))


class Reader:
    """The device that was away: acknowledges each batch at once, and checks that nothing is missing, twice or out of order."""

    def __init__(self, codec: Codec, person: dict[str, str]) -> None:
        self._codec = codec
        self._person = person
        self._socket: WebSocket | None = None
        self._done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._last: dict[Key, int] = {}
        self._events = self._batches = 0
        self._remaining = 1 << 53
        self._problems: Counter[str] = Counter()
        self._at: dict[str, float] = {}

    async def run(self) -> dict[str, Any]:
        """Times in ms from the ``sync`` (``ready``: from the connect)."""
        codec, person = self._codec, self._person
        start = time.perf_counter()
        self._socket = await connect(
            person["url"], token=person["token"], subprotocol=codec.subprotocol, text=codec.text,
            on_frame=self._on_frame, on_close=lambda code: self._fail(f"closed {code}"),
        )  # fmt: skip
        await self._done
        self._socket.close()
        synced = self._at["sync"]
        return {
            "ready_ms": (synced - start) * 1000,
            **{
                f"{name}_ms": (self._at[name] - synced) * 1000
                for name in ("first_batch", "last_ack", "complete")
                if name in self._at
            },
            "events": self._events,
            "batches": self._batches,
            "conversations": len(self._last),
            "problems": dict(self._problems),
        }

    def _on_frame(self, data: bytes) -> None:
        now = time.perf_counter()
        frame: Frame = self._codec.decode(data)
        assert self._socket is not None
        if isinstance(frame, Batch):
            self._at.setdefault("first_batch", now)
            self._batches += 1
            self._check(frame)
            if frame.events:
                self._socket.send(self._codec.ack(frame.conversation_id, frame.events[-1].seq))
                self._at["last_ack"] = time.perf_counter()
        elif isinstance(frame, Ready):
            self._at["sync"] = time.perf_counter()
            self._socket.send(self._codec.sync())
        elif isinstance(frame, SyncComplete):
            self._at["complete"] = now
            self._done.set_result(None)
        elif isinstance(frame, Error):
            self._fail(f"{frame.code}: {frame.message}")
        else:
            self._problems[f"got {type(frame).__name__}"] += 1

    def _check(self, batch: Batch) -> None:
        if len(batch.events) > 100:
            self._problems["long_batch"] += 1
        if batch.remaining > self._remaining:
            self._problems["remaining_grew"] += 1
        self._remaining = batch.remaining
        last = self._last.get(batch.conversation_id, 0)
        for event in batch.events:
            self._events += 1
            if event.seq != last + 1:  # only messages were written, all of them owed
                self._problems["order"] += 1
            last = event.seq
        self._last[batch.conversation_id] = last

    def _fail(self, reason: str) -> None:
        if not self._done.done():
            self._done.set_exception(ConnectionError(reason))
