"""The viral bench's own checks: a recipient who misses it or gets it twice, and a ✓ that does not come or comes twice."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from bench.forwards import Viral
from bench.frames import CODECS
from bench.lane_watch import Look
from bench.viral import table
from bench.viral_people import shares
from tests.bench.sockets import PERSON, without_server

GROUPS = [f"01900000-0000-8400-8000-00000000000{n}" for n in (1, 2, 3)]


class Story:
    """Two people forward into three groups of one connected member each, the second of nobody; no server."""

    def __init__(self) -> None:
        groups = [
            {"group": group, "sender": number % 2, "people": [] if number == 1 else [PERSON]}
            for number, group in enumerate(GROUPS)
        ]
        self.viral = Viral(CODECS["json"](), [PERSON, PERSON], groups, b"body")
        without_server(self.viral.forwarders)
        for target in self.viral.targets:
            without_server(target.members)

    async def forward(self) -> None:
        self.viral.begin(0.0, 1)
        task = self.viral._task
        assert task is not None
        await task

    def written(self) -> dict[str, str]:
        """Group → messageId."""
        return {
            frame["conversationId"]: frame["messageId"]
            for forwarder in self.viral.forwarders
            for frame in forwarder._socket.frames  # type: ignore[union-attr]
        }

    def answer(self, group: str, status: str = "sent") -> None:
        forwarder = next(f for f in self.viral.forwarders if group in f.stored)
        self._hear(
            forwarder, group, type="status_update", status=status, messageId=self.written()[group], seq=2
        )

    def arrives(self, group: str, seq: int = 2) -> None:
        (member,) = self.viral.targets[GROUPS.index(group)].members
        self._hear(member, group, type="message", messageId=self.written()[group], senderId="", seq=seq)

    def _hear(self, device: Any, group: str, **frame: Any) -> None:
        forget = device.on_frame if hasattr(device, "on_frame") else device._on_frame
        forget(json.dumps({"conversationId": group, **frame}).encode())


@pytest.fixture
async def story() -> Story:
    made = Story()
    await made.forward()
    return made


async def test_a_good_run(story: Story) -> None:
    assert sorted(story.written()) == GROUPS
    story.answer(GROUPS[0], "queued")
    for group in GROUPS[1:]:
        story.answer(group)
    for group in (GROUPS[0], GROUPS[2]):
        story.arrives(group)
    found = await story.viral.stop(0.05)
    assert found["problems"] == {}
    assert (found["begun"], found["queued"], found["deliveries"], len(found["sent_ms"])) == (3, 1, 2, 3)


async def test_a_recipient_who_misses_it_is_told(story: Story) -> None:
    for group in GROUPS:
        story.answer(group)
    story.arrives(GROUPS[0])
    assert (await story.viral.stop(0.05))["problems"] == {"lost": 1}


async def test_a_recipient_who_gets_it_twice_is_told(story: Story) -> None:
    for group in GROUPS:
        story.answer(group)
    for group, seq in ((GROUPS[0], 2), (GROUPS[2], 2), (GROUPS[2], 3)):
        story.arrives(group, seq)
    assert set((await story.viral.stop(0.05))["problems"]) == {
        "duplicate_or_unknown_message",
        "count_differs",
    }


async def test_a_missing_answer_is_told(story: Story) -> None:
    for group in GROUPS[:2]:
        story.answer(group)
    for group in (GROUPS[0], GROUPS[2]):
        story.arrives(group)
    assert (await story.viral.stop(0.05))["problems"] == {"no_answer": 1, "count_differs": 1}


async def test_a_second_answer_is_told(story: Story) -> None:
    for group in (*GROUPS, GROUPS[1]):
        story.answer(group)
    for group in (GROUPS[0], GROUPS[2]):
        story.arrives(group)
    assert (await story.viral.stop(0.05))["problems"] == {"forwarder": 1}


async def test_it_does_not_stop_before_all_is_begun() -> None:
    story = Story()
    story.viral.begin(0.2, 1)
    stopping = asyncio.create_task(story.viral.stop(10))
    while len(story.written()) < 3:
        await asyncio.sleep(0.01)
    assert not stopping.done()
    for group in GROUPS:
        story.answer(group)
    for group in (GROUPS[0], GROUPS[2]):
        story.arrives(group)
    assert (await stopping)["problems"] == {}


def test_shares_are_whole() -> None:
    assert shares(10, 4) == [3, 3, 2, 2]


def test_the_table_has_the_first_and_the_last_look() -> None:
    looks = [Look(n / 5, ((n, n * 10), (0, 0))) for n in range(100)]
    rows = table(looks, 0.0)
    assert len(rows) == 10
    assert rows[0] == {"at_s": 0.0, "entries": 0, "busy_lanes": 0, "oldest_ms": 0}
    assert rows[-1] == {"at_s": 19.8, "entries": 99, "busy_lanes": 1, "oldest_ms": 990}
    assert table(looks[:1], 0.0) == rows[:1]
    assert table([], 0.0) == []
