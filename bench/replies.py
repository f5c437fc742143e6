"""Devices that answer in other ways than a life's: what ``./dev bench receipts`` compares.

``each``: an ``ack`` for each message, and ``read`` 20 ms later. ``delivered``: the ``ack`` alone. ``gathered``: both each second
for all that came meanwhile. In a group also who is told: of each member in a small one, of counts in a large one (ADR 0045).
"""

from __future__ import annotations

import asyncio
import time
from array import array
from collections import Counter
from typing import Any

from bench.couples import READ_AFTER_S
from bench.frames import Codec, Frame, Key, Message, Status
from bench.lives import Peer
from bench.rooms import Member, Room

_GATHERED_S = 1.0
_STATUSES = ("delivered", "read")


class DeliveredPeer(Peer):
    parts = 2

    def _reply(self, seq: int) -> None:
        assert self._socket is not None
        self._socket.send(self.codec.ack(self.conversation, seq))


class GatheringPeer(Peer):
    _due = False

    def _reply(self, seq: int) -> None:
        if not self._due:
            self._due = True
            asyncio.get_running_loop().call_later(_GATHERED_S, self._answer)

    def _answer(self) -> None:
        self._due = False
        assert self._socket is not None
        self._socket.send(self.codec.ack(self.conversation, self._foreign))
        self._read(self._foreign)


class Waiting:
    """An own message, until everybody's receipt has come. ``missing``: of how many, by status."""

    __slots__ = ("began", "missing", "seq")

    def __init__(self, seq: int, began: float, others: int) -> None:
        self.seq = seq
        self.began = began
        self.missing = dict.fromkeys(_STATUSES, others)


class ReceiptMember(Member):
    """Acknowledges each message at once, reads it 20 ms later if the room does, and waits for the others' receipts."""

    __slots__ = ("began", "positions", "waiting")
    _room: ReceiptRoom

    def __init__(self, room: Room, person: dict[str, str]) -> None:
        super().__init__(room, person)
        self.began: dict[Key, float] = {}
        self.positions: dict[tuple[Key, str], int] = {}
        self.waiting: list[Waiting] = []

    def heard(self, frame: Frame) -> None:
        super().heard(frame)
        if isinstance(frame, Message):
            self.ack()
            if self._room.reads:
                asyncio.get_running_loop().call_later(READ_AFTER_S, self._read, frame.seq)
        elif isinstance(frame, Status):
            if frame.status in _STATUSES:
                self._receipt(frame)
            elif (began := self.began.pop(frame.message_id, None)) is not None:
                self.waiting.append(Waiting(frame.seq, began, len(self._room.members) - 1))

    def _read(self, seq: int) -> None:
        self.send(self._room.codec.read(self._room.group, seq))

    def _receipt(self, frame: Status) -> None:
        self._room.receipts[frame.status] += 1
        if frame.counts is not None:
            others = len(self._room.members) - 1
            for status, count in (("delivered", frame.counts.delivered), ("read", frame.counts.read)):
                if count >= others:
                    self._all(status, frame.up_to)
        else:
            before = self.positions.get((frame.user_id, frame.status), 0)
            self.positions[frame.user_id, frame.status] = max(before, frame.up_to)
            for message in self.waiting:
                if before < message.seq <= frame.up_to:
                    message.missing[frame.status] -= 1
                    self._perhaps(message, frame.status)
        self.waiting = [message for message in self.waiting if any(message.missing.values())]

    def _all(self, status: str, up_to: int) -> None:
        for message in self.waiting:
            if message.seq <= up_to and message.missing[status]:
                message.missing[status] = 0
                self._perhaps(message, status)

    def _perhaps(self, message: Waiting, status: str) -> None:
        if message.missing[status] == 0:
            self._room.told[status].append(max(0, int((time.perf_counter() - message.began) * 1e6)))


class ReceiptRoom(Room):
    """``told``: µs from when a message was due until its sender knows that everybody has it, has read it."""

    member = ReceiptMember
    reads = True

    def __init__(
        self, codec: Codec, group: str, people: list[dict[str, str]], senders: int, content: bytes
    ) -> None:
        self.receipts: Counter[str] = Counter()
        self.told = {status: array("I") for status in _STATUSES}
        super().__init__(codec, group, people, senders, content)

    def mark(self) -> dict[str, Any]:
        found = super().mark()
        told, self.told = self.told, {status: array("I") for status in _STATUSES}
        found["latency_us"] |= {status: values.tolist() for status, values in told.items()}
        return {**found, "receipts": sum(self.receipts.values())}

    def _begin(self, member: Member, at: float) -> None:
        super()._begin(member, at)
        assert isinstance(member, ReceiptMember)
        member.began[next(reversed(self._under_way))] = at


class AckingRoom(ReceiptRoom):
    reads = False


PEERS: dict[str, type[Peer]] = {"each": Peer, "delivered": DeliveredPeer, "gathered": GatheringPeer}
ROOMS: dict[str, type[ReceiptRoom]] = {"each": ReceiptRoom, "delivered": AckingRoom}
