"""A group of ours whose members are all connected: what each of them gets, and when the last one has it.

A few members write at random times. Every member acknowledges what it has once a second, as clients that gather do: each
mark that fan-out writes is taken away again.
"""

from __future__ import annotations

import asyncio
import time
from typing import Any

from bench.frames import Batch, Codec, Error, Event, Frame, Key, Message, Ready, Status, SyncComplete
from bench.gatherings import Gathering
from bench.wsclient import WebSocket, connect

ACK_EVERY_S = 1.0


class Member:
    """One device."""

    __slots__ = ("_room", "_socket", "acked", "got", "live", "own", "seq", "seq_num", "token", "url")

    def __init__(self, room: Room, person: dict[str, str]) -> None:
        self._room = room
        self.url, self.token = person["url"], person["token"]
        self.live: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.seq = 0  # of the last message of somebody else
        self.acked = 0
        self.got = 0  # messages of others
        self.own = 0  # messages that got their ✓
        self.seq_num = 0
        self._socket: WebSocket | None = None

    async def connect(self) -> None:
        codec = self._room.codec
        self._socket = await connect(
            self.url,
            token=self.token,
            subprotocol=codec.subprotocol,
            text=codec.text,
            on_frame=self.on_frame,
            on_close=lambda code: self._room.problem("closed", str(code)),
        )
        await self.live

    def close(self) -> None:
        if self._socket is not None:
            self._socket.close()

    def send(self, data: bytes) -> None:
        assert self._socket is not None
        self._socket.send(data)

    def ack(self) -> None:
        if self.seq > self.acked:
            self.acked = self.seq
            self.send(self._room.codec.ack(self._room.group, self.seq))

    def on_frame(self, data: bytes) -> None:
        self.heard(self._room.codec.decode(data))

    def heard(self, frame: Frame) -> None:
        room = self._room
        kind = type(frame)
        if kind is Message:
            seq = frame.seq  # type: ignore[union-attr]
            if seq <= self.seq:
                room.problem("order", f"{seq} after {self.seq}")
            self.seq = seq
            self.got += 1
            room.received(frame.message_id)  # type: ignore[union-attr]
        elif kind is Status:
            if frame.status in ("sent", "queued"):  # type: ignore[union-attr]
                self.own += 1
                room.answered(self, frame.status)  # type: ignore[union-attr]
        elif kind is Ready:
            self.send(room.codec.sync())
        elif kind is Batch:
            self.seq = self.acked = frame.through  # type: ignore[union-attr]
            self.send(room.codec.ack(frame.conversation_id, frame.through))  # type: ignore[union-attr]
        elif kind is SyncComplete:
            if not self.live.done():
                self.live.set_result(None)
        elif kind is Error:
            room.problem(f"error {frame.code}", frame.message)  # type: ignore[union-attr]
        elif kind is not Event:
            room.problem("unexpected", kind.__name__)


class Room(Gathering):
    member = Member

    def __init__(
        self, codec: Codec, group: str, people: list[dict[str, str]], senders: int, content: bytes
    ) -> None:
        self.codec = codec
        self.group = codec.key(group)
        self._body = codec.body(content)
        self._acks: asyncio.Task[None] | None = None
        super().__init__([self.member(self, person) for person in people], senders)

    async def connect(self) -> None:
        await super().connect()
        self._acks = asyncio.get_running_loop().create_task(self._ack_for_ever())

    def post(self, member: Member) -> Key:
        key = self.codec.new_key()
        member.seq_num += 1
        member.send(self.codec.send(self.group, key, member.seq_num, int(time.time() * 1000), self._body))
        return key

    async def stop(self, timeout_s: float) -> dict[str, Any]:
        found = await super().stop(timeout_s)
        if self._acks is not None:
            self._acks.cancel()
        return found

    async def _ack_for_ever(self) -> None:
        """Spread over the second."""
        parts = 50
        while True:
            for part in range(parts):
                for member in self.members[part::parts]:
                    member.ack()
                await asyncio.sleep(ACK_EVERY_S / parts)
