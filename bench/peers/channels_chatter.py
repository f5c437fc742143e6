"""One side of a pair on :mod:`bench.peers.channels_app`."""

from __future__ import annotations

import json
import time

from bench.couples import Tally
from bench.peers.chatter import Chatter
from bench.wsclient import WebSocket, connect

SUBPROTOCOL = "chat"


class ChannelsChatter(Chatter):
    # The app answers each message, so a life without receipts has its ✓ too.
    parts = (2, 3)

    def __init__(self, tally: Tally, person: dict[str, str], content: bytes, receipts: bool) -> None:
        super().__init__(tally, person, content, receipts)
        self._socket: WebSocket | None = None

    async def connect(self) -> None:
        self._socket = await connect(
            self.person["url"], token="", subprotocol=SUBPROTOCOL, text=True,
            on_frame=self._on_frame, on_close=lambda code: self.ended(str(code)),
        )  # fmt: skip

    def close(self) -> None:
        if self._socket is not None:
            self._socket.close()

    def write_message(self, key: bytes) -> None:
        self._send(
            b'{"type":"message","to":"%b","id":"%b","body":"%b"}' % (self.partner.name, key, self.body)
        )

    def write_delivered(self, key: bytes) -> None:
        self._send(b'{"type":"delivered","to":"%b","id":"%b"}' % (self.partner.name, key))

    def write_read(self, key: bytes) -> None:
        self._send(b'{"type":"read","to":"%b","id":"%b"}' % (self.partner.name, key))

    def _send(self, data: bytes) -> None:
        assert self._socket is not None
        self._socket.send(data)

    def _on_frame(self, data: bytes) -> None:
        frame = json.loads(data)
        kind, key = frame["type"], frame["id"].encode()
        if kind == "message":
            self.heard(key, frame["body"].encode())
        elif kind == "sent":
            self.sent(key)
        elif kind in ("delivered", "read"):
            self.receipt(kind, key)
        else:
            self.tally.problem("unexpected", kind)


class Idler:
    """A socket that does nothing."""

    def __init__(self, person: dict[str, str]) -> None:
        self._person = person
        self._socket: WebSocket | None = None
        self.closed = False

    async def connect(self) -> float:
        """Seconds until the app has accepted it."""
        start = time.perf_counter()
        self._socket = await connect(
            self._person["url"], token="", subprotocol=SUBPROTOCOL, text=True,
            on_frame=lambda data: None, on_close=self._ended,
        )  # fmt: skip
        return time.perf_counter() - start

    async def sync(self) -> None:
        """There is nothing to fetch."""

    def close(self) -> None:
        if self._socket is not None:
            self._socket.close()

    def _ended(self, code: int) -> None:
        self.closed = True
