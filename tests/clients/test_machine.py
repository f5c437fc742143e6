"""What a device keeps, against a model, with a crash between any two steps: outbox, log, positions and read marks in SQLite.

The server of the model stores by the rules of the contract (duplicates first, then last + 1, else `out_of_order`). A crash
takes the file as it is on the disk at that moment; everything else of the program is gone.
"""

from __future__ import annotations

import asyncio
import base64
import shutil
import tempfile
from collections import deque
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from whatsapp_client import Database, Session, Timing, events
from whatsapp_client.duties import Duties
from whatsapp_client.inbound import Inbound
from whatsapp_client.shelf import Shelf
from whatsapp_client.stream import Broadcast

ME, BOB, DEVICE = "me", "bob", "phone"
CONVERSATIONS = ["conversation-1", "conversation-2"]
Frame = dict[str, Any]


def finish(work: Coroutine[Any, Any, None]) -> None:
    """Run a coroutine that never really waits."""
    try:
        work.send(None)
    except StopIteration:
        return
    raise AssertionError("it waits")


class Server:
    """The log of each conversation, what this device has acknowledged, and the frames on their way to it."""

    def __init__(self) -> None:
        self.logs: dict[str, list[Frame]] = {c: [] for c in CONVERSATIONS}
        self.last: dict[str, int] = dict.fromkeys(CONVERSATIONS, 0)
        self.acked: dict[str, int] = dict.fromkeys(CONVERSATIONS, 0)
        self.read: dict[str, int] = dict.fromkeys(CONVERSATIONS, 0)
        self.refusing = False
        self.refused: set[str] = set()
        self.dropped: set[str] = set()  # changes among them: a device forgets them
        self.live = False

    def append(self, conversation: str, sender: str, message_id: str, content: str) -> Frame:
        log = self.logs[conversation]
        log.append(
            {
                "type": "message", "conversationId": conversation, "seq": len(log) + 1, "senderId": sender,
                "senderDeviceId": DEVICE if sender == ME else "b", "messageId": message_id, "encryptedContent": content,
                "timestamp": 1, "serverTimestamp": len(log) + 1, "kind": "text",
            }
        )  # fmt: skip
        return log[-1]

    def react(self, frame: Frame) -> Frame:
        log = self.logs[frame["conversationId"]]
        log.append(
            {
                "type": "event", "kind": "reaction", "conversationId": frame["conversationId"], "seq": len(log) + 1,
                "actorId": ME, "messageId": frame["messageId"], "targetId": frame["targetId"],
                "data": {"emoji": frame["emoji"]}, "serverTimestamp": len(log) + 1,
            }
        )  # fmt: skip
        return log[-1]

    def take(self, frame: Frame) -> list[Frame]:
        """The answers to one frame."""
        match frame["type"]:
            case "send_message" | "react":
                return [self._store(frame)]
            case "ack":
                for conversation, seq in frame["positions"].items():
                    self.acked[conversation] = max(
                        self.acked[conversation], min(seq, len(self.logs[conversation]))
                    )
            case "status_update":
                conversation = frame["conversationId"]
                assert frame["upTo"] <= self.acked[conversation], (
                    "read above what is acknowledged: bad_request"
                )
                self.read[conversation] = max(self.read[conversation], frame["upTo"])
            case "sync":
                self.live = True
                return [
                    *self._batches(frame.get("have", {})),
                    {"type": "sync_complete", "ref": frame["ref"], "serverTime": 1},
                ]
        return []

    def _store(self, frame: Frame) -> Frame:
        conversation, message_id = frame["conversationId"], frame["messageId"]
        ids = {"messageId": message_id, "conversationId": conversation, "ref": frame["ref"]}
        tick = {"type": "status_update", "status": "sent", "timestamp": 5, **ids}
        for row in self.logs[conversation]:
            if row["messageId"] == message_id:
                return {**tick, "seq": row["seq"], "duplicate": True}
        if self.refusing:
            self.refused.add(message_id)
            if frame["type"] == "react":
                self.dropped.add(message_id)
            return {"type": "error", "code": "forbidden", "retryable": False, **ids}
        if frame["seqNum"] != self.last[conversation] + 1:
            details = {"expected": self.last[conversation] + 1}
            return {"type": "error", "code": "out_of_order", "retryable": True, "details": details, **ids}
        self.last[conversation] += 1
        if frame["type"] == "react":
            return {**tick, "seq": self.react(frame)["seq"]}
        return {**tick, "seq": self.append(conversation, ME, message_id, frame["encryptedContent"])["seq"]}

    def _batches(self, have: dict[str, int]) -> list[Frame]:
        frames = []
        for conversation, log in self.logs.items():
            after = have.get(conversation, self.acked[conversation])
            self.acked[conversation] = max(self.acked[conversation], min(after, len(log)))
            if log[after:]:
                batch = {"conversationId": conversation, "events": log[after:], "through": len(log)}
                frames.append({"type": "sync_batch", "remaining": 0, **batch})
        return frames


