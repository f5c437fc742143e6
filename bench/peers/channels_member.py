"""A member of a room on :mod:`bench.peers.channels_app`."""

from __future__ import annotations

import json

from bench.peers.channels_chatter import SUBPROTOCOL
from bench.peers.room import Attendant, PeerRoom
from bench.wsclient import WebSocket, connect


class ChannelsMember(Attendant):
    def __init__(self, room: PeerRoom, person: dict[str, str]) -> None:
        super().__init__(room, person)
        self._socket: WebSocket | None = None

    async def connect(self) -> None:
        self._socket = await connect(
            self.person["url"], token="", subprotocol=SUBPROTOCOL, text=True,
            on_frame=self._on_frame, on_close=lambda code: self.room.problem("closed", str(code)),
        )  # fmt: skip

    def close(self) -> None:
        if self._socket is not None:
            self._socket.close()

    def write(self, key: bytes) -> None:
        assert self._socket is not None
        self._socket.send(b'{"type":"message","id":"%b","body":"%b"}' % (key, self.room.body))

    def _on_frame(self, data: bytes) -> None:
        frame = json.loads(data)
        self.heard(frame["id"].encode(), frame["body"].encode())
