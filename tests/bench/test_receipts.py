"""The bench of receipts: how its devices answer, when everybody has read, and what a receipt costs apart."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest

from bench import receipts, replies
from bench.couples import Tally
from bench.frames import CODECS
from bench.lives import Peer
from tests.bench.sockets import Written, without_server

GROUP = "01900000-0000-8000-8000-000000000001"
PEOPLE = [{"user": f"01900000-0000-7000-8000-00000000000{n}", "url": "", "token": ""} for n in range(3)]


@pytest.fixture
async def room() -> replies.ReceiptRoom:
    """The first of three members has written a message, and has its ✓ at seq 5."""
    made = replies.ReceiptRoom(CODECS["json"](), GROUP, PEOPLE, 1, b"body")
    without_server(made.members)
    made._begin(made.members[0], time.perf_counter())
    hear(made, 0, type="status_update", status="sent", messageId=next(iter(made._under_way)), seq=5)
    return made


def hear(room: replies.ReceiptRoom, member: int, **fields: Any) -> None:
    room.members[member].on_frame(json.dumps({"conversationId": GROUP, **fields}).encode())


def receipt(room: replies.ReceiptRoom, status: str, up_to: int, **more: Any) -> None:
    hear(room, 0, type="status_update", status=status, upTo=up_to, **more)


async def test_everybody_has_it_when_each_has_said_so(room: replies.ReceiptRoom) -> None:
    receipt(room, "delivered", 5, userId=PEOPLE[1]["user"])
    receipt(room, "delivered", 5, userId=PEOPLE[1]["user"])  # once more is not somebody else
    receipt(room, "delivered", 4, userId=PEOPLE[2]["user"])  # an earlier one
    assert not room.told["delivered"]
    receipt(room, "delivered", 6, userId=PEOPLE[2]["user"])
    receipt(room, "read", 6, userId=PEOPLE[1]["user"])
    found = room.mark()
    assert len(found["latency_us"]["delivered"]) == 1
    assert not found["latency_us"]["read"]
    assert found["receipts"] == 5


async def test_counts_say_when_all_have_it(room: replies.ReceiptRoom) -> None:
    receipt(room, "read", 5, counts={"delivered": 2, "read": 1})
    assert (len(room.told["delivered"]), len(room.told["read"])) == (1, 0)
    receipt(room, "read", 4, counts={"delivered": 2, "read": 2})  # of an earlier message
    assert not room.told["read"]
    receipt(room, "read", 5, counts={"delivered": 2, "read": 2})
    assert (len(room.told["delivered"]), len(room.told["read"])) == (1, 1)


async def test_a_device_that_only_acknowledges_ends_a_life_with_delivered() -> None:
    tally = Tally()
    a, b = (replies.DeliveredPeer(CODECS["json"](), tally, person, GROUP, b"body") for person in PEOPLE[:2])
    a.partner, b.partner = b, a
    for peer in (a, b):
        socket: Any = Written()
        peer._socket = socket
    a.begin(time.perf_counter())
    key = next(iter(a.lives))

    def say(peer: Peer, **fields: Any) -> None:
        peer.on_frame(json.dumps({"conversationId": GROUP, **fields}).encode())

    say(a, type="status_update", status="sent", messageId=key, seq=1)
    say(
        b, type="message", messageId=key, senderId=PEOPLE[0]["user"], seq=1, seqNum=1, encryptedContent=a.body
    )
    say(a, type="status_update", status="delivered", upTo=1)
    assert tally.completed == 1
    assert not tally.problems
    assert b._socket.frames == [{"type": "ack", "positions": {GROUP: 1}}]  # type: ignore[union-attr]
    assert not tally.mark()["read"]


def test_what_a_receipt_costs_is_the_difference() -> None:
    us = {
        "each": {"total": 150.0, "gateways": 110.0},
        "delivered": {"total": 120.0, "gateways": 85.0},
        "gathered": {"total": 90.0, "gateways": 65.0},
    }
    assert receipts.costs(us) == {
        "read": {"total": 30.0, "gateways": 25.0},
        "both_beside_gathered": {"total": 60.0, "gateways": 45.0},
    }


def test_a_window_of_a_group() -> None:
    mark = {"begun": 10, "receipts": 100}
    end = {"begun": 20, "receipts": 480, "latency_us": {"last": [1000], "delivered": [2000], "read": []}}
    found = receipts.of_window(mark, end, {"gateways": 0.01, "valkey": 0.005})
    assert found["cpu_us_per_message"] == {"total": 1500.0, "gateways": 1000.0, "valkey": 500.0}
    assert found["receipt_frames_per_message"] == 38.0
    assert found["latency_ms"]["delivered"] == {"p50": 2.0, "p99": 2.0}
    assert found["latency_ms"]["read"] == {}
