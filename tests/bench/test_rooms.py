"""The fan-out bench's own checks: what a member misses, gets twice or out of order must not look like a good run."""

from __future__ import annotations

import time
from typing import Any

import pytest

from bench.frames import CODECS
from bench.rooms import Member, Room
from tests.bench.sockets import GROUP, PERSON, hear, without_server


@pytest.fixture
async def room() -> Room:
    """Three members without a server; the first writes."""
    room = Room(CODECS["json"](), GROUP, [PERSON] * 3, 1, b"body")
    without_server(room.members)
    return room


def written(member: Member) -> list[Any]:
    socket: Any = member._socket
    return list(socket.frames)


def write(room: Room) -> str:
    """The messageId."""
    room._begin(room.members[0], time.perf_counter())
    return str(written(room.members[0])[-1]["messageId"])


def arrives(member: Member, message: str, seq: int) -> None:
    hear(member, type="message", messageId=message, senderId="", seq=seq)


async def test_a_good_run(room: Room) -> None:
    for seq in (2, 3):
        message = write(room)
        hear(room.members[0], type="status_update", status="sent", messageId=message, seq=seq)
        for member in room.members[1:]:
            arrives(member, message, seq)
    assert room.mark()["deliveries"] == 4
    assert await room.stop(0.05) == {"begun": 2, "lost": 0, "problems": {}, "examples": []}


async def test_what_does_not_arrive_is_lost(room: Room) -> None:
    message = write(room)
    hear(room.members[0], type="status_update", status="sent", messageId=message, seq=2)
    arrives(room.members[1], message, 2)
    assert (await room.stop(0.05))["lost"] == 1


async def test_a_message_twice_is_a_problem(room: Room) -> None:
    message = write(room)
    for _ in range(2):
        arrives(room.members[1], message, 2)
    arrives(room.members[2], message, 2)
    assert set((await room.stop(0.05))["problems"]) >= {"order", "duplicate_or_unknown_message"}


async def test_the_wrong_order_is_a_problem(room: Room) -> None:
    first, second = write(room), write(room)
    arrives(room.members[1], second, 3)
    arrives(room.members[1], first, 2)
    assert room.problems["order"] == 1


async def test_acks_are_gathered(room: Room) -> None:
    member = room.members[1]
    for seq in (2, 3):
        arrives(member, write(room), seq)
    for _ in range(2):
        member.ack()
    assert written(member) == [{"type": "ack", "positions": {GROUP: 3}}]
