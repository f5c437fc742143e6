"""People who forward one message into many groups at once, and the few members of each group who are connected."""

from __future__ import annotations

import asyncio
import time
from typing import Any

from bench.frames import Batch, Codec, Error, Event, Frame, Key, Ready, Status, SyncComplete
from bench.gatherings import CONNECTS_AT_ONCE, Sent
from bench.rooms import Room
from bench.wsclient import WebSocket, connect


class Target(Room):
    """One group: its members who are connected, without who forwards into it."""

    def __init__(self, codec: Codec, group: str, people: list[dict[str, str]]) -> None:
        super().__init__(codec, group, people, 0, b"")
        self.seq_num = 0

    def forwarded(self, at: float) -> Key:
        """A message begins; its messageId."""
        key = self.codec.new_key()
        self.seq_num += 1
        self.begun += 1
        if self.members:
            self._under_way[key] = Sent(at, len(self.members))
        return key

    def lost(self) -> int:
        return sum(sent.missing for sent in self._under_way.values())

    def check(self, stored: int) -> None:
        """Each member has what got its ✓, once."""
        for member in self.members:
            if member.got != stored:
                self.problem("count_differs", f"{member.got} of {stored}")


class Forwarder:
    """One person with a device, who is a member of many groups. ``took``: seconds to each ✓, and what it said."""

    def __init__(self, codec: Codec, person: dict[str, str], targets: list[Target], body: Any) -> None:
        self._codec = codec
        self._url, self._token = person["url"], person["token"]
        self.targets = targets
        self._body = body
        self._socket: WebSocket | None = None
        self.live: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting: dict[Key, tuple[Target, float]] = {}
        self.took: list[tuple[float, str]] = []
        self.stored: dict[Key, int] = {target.group: 0 for target in targets}
        self.problems: list[str] = []

    async def connect(self) -> None:
        self._socket = await connect(
            self._url,
            token=self._token,
            subprotocol=self._codec.subprotocol,
            text=self._codec.text,
            on_frame=self._on_frame,
            on_close=lambda code: self.problems.append(f"closed {code}"),
        )
        await self.live

    def forward(self, target: Target, at: float) -> None:
        assert self._socket is not None
        key = target.forwarded(at)
        self._waiting[key] = target, at
        self._socket.send(
            self._codec.send(target.group, key, target.seq_num, int(time.time() * 1000), self._body)
        )

    @property
    def waiting(self) -> int:
        return len(self._waiting)

    def close(self) -> None:
        if self._socket is not None:
            self._socket.close()

    def _on_frame(self, data: bytes) -> None:
        frame: Frame = self._codec.decode(data)
        assert self._socket is not None
        if isinstance(frame, Status):
            if frame.status not in ("sent", "queued"):
                return
            begun = self._waiting.pop(frame.message_id, None)
            if begun is None:
                self.problems.append("a second ✓ of a message")
                return
            self.took.append((time.perf_counter() - begun[1], frame.status))
            self.stored[frame.conversation_id] += 1
        elif isinstance(frame, Ready):
            self._socket.send(self._codec.sync())
        elif isinstance(frame, Batch):
            self._socket.send(self._codec.ack(frame.conversation_id, frame.through))
        elif isinstance(frame, SyncComplete):
            if not self.live.done():
                self.live.set_result(None)
        elif isinstance(frame, Error):
            self.problems.append(f"error {frame.code}: {frame.message}")
        elif not isinstance(frame, Event):
            self.problems.append(f"unexpected {type(frame).__name__}")


class Viral:
    """All forwarders and targets. ``groups``: ``{"group", "sender": number of a forwarder, "people": connected members}``."""

    def __init__(
        self, codec: Codec, senders: list[dict[str, str]], groups: list[dict[str, Any]], content: bytes
    ) -> None:
        self.targets = [Target(codec, group["group"], group["people"]) for group in groups]
        body = codec.body(content)
        self.forwarders = [
            Forwarder(
                codec,
                person,
                [t for t, group in zip(self.targets, groups, strict=True) if group["sender"] == number],
                body,
            )
            for number, person in enumerate(senders)
        ]
        self._task: asyncio.Task[None] | None = None

    async def connect(self) -> None:
        gate = asyncio.Semaphore(CONNECTS_AT_ONCE)

        async def one(forwarder: Forwarder) -> None:
            async with gate:
                await forwarder.connect()

        await asyncio.gather(*map(one, self.forwarders))
        for target in self.targets:
            await target.connect()

    def begin(self, within_s: float, times: int) -> None:
        """Forward into every group ``times`` times, evenly spread over so many seconds, all senders at once."""
        self._task = asyncio.get_running_loop().create_task(self._forward(within_s, times))

    async def _forward(self, within_s: float, times: int) -> None:
        most = max(len(forwarder.targets) for forwarder in self.forwarders)
        start = time.perf_counter()
        for turn in range(times * most):
            due = start + turn * within_s / (times * most)
            await asyncio.sleep(max(0.0, due - time.perf_counter()))
            for forwarder in self.forwarders:
                if turn % most < len(forwarder.targets):
                    forwarder.forward(forwarder.targets[turn % most], due)

    def state(self) -> dict[str, Any]:
        """How far it is."""
        assert self._task is not None
        if self._task.done():
            self._task.result()
        return {
            "begun": sum(target.begun for target in self.targets),
            "all_begun": self._task.done(),
            "without_answer": sum(forwarder.waiting for forwarder in self.forwarders),
            "under_way": sum(target.lost() for target in self.targets),
            "deliveries": sum(target.deliveries for target in self.targets),
        }

    async def stop(self, timeout_s: float) -> dict[str, Any]:
        """Wait for what is under way, check everybody, and leave."""
        deadline = time.monotonic() + timeout_s
        while time.monotonic() < deadline:
            state = self.state()
            if state["all_begun"] and not state["without_answer"] and not state["under_way"]:
                break
            await asyncio.sleep(0.02)
        problems: dict[str, int] = {}
        examples: list[str] = []

        def blame(kind: str, number: int, text: str = "") -> None:
            problems[kind] = problems.get(kind, 0) + number
            examples.append(text or kind)

        if lost := sum(target.lost() for target in self.targets):
            blame("lost", lost)
        last: list[int] = []
        for forwarder in self.forwarders:
            if forwarder.waiting:
                blame("no_answer", forwarder.waiting)
            for text in forwarder.problems:
                blame("forwarder", 1, text)
            for target in forwarder.targets:
                if not lost:
                    target.check(forwarder.stored[target.group])
                for kind, number in target.problems.items():
                    blame(kind, number, str(target.examples))
                last += target.mark()["latency_us"]["last"]
        answers = [answer for forwarder in self.forwarders for answer in forwarder.took]
        for forwarder in self.forwarders:
            forwarder.close()
        for target in self.targets:
            target.close()
        return {
            **self.state(),
            "problems": problems,
            "examples": examples[:20],
            "sent_ms": [round(seconds * 1000, 2) for seconds, _ in answers],
            "queued": sum(status == "queued" for _, status in answers),
            "last_us": last,
        }
