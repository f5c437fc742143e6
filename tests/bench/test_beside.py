"""What goes on beside a load: a latency belongs to the phase in which its message was due, and what is lost is told."""

from __future__ import annotations

import random
import time
from typing import Any

import pytest

from bench.beside import Beside, Phases, QuietRoom
from bench.flood import beside as by_phase
from bench.frames import CODECS
from tests.bench.sockets import GROUP, PERSON, hear, without_server


@pytest.fixture
async def quiet() -> Beside:
    """One group of two, no server."""
    made = Beside(CODECS["json"](), [{"kind": "same", "group": GROUP, "people": [PERSON] * 2}], [], b"body")
    without_server(made.rooms[0].members)
    return made


def write(room: QuietRoom, due: float) -> tuple[Any, str]:
    """Who gets it, and the messageId."""
    room.write(random.Random(1), due)
    for member, other in (room.members, reversed(room.members)):
        socket: Any = member._socket
        if socket.frames:
            message = socket.frames.pop()["messageId"]
            hear(member, type="status_update", status="queued", messageId=message, seq=2)
            return other, message
    raise AssertionError("nobody wrote")


async def test_a_late_message_belongs_to_the_phase_it_was_due_in(quiet: Beside) -> None:
    quiet.mark("before")
    due = time.perf_counter()
    other, message = write(quiet.rooms[0], due)
    quiet.mark("during")
    assert quiet.mark("after")["queued"] == {"same": 1}
    hear(other, type="message", messageId=message, senderId="", seq=2)
    found = await quiet.stop(0.05)
    assert {kind: list(by) for kind, by in found["latency_us"].items()} == {"same": ["before"]}
    assert not found["problems"]


async def test_what_does_not_arrive_is_lost(quiet: Beside) -> None:
    write(quiet.rooms[0], time.perf_counter())
    assert (await quiet.stop(0.05))["problems"]["lost"] == 1


async def test_what_arrives_twice_is_a_problem(quiet: Beside) -> None:
    other, message = write(quiet.rooms[0], time.perf_counter())
    for _ in range(2):
        hear(other, type="message", messageId=message, senderId="", seq=2)
    assert set((await quiet.stop(0.05))["problems"]) >= {"order", "duplicate_or_unknown_message"}


def test_before_the_first_phase_is_the_start() -> None:
    phases = Phases()
    phases.took("pair", 0.0, 1.0)
    assert list(phases.latencies["pair"]) == ["start"]


def test_the_ratio_is_that_of_during_to_before() -> None:
    found = by_phase(
        {"pair": {"1:before": [1000] * 9 + [2000], "1:during": [4000] * 10, "2:during": [1]}}, "1:"
    )
    assert found["pair"]["ratio"] == {"p50": 4.0, "p99": 2.0}
    assert found["pair"]["during"] == {"p50": 4.0, "p99": 4.0, "max": 4.0, "count": 10}
    assert "same" not in found
