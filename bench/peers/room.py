"""A room on another server: the same counts as :mod:`bench.rooms`, of what that server's clients see."""

from __future__ import annotations

import base64
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

from bench.frames import Key
from bench.gatherings import Gathering


class Attendant(ABC):
    """One member. A subclass connects, writes, and calls :meth:`heard` for each message, also for its own copy of its own."""

    def __init__(self, room: PeerRoom, person: dict[str, str]) -> None:
        self.room = room
        self.person = person
        self.name = person["user"].encode()
        self.got = self.own = 0
        self.written = 0
        self._numbers: dict[bytes, int] = {}  # of the last message of each other member

    @abstractmethod
    async def connect(self) -> None:
        """Until it is in the room."""

    @abstractmethod
    def close(self) -> None: ...

    @abstractmethod
    def write(self, key: bytes) -> None: ...

    def heard(self, key: bytes, body: bytes) -> None:
        """A message has come. In order is what one member wrote: not every server promises more."""
        room = self.room
        sender, _, number = key.rpartition(b"-")
        if body != room.body:
            room.problem("altered_message", key.decode())
        if sender == self.name:
            self.own += 1
            room.answered(self, "sent")
            return
        count = int(number)
        if count <= self._numbers.get(sender, 0):
            room.problem("order", f"{key.decode()} after {self._numbers[sender]}")
        self._numbers[sender] = count
        self.got += 1
        room.received(key)


class PeerRoom(Gathering):
    def __init__(
        self, kind: type[Attendant], people: Sequence[dict[str, str]], senders: int, content: bytes
    ) -> None:
        self.body = base64.b64encode(content)
        super().__init__([kind(self, person) for person in people], senders)

    def post(self, member: Any) -> Key:
        member.written += 1
        key = b"%b-%d" % (member.name, member.written)
        member.write(key)
        return key

    def waits(self) -> bool:
        """Its own copy may reach a sender last."""
        return super().waits() or sum(member.own for member in self._senders) < self.begun
