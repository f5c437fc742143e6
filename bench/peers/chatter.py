"""One side of a pair on another server: the same life as :mod:`bench.lives`, told by what that server's clients say."""

from __future__ import annotations

import asyncio
import base64
import time
from abc import ABC, abstractmethod
from typing import Any

from bench.couples import READ_AFTER_S, Couples, Life, Tally


class Chatter(ABC):
    """What all of them share. A subclass connects, writes, and calls :meth:`sent`, :meth:`heard` and :meth:`receipt`.

    ``receipts``: a whole life (✓, delivered, read); without, a life ends when the other side has the message.
    """

    #: What has to happen until a life is over: without receipts, and with them.
    parts = (1, 3)

    def __init__(self, tally: Tally, person: dict[str, str], content: bytes, receipts: bool) -> None:
        self.tally = tally
        self.person = person
        self.name = person["user"].encode()
        self.body = base64.b64encode(content)
        self.receipts = receipts
        self.partner: Any = self
        self.again = False
        self.lives: dict[bytes, Life] = {}
        self._count = 0  # of own messages
        self._foreign = 0  # number of the partner's last one

    @abstractmethod
    async def connect(self) -> None: ...

    @abstractmethod
    def close(self) -> None: ...

    @abstractmethod
    def write_message(self, key: bytes) -> None: ...

    @abstractmethod
    def write_delivered(self, key: bytes) -> None: ...

    @abstractmethod
    def write_read(self, key: bytes) -> None: ...

    def begin(self, at: float) -> None:
        """Send a message; ``at`` is when its life began (for an open rate: when it was due)."""
        self._count += 1
        key = b"%b-%d" % (self.name, self._count)
        life = Life(key, self._count, at)
        life.missing = self.parts[self.receipts]
        self.lives[key] = life
        self.tally.started += 1
        self.write_message(key)

    def heard(self, key: bytes, body: bytes) -> None:
        """A message of the partner has come."""
        now = time.perf_counter()
        life = self.partner.lives.get(key)
        if life is None or life.received:
            self.tally.problem("duplicate_or_unknown_message", key.decode())
            return
        life.received = now
        if body != self.partner.body:
            self.tally.problem("altered_message", key.decode())
        if life.seq_num <= self._foreign:
            self.tally.problem("order_received", f"{life.seq_num} after {self._foreign}")
        self._foreign = life.seq_num
        if self.receipts:
            self.write_delivered(key)
            asyncio.get_running_loop().call_later(READ_AFTER_S, self.write_read, key)
        else:
            self.partner.step(life, now)

    def sent(self, key: bytes) -> None:
        """The server has it."""
        life = self.lives.get(key)
        if life is None or life.sent:
            self.tally.problem("duplicate_or_unknown_sent", key.decode())
            return
        life.sent = time.perf_counter()
        self.step(life, life.sent)

    def receipt(self, status: str, key: bytes) -> None:
        now = time.perf_counter()
        life = self.lives.get(key)
        if life is None or (status == "delivered" and life.delivered):
            self.tally.problem("duplicate_or_unknown_receipt", f"{status} {key.decode()}")
            return
        self.tally.receipt_frames += 1
        if status == "delivered":
            life.delivered = now
        self.step(life, now)

    def step(self, life: Life, now: float) -> None:
        life.missing -= 1
        if not life.missing:
            del self.lives[life.key]
            self.tally.complete(life, now if self.receipts else 0.0)
            if self.again:
                self.begin(time.perf_counter())

    def ended(self, reason: str) -> None:
        self.tally.problem("closed", reason)


def couples(kind: type[Chatter], pairs: list[dict[str, Any]], content: bytes, receipts: bool) -> Couples:
    """Pairs of them. Each of ``pairs`` has ``a`` and ``b``."""
    tally = Tally()
    devices: list[Chatter] = []
    for pair in pairs:
        a, b = (kind(tally, pair[side], content, receipts) for side in ("a", "b"))
        a.partner, b.partner = b, a
        devices += (a, b)
    return Couples(devices, tally)
