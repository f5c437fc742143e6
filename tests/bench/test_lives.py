"""The bench's own checks: a message lost, repeated, altered or out of order must not look like a good run."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest

from bench.couples import Tally
from bench.frames import CODECS
from bench.lives import Peer

CONVERSATION = "01900000-0000-8000-8000-000000000001"
OTHER = "01900000-0000-8000-8000-000000000002"
PEOPLE = [{"user": f"01900000-0000-7000-8000-00000000000{n}", "url": "", "token": ""} for n in (1, 2)]


class Written:
    """Takes the place of the socket: what a peer sends is kept, what it gets is given by the test."""

    def __init__(self) -> None:
        self.frames: list[bytes] = []

    def send(self, frame: bytes) -> None:
        self.frames.append(frame)


class Chat:
    """Two peers without a server; the test says what each hears."""

    def __init__(self) -> None:
        self.tally = Tally()
        codec = CODECS["json"]()
        self.a, self.b = (Peer(codec, self.tally, person, CONVERSATION, b"body") for person in PEOPLE)
        self.a.partner, self.b.partner = self.b, self.a
        for peer in (self.a, self.b):
            socket: Any = Written()
            peer._socket = socket

    def send(self) -> str:
        """The first peer sends; returns the messageId."""
        self.a.begin(time.perf_counter())
        return next(reversed(self.a.lives))

    def sent(self, message: str, seq: int) -> None:
        self._hear(self.a, type="status_update", status="sent", messageId=message, seq=seq)

    def arrives(self, message: str, seq: int, seq_num: int, **changed: Any) -> None:
        fields = {
            "type": "message",
            "messageId": message,
            "senderId": PEOPLE[0]["user"],
            "seq": seq,
            "seqNum": seq_num,
            "encryptedContent": self.a.body,
        }
        self._hear(self.b, **{**fields, **changed})

    def receipt(self, status: str, up_to: int) -> None:
        self._hear(self.a, type="status_update", status=status, upTo=up_to)

    def _hear(self, peer: Peer, **fields: Any) -> None:
        peer.on_frame(json.dumps({"conversationId": CONVERSATION, **fields}).encode())

    def problems(self) -> set[str]:
        return set(self.tally.problems)


@pytest.fixture
async def chat() -> Chat:
    return Chat()


async def test_a_life_counts_when_it_is_complete(chat: Chat) -> None:
    message = chat.send()
    chat.sent(message, 1)
    chat.arrives(message, 1, 1)
    chat.receipt("delivered", 1)
    assert chat.tally.completed == 0
    chat.receipt("read", 1)
    assert chat.tally.completed == 1
    assert not chat.problems()


async def test_a_receipt_before_its_sent_waits_for_it(chat: Chat) -> None:
    message = chat.send()
    chat.arrives(message, 1, 1)
    chat.receipt("delivered", 1)
    chat.receipt("read", 1)
    assert chat.tally.completed == 0
    chat.sent(message, 1)
    assert chat.tally.completed == 1


async def test_a_repeated_message_is_a_problem(chat: Chat) -> None:
    message = chat.send()
    chat.arrives(message, 1, 1)
    chat.arrives(message, 2, 1)
    assert chat.problems() == {"duplicate_or_unknown_message"}


async def test_messages_out_of_order_are_a_problem(chat: Chat) -> None:
    first, second = chat.send(), chat.send()
    chat.arrives(second, 2, 2)
    chat.arrives(first, 1, 1)
    assert chat.problems() == {"order_received"}


async def test_acknowledgements_out_of_the_order_of_sending_are_a_problem(chat: Chat) -> None:
    first, second = chat.send(), chat.send()
    chat.sent(first, 2)
    chat.sent(second, 1)
    assert chat.problems() == {"order_sent"}


@pytest.mark.parametrize(
    "changed",
    [{"encryptedContent": "b3RoZXI="}, {"senderId": OTHER}, {"conversationId": OTHER}, {"seqNum": 7}],
)
async def test_an_altered_message_is_a_problem(chat: Chat, changed: dict[str, Any]) -> None:
    chat.arrives(chat.send(), 1, 1, **changed)
    assert chat.problems() == {"altered_message"}


async def test_a_receipt_for_what_never_arrived_is_a_problem(chat: Chat) -> None:
    message = chat.send()
    chat.sent(message, 1)
    chat.receipt("delivered", 1)
    chat.receipt("read", 1)
    assert chat.problems() == {"receipt_without_message"}


async def test_two_messages_of_one_seq_are_a_problem(chat: Chat) -> None:
    first, second = chat.send(), chat.send()
    chat.arrives(first, 1, 1)
    chat.arrives(second, 1, 2)
    assert "seq_twice" in chat.problems()


async def test_errors_and_foreign_frames_are_problems(chat: Chat) -> None:
    chat._hear(chat.a, type="error", code="out_of_order", message="…", retryable=True)
    chat._hear(chat.a, type="typing", active=True)
    assert chat.problems() == {"error out_of_order", "error unexpected"}
