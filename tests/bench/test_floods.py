"""The flooded group: each ✓ is followed by the next message until the end, and what is missing then is told."""

from __future__ import annotations

from typing import Any

import pytest

from bench.flood import depth
from bench.floods import FloodedRoom
from bench.frames import CODECS
from bench.lane_watch import Look
from delivery.lanes import LANES
from tests.bench.sockets import GROUP, PERSON, hear, without_server


@pytest.fixture
async def room() -> FloodedRoom:
    """Three members without a server; the first writes."""
    room = FloodedRoom(CODECS["json"](), GROUP, [PERSON] * 3, 1, b"body")
    without_server(room.members)
    return room


def written(room: FloodedRoom) -> list[str]:
    socket: Any = room.members[0]._socket
    return [frame["messageId"] for frame in socket.frames]


def stored(room: FloodedRoom, message: str, seq: int, status: str = "sent") -> None:
    hear(room.members[0], type="status_update", status=status, messageId=message, seq=seq)


async def test_the_next_message_follows_the_answer(room: FloodedRoom) -> None:
    room.flood(2)
    assert len(written(room)) == 2
    stored(room, written(room)[0], 2, "queued")
    assert len(written(room)) == 3
    room.end()
    stored(room, written(room)[1], 3)
    stored(room, written(room)[2], 4)
    assert len(written(room)) == 3
    for seq, message in enumerate(written(room), 2):
        for number in (1, 2):
            hear(room.members[number], type="message", messageId=message, senderId="", seq=seq)
    counts = room.counts()
    assert (counts["begun"], counts["stored"], counts["queued"], counts["deliveries"]) == (3, 3, 1, 6)
    assert await room.stop(0.05) == {"begun": 3, "lost": 0, "problems": {}, "examples": []}


async def test_what_one_member_misses_is_lost(room: FloodedRoom) -> None:
    room.flood(1)
    room.end()
    stored(room, written(room)[0], 2)
    hear(room.members[1], type="message", messageId=written(room)[0], senderId="", seq=2)
    assert (await room.stop(0.05))["lost"] == 1


def test_the_flooded_lane_is_told_apart() -> None:
    def look(**lanes: tuple[int, int]) -> Look:
        return Look(0.0, tuple(lanes.get(f"l{number}", (0, 0)) for number in range(LANES)))

    found = depth([look(l7=(50, 900)), look(l7=(3, 2_000), l8=(1, 20))], 7)
    assert found == {"flooded": {"entries": 50, "lag_ms": 2_000}, "others": {"entries": 1, "lag_ms": 20}}
