"""A group whose members are all connected: what each of them gets, and when the last one has it.

A few members write at random times. Every member acknowledges what it has once a second, as clients that gather do: each
mark that fan-out writes is taken away again.
"""

from __future__ import annotations

import asyncio
import random
import time
from array import array
from collections import Counter
from typing import Any

from bench.frames import Batch, Codec, Error, Event, Frame, Key, Message, Ready, Status, SyncComplete
from bench.wsclient import WebSocket, connect

ACK_EVERY_S = 1.0
CONNECTS_AT_ONCE = 50
_KEPT_PROBLEMS = 20


class Sent:
    """One message on its way to everybody else."""

    __slots__ = ("began", "missing")

    def __init__(self, began: float, missing: int) -> None:
        self.began = began
        self.missing = missing


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


class Room:
    member = Member

    def __init__(
        self, codec: Codec, group: str, people: list[dict[str, str]], senders: int, content: bytes
    ) -> None:
        self.codec = codec
        self.group = codec.key(group)
        self.members = [self.member(self, person) for person in people]
        self._senders = self.members[:senders]
        self._body = codec.body(content)
        self._under_way: dict[Key, Sent] = {}
        self._tasks: list[asyncio.Task[None]] = []
        self.begun = self.deliveries = self.complete = 0
        self.statuses: Counter[str] = Counter()
        self._each = array("I")  # µs to one member, of one delivery in sixteen
        self._last = array("I")  # µs to the last member
        self.problems: Counter[str] = Counter()
        self.examples: list[str] = []

    async def connect(self) -> None:
        gate = asyncio.Semaphore(CONNECTS_AT_ONCE)

        async def one(member: Member) -> None:
            async with gate:
                await member.connect()

        await asyncio.gather(*map(one, self.members))
        self._tasks.append(asyncio.get_running_loop().create_task(self._ack_for_ever()))

    def open_rate(self, per_second: float, seed: int) -> None:
        """Begin messages at random (exponential gaps) whatever becomes of the earlier ones."""
        self._tasks.append(
            asyncio.get_running_loop().create_task(self._open_rate(per_second, random.Random(seed)))
        )

    def received(self, message_id: Key) -> None:
        self.deliveries += 1
        sent = self._under_way.get(message_id)
        if sent is None:
            self.problem("duplicate_or_unknown_message")
            return
        sent.missing -= 1
        if not sent.missing:
            self.complete += 1
            self.completed(sent, time.perf_counter())
            del self._under_way[message_id]
        elif not self.deliveries % 16:
            self._each.append(max(0, int((time.perf_counter() - sent.began) * 1e6)))

    def completed(self, sent: Sent, now: float) -> None:
        """Everybody has it."""
        self._last.append(max(0, int((now - sent.began) * 1e6)))

    def answered(self, member: Member, status: str) -> None:
        """A message of this member is stored."""
        del member  # for rooms that write again then
        self.statuses[status] += 1

    def problem(self, kind: str, text: str = "") -> None:
        self.problems[kind] += 1
        if len(self.examples) < _KEPT_PROBLEMS:
            self.examples.append(f"{kind}: {text}" if text else kind)

    def mark(self) -> dict[str, Any]:
        each, self._each = self._each, array("I")
        last, self._last = self._last, array("I")
        return {
            "begun": self.begun,
            "deliveries": self.deliveries,
            "queued": self.statuses["queued"],
            "latency_us": {"each": each.tolist(), "last": last.tolist()},
        }

    async def stop(self, timeout_s: float) -> dict[str, Any]:
        """Begin no more and wait for what is under way."""
        for task in self._tasks[1:]:
            task.cancel()
        deadline = time.monotonic() + timeout_s
        while self._under_way and time.monotonic() < deadline:
            await asyncio.sleep(0.02)
        lost = sum(sent.missing for sent in self._under_way.values())
        stored = sum(member.own for member in self.members)
        for member in self.members:
            if not lost and member.got + member.own != stored:
                self.problem("count_differs", f"{member.got} and {member.own} of {stored}")
        self._tasks[0].cancel()
        return {
            "begun": self.begun,
            "lost": lost,
            "problems": dict(self.problems),
            "examples": self.examples,
        }

    def close(self) -> None:
        for member in self.members:
            member.close()

    async def _open_rate(self, per_second: float, chance: random.Random) -> None:
        due = time.perf_counter()
        while True:
            now = time.perf_counter()
            while due <= now:
                # From when it was due: a late generator must not hide a wait.
                self._begin(chance.choice(self._senders), due)
                due += chance.expovariate(per_second)
            await asyncio.sleep(due - now)

    def _begin(self, member: Member, at: float) -> None:
        key = self.codec.new_key()
        member.seq_num += 1
        self._under_way[key] = Sent(at, len(self.members) - 1)
        self.begun += 1
        member.send(self.codec.send(self.group, key, member.seq_num, int(time.time() * 1000), self._body))

    async def _ack_for_ever(self) -> None:
        """Spread over the second."""
        parts = 50
        while True:
            for part in range(parts):
                for member in self.members[part::parts]:
                    member.ack()
                await asyncio.sleep(ACK_EVERY_S / parts)