class Program:
    """One life of the client's program on its file: the client without its socket."""

    def __init__(self, database: Database, clock: Callable[[], float]) -> None:
        self.database = database
        session = Session("+1", ME, DEVICE, "", "")
        self.shelf = Shelf("http://127.0.0.1:1", session, database)
        self.chats = self.shelf._chats
        told = lambda conversation, up_to: self.chats.read(conversation, up_to, told=True, at=1)  # noqa: E731
        self.duties = Duties(self.shelf.history, Timing(ack_delay=0.0, hole_grace=0.0), told=told)
        for conversation, up_to in self.chats.untold().items():
            self.duties.read(conversation, up_to)
        broadcast = Broadcast()
        self.events = broadcast.stream()
        self.inbound = Inbound(
            session, self.shelf.history, self.shelf.outbox, self.chats, self.duties, broadcast, asyncio.Event(), self._progress,
            clock,
        )  # fmt: skip
        database.commit()

    async def _progress(self, remaining: int | None) -> None:
        pass


class Machine(RuleBasedStateMachine):
    make_database: Any = Database

    @initialize()
    def begin(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="machine-"))
        self.lives = 0
        self.now = 1_000.0
        self.server = Server()
        self.up: deque[Frame] = deque()
        self.down: deque[Frame] = deque()
        self.connected = False
        self.count = 0
        self.safe: list[
            tuple[str, str, bytes]
        ] = []  # (conversation, messageId, content) that the file must never forget
        self.fresh: list[tuple[str, str, bytes]] = []  # the same, before the commit
        self.shown: dict[str, list[int]] = {}  # of this life
        self.program = Program(self.make_database(self.folder / "0.db"), self.clock)

    def clock(self) -> float:
        return self.now

    # -- people --------------------------------------------------------------------------------------------
    @rule(conversation=st.sampled_from(CONVERSATIONS), count=st.integers(1, 4))
    def write(self, conversation: str, count: int) -> None:
        for _ in range(count):
            self.count += 1
            outgoing = self.program.shelf.outbox.add(conversation, f"mine {self.count}".encode())
            self.fresh.append((conversation, outgoing.message_id, outgoing.content))

    @rule(conversation=st.sampled_from(CONVERSATIONS), emoji=st.sampled_from(["+", "-", ""]))
    def react(self, conversation: str, emoji: str) -> None:
        """To one's latest message, also before it was sent."""
        shelf = self.program.shelf
        mine = [o.message_id for o in shelf.pending(conversation)]
        mine += [
            e.message_id for e in shelf.messages(conversation) if e.sender_id == ME and e.type == "message"
        ]
        if mine:
            outgoing = shelf.outbox.add(
                conversation, emoji.encode(), kind="reaction", targetId=mine[0], emoji=emoji
            )
            self.fresh.append((conversation, outgoing.message_id, b""))

    @rule(conversation=st.sampled_from(CONVERSATIONS), arrives=st.booleans())
    def bob_writes(self, conversation: str, arrives: bool) -> None:
        log = self.server.logs[conversation]
        frame = self.server.append(
            conversation, BOB, f"bob-{conversation}-{len(log)}", base64.b64encode(b"hi").decode()
        )
        # Otherwise a hole; but no server opens a conversation in the middle (R9: the first event of one is read from the log).
        known = self.program.shelf.history[conversation].position is not None
        known = known or any(
            row["type"] in ("message", "sync_batch") and row["conversationId"] == conversation
            for row in self.down
        )
        if self.connected and self.server.live and (arrives or not known):
            self.down.append(frame)

    @rule(conversation=st.sampled_from(CONVERSATIONS))
    def mark_read(self, conversation: str) -> None:
        position = self.program.shelf.history[conversation].position
        if position and self.program.chats.read(conversation, position):
            self.program.duties.read(conversation, position)

    @rule()
    def retry_or_discard(self) -> None:
        for conversation in CONVERSATIONS:
            for outgoing in self.program.shelf.pending(conversation):
                if outgoing.state == "failed":
                    self.program.shelf.outbox.retry(outgoing)
                    return

    @rule(refusing=st.booleans())
    def server_refuses(self, refusing: bool) -> None:
        self.server.refusing = refusing

    # -- the program ---------------------------------------------------------------------------------------
    @rule()
    def turn(self) -> None:
        """What the client's writer does: all that is due, the commit, and only then the socket."""
        self.now += 1.0
        frames = [*self.program.duties.due(self.now), *self.program.shelf.outbox.due(self.now)]
        self.commit()
        if frames:
            self.check_promises(frames)
        if self.connected:
            self.up.extend(frames)

    @rule()
    def commit(self) -> None:
        self.program.database.commit()
        self.safe += self.fresh
        self.fresh = []

    @precondition(lambda self: self.up)
    @rule(count=st.integers(1, 8))
    def server_reads(self, count: int) -> None:
        for _ in range(min(count, len(self.up))):
            self.down.extend(self.server.take(self.up.popleft()))

    @precondition(lambda self: self.down)
    @rule(count=st.integers(1, 8))
    def client_reads(self, count: int) -> None:
        for _ in range(min(count, len(self.down))):
            finish(self.program.inbound.handle(self.down.popleft()))
        while not self.program.events.queue.empty():
            event = self.program.events.queue.get_nowait()
            if isinstance(event, events.Message):
                self.shown.setdefault(event.entry.conversation_id, []).append(event.entry.seq)

    @precondition(lambda self: not self.connected)
    @rule()
    def connect(self) -> None:
        self.connected, self.server.live = True, False
        self.program.duties.connected(self.now)

    @precondition(lambda self: self.connected)
    @rule()
    def disconnect(self) -> None:
        self.connected = self.server.live = False
        self.up.clear()
        self.down.clear()
        self.now += 1.0
        self.program.duties.disconnected(self.now)
        self.program.shelf.outbox.disconnected()

    @rule()
    def crash(self) -> None:
        """kill -9: the file as it is, nothing else."""
        if self.connected:
            self.connected = self.server.live = False
        self.up.clear()  # what the kernel had to send is sent or not: `server_reads` before a crash is the other case
        self.down.clear()
        image = self.image()
        self.program.database.abandon()
        self.fresh = []
        self.shown = {}
        self.program = Program(self.make_database(image), self.clock)

    # -- what must hold ------------------------------------------------------------------------------------
    def image(self) -> Path:
        """A copy of the file as a crash now would leave it."""
        self.lives += 1
        old, new = Path(self.program.database.path), self.folder / f"{self.lives}.db"
        for suffix in ("", "-wal"):
            if Path(f"{old}{suffix}").exists():
                shutil.copy(f"{old}{suffix}", f"{new}{suffix}")
        return new

    def check_promises(self, frames: list[Frame]) -> None:
        """What is about to be said is true of the file."""
        with Database(self.image()) as database:
            after = Shelf("http://127.0.0.1:1", Session("+1", ME, DEVICE, "", ""), database)
            for frame in frames:
                for conversation, seq in {**frame.get("positions", {}), **frame.get("have", {})}.items():
                    kept = {e.seq for e in after.history[conversation].entries}
                    owed = {row["seq"] for row in self.server.logs[conversation][:seq]}
                    assert owed <= kept, (
                        f"{seq} of {conversation} is acknowledged, {owed - kept} is not in the file"
                    )
                if frame["type"] in ("send_message", "react"):
                    waiting = {o.message_id for o in after.outbox.pending(frame["conversationId"])}
                    assert frame["messageId"] in waiting, "sent before it was in the file"
            database.abandon()

    @invariant()
    def each_message_is_stored_once(self) -> None:
        for log in self.server.logs.values():
            ids = [row["messageId"] for row in log]
            contents = [row["encryptedContent"] for row in log if row.get("senderId") == ME]
            assert len(ids) == len(set(ids))
            assert len(contents) == len(set(contents))

    @invariant()
    def shown_in_order_once(self) -> None:
        for seqs in self.shown.values():
            assert seqs == sorted(set(seqs))

    @invariant()
    def nothing_safe_is_forgotten(self) -> None:
        shelf = self.program.shelf
        for conversation in CONVERSATIONS:
            known = {o.message_id for o in shelf.outbox.pending(conversation)} | self.server.dropped
            known |= {row["messageId"] for row in self.server.logs[conversation]}
            for where, message_id, _ in self.safe:
                assert where != conversation or message_id in known, f"{message_id} is lost"

    def teardown(self) -> None:
        if not hasattr(self, "program"):
            return
        try:
            self.settle()
        finally:
            self.program.database.abandon()
            shutil.rmtree(self.folder)

    def settle(self) -> None:
        """With a sound network everything comes to its end."""
        self.server.refusing = False
        for _ in range(
            2
        ):  # of what it has written itself a device learns the place in the log by its next sync
            if self.connected:
                self.disconnect()
            self.connect()
            for _ in range(60):
                self.retry_or_discard()
                self.turn()
                self.server_reads(10_000) if self.up else None
                self.client_reads(10_000) if self.down else None
        shelf = self.program.shelf
        for conversation in CONVERSATIONS:
            log = self.server.logs[conversation]
            assert [o.content for o in shelf.outbox.pending(conversation)] == []
            assert [e.seq for e in shelf.history[conversation].entries] == [row["seq"] for row in log]
            if log:
                assert self.server.acked[conversation] == len(log)
                chat = shelf.chat(conversation)
                later = [row for row in log if row["seq"] > chat.read_up_to and row.get("senderId") == BOB]
                assert chat.unread == len(later)
            mine = [base64.b64decode(row["encryptedContent"]) for row in log if row.get("senderId") == ME]
            written = [content for where, message_id, content in self.safe
                       if where == conversation and message_id not in self.server.refused]  # fmt: skip
            kept = [content for content in mine if content in written]
            assert kept == [content for content in written if content in mine], "the order of sending"
            reacted = {row["targetId"]: row["data"]["emoji"] for row in log if row["type"] == "event"}
            for target, emoji in reacted.items():
                found = shelf.history[conversation].log.reactions(target)
                assert found == ({ME: emoji} if emoji else {})


_SETTINGS = settings(
    max_examples=60,
    stateful_step_count=50,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)


def test_a_device_keeps_its_promises_over_crashes():
    run_state_machine_as_test(Machine, settings=_SETTINGS)


class Hasty(Database):
    """Commits only every third time."""

    _calls = 0

    def commit(self) -> None:
        self._calls += 1
        if self._calls % 3 == 0:
            super().commit()


class HastyMachine(Machine):
    make_database = Hasty


def test_twin_that_speaks_before_it_commits_is_caught():
    first_failure = settings(
        _SETTINGS, phases=[Phase.generate], report_multiple_bugs=False, print_blob=False, database=None
    )
    with pytest.raises(AssertionError):
        run_state_machine_as_test(HastyMachine, settings=first_failure)
