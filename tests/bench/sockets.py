"""What takes the place of a load generator's sockets, for tests of what it makes of answers: no server."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

#: Nobody's account: nothing is connected.
PERSON = {"user": "", "url": "", "token": ""}
GROUP = "01900000-0000-8400-8000-000000000001"


class Written:
    """Takes the place of the socket: ``frames`` were written to it."""

    def __init__(self) -> None:
        self.frames: list[Any] = []

    def send(self, data: bytes) -> None:
        self.frames.append(json.loads(data))

    def close(self) -> None:
        pass


def without_server(members: Iterable[Any]) -> None:
    """What they send is kept."""
    for member in members:
        member._socket = Written()


def hear(member: Any, **frame: Any) -> None:
    """A frame of the group comes to ``member``."""
    member.on_frame(json.dumps({"conversationId": GROUP, **frame}).encode())
