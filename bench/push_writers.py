"""People who write to others that are away, and when each message got its ✓."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Sequence
from typing import Final

from bench.frames import Batch, Codec, Error, Key, Ready, Status, SyncComplete
from bench.wsclient import WebSocket, connect

#: (place of the writer, conversation).
Places = list[tuple[int, str]]

_CONNECT_S: Final = 20.0


class Writer:
    """One connected device. ``sent``: by message when its ✓ came, seconds of ``time.perf_counter``."""

    def __init__(self, codec: Codec, person: dict[str, str], url: str, content: bytes) -> None:
        self._codec, self._person, self._url = codec, person, url
        self._body = codec.body(content)
        self._seq_nums: Counter[Key] = Counter()
        self._socket: WebSocket | None = None
        self._live: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting: dict[Key, asyncio.Future[float]] = {}
        self.problems: Counter[str] = Counter()

    async def connect(self) -> None:
        async with asyncio.timeout(_CONNECT_S):
            self._socket = await connect(
                self._url, token=self._person["token"], subprotocol=self._codec.subprotocol, text=self._codec.text,
                on_frame=self._on_frame, on_close=self._on_close,
            )  # fmt: skip
            await self._live

    def close(self) -> None:
        if self._socket is not None:
            self._socket.close()

    def write(self, conversation: str) -> asyncio.Future[float]:
        """Send one message; the time of its ✓."""
        assert self._socket is not None
        key = self._codec.key(conversation)
        self._seq_nums[key] += 1
        message = self._codec.new_key()
        future = self._waiting[message] = asyncio.get_running_loop().create_future()
        self._socket.send(
            self._codec.send(key, message, self._seq_nums[key], int(time.time() * 1000), self._body)
        )
        return future

    def _on_frame(self, data: bytes) -> None:
        frame = self._codec.decode(data)
        if isinstance(frame, Status):
            waiting = self._waiting.pop(frame.message_id, None) if frame.status == "sent" else None
            if waiting is not None:
                waiting.set_result(time.perf_counter())
        elif isinstance(frame, Ready):
            assert self._socket is not None
            self._socket.send(self._codec.sync())
        elif isinstance(frame, Batch):  # that it was added to the group
            assert self._socket is not None
            self._socket.send(self._codec.ack(frame.conversation_id, frame.through))
        elif isinstance(frame, SyncComplete):
            if not self._live.done():
                self._live.set_result(None)
        elif isinstance(frame, Error):
            self.problems[f"error_{frame.code}"] += 1

    def _on_close(self, code: int) -> None:
        self.problems[f"closed_{code}"] += 1


async def write_at_rate(
    writers: Sequence[Writer], to: Places, per_second: float, timeout_s: float
) -> list[float]:
    """One message into each, so many a second; the times of their ✓, in that order."""
    began, waiting = time.perf_counter(), []
    for number, (place, conversation) in enumerate(to):
        due = began + number / per_second
        if (early := due - time.perf_counter()) > 0:
            await asyncio.sleep(early)
        waiting.append(writers[place].write(conversation))
    async with asyncio.timeout(timeout_s):
        return list(await asyncio.gather(*waiting))


async def write_at_once(
    writers: Sequence[Writer], to: Places, in_flight: int, timeout_s: float
) -> list[float]:
    """The same as fast as it goes, with so many that have no ✓ yet."""
    room = asyncio.Semaphore(in_flight)

    async def one(place: int, conversation: str) -> float:
        async with room:
            return await writers[place].write(conversation)

    async with asyncio.timeout(timeout_s):
        return list(await asyncio.gather(*(one(*each) for each in to)))


async def connected(
    codec: Codec, people: Sequence[dict[str, str]], urls: Sequence[str], content: bytes
) -> list[Writer]:
    writers = [Writer(codec, person, url, content) for person, url in zip(people, urls, strict=True)]
    await asyncio.gather(*(writer.connect() for writer in writers))
    return writers
