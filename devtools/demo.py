"""``./dev demo``: two people chat on the running system while one goes offline and a gateway is killed; exit
code 0 only if every message arrived once and in order."""

from __future__ import annotations

import asyncio
import contextlib
import os
import pathlib
import random
import signal
import sys
import time
from collections.abc import Callable
from typing import Any

from devtools import stored
from devtools.chat import running_system
from devtools.errors import DevError
from devtools.paths import REPO

sys.path.insert(0, str(REPO / "clients" / "python"))

from whatsapp_client import Client, ClientError, Outgoing, Rest, RestError, SmsFile, events, sign_up
from whatsapp_client.stream import EventStream

TIMEOUT = 45.0  # for each step; a slow machine is slow, a lost message never comes
STREAM = 40  # messages while the gateway dies
KILL_AT, BURST = 12, 8  # the gateway dies at the 12th, which is sent together with the next 7

_started = time.monotonic()


class Missing(Exception):
    """The contract was not kept; the text says how."""


def say(text: str = "") -> None:
    print(f"{time.monotonic() - _started:6.2f} s  {text}" if text else "", flush=True)


def title(text: str) -> None:
    print(f"\n\x1b[1m{text}\x1b[0m" if sys.stdout.isatty() else f"\n== {text}", flush=True)


def whole_system() -> dict[str, Any]:
    """The running system, once all its parts are up: an earlier demo may just have killed one."""
    deadline = time.monotonic() + TIMEOUT
    while (status := running_system()).get("down") or not all(status["processes"].values()):
        if time.monotonic() > deadline:
            raise DevError("a part of the system is down: ./dev status says which")
        time.sleep(0.2)
    return status


class Person:
    """A client with a name, and what came to it in the order it came."""

    def __init__(self, name: str, number: str, client: Client) -> None:
        self.name = name
        self.number = number
        self.client = client
        self.received: list[str] = []
        self.sent: list[Outgoing] = []
        self.lost_connections = 0
        self._told: set[str] = set()
        self._follower: asyncio.Task[None] | None = None

    @classmethod
    async def register(cls, name: str, url: str, data: pathlib.Path) -> Person:
        number = f"+1555{random.randint(1_000_000, 9_999_999)}"
        sms = SmsFile(data / "sms.jsonl", number)
        session = await sign_up(Rest(url), number, sms.code, device_name="demo")
        say(f"{name} registers {number}, reads the code from sms.jsonl, and is user {session.user_id}")
        return cls(name, number, Client(url, session))

    async def come(self) -> None:
        self._follower = asyncio.create_task(self._follow(self.client.events()))
        await self.client.start()
        try:
            await self.client.wait_online(TIMEOUT)
        except TimeoutError:
            raise Missing(f"{self.name} does not get through: {self.client.state}") from None

    async def go(self) -> None:
        await self.client.stop()
        if self._follower is not None:
            await self._follower

    async def _follow(self, stream: EventStream) -> None:
        async for event in stream:
            match event:
                case events.Message(entry=entry):
                    self.received.append(entry.text)
                case events.State(status="waiting"):
                    self.lost_connections += 1
                    say(
                        f"      {self.name}: connection lost ({event.detail}), again in {event.retry_in * 1000:.0f} ms"
                    )
                case events.State(status="syncing") if event.remaining:
                    say(f"      {self.name}: syncing… {event.remaining} left")
                case events.Typing(active=True):
                    self._tell_once("typing", f"      {self.name} sees: typing…")
                case events.Presence(status=status):
                    self._tell_once(f"presence {status}", f"      {self.name} sees the other person {status}")
                case events.Failed(code=code, message=message):
                    say(f"      {self.name}: a message was refused: {code} {message}")

    def _tell_once(self, key: str, text: str) -> None:
        if key not in self._told:
            self._told.add(key)
            say(text)

    def say_to(self, conversation: str, text: str) -> Outgoing:
        outgoing = self.client.send(conversation, text)
        self.sent.append(outgoing)
        return outgoing

    def texts(self) -> list[str]:
        return [outgoing.content.decode() for outgoing in self.sent]

    def ticks(self) -> str:
        """How many messages have which ticks, at best."""
        names = {"queued": "waiting", "sent": "✓", "delivered": "✓✓", "read": "✓✓ read", "failed": "✗"}
        states = [self.client.receipt_of(outgoing) for outgoing in self.sent]
        return ", ".join(
            f"{states.count(state)} {shown}" for state, shown in names.items() if state in states
        )


async def until(check: Callable[[], bool], what: str) -> None:
    """Wait for ``check``. Raises :class:`Missing` with ``what``."""
    deadline = time.monotonic() + TIMEOUT
    while not check():
        if time.monotonic() > deadline:
            raise Missing(f"after {TIMEOUT:.0f} s still missing: {what}")
        await asyncio.sleep(0.001)


def reached(person: Person, state: str) -> bool:
    """Whether all messages of ``person`` are at least ``state``."""
    order = ["queued", "sent", "delivered", "read"]
    return all(
        (now := person.client.receipt_of(outgoing)) in order and order.index(now) >= order.index(state)
        for outgoing in person.sent
    )


async def opened(person: Person, user: str) -> str:
    """The id of the conversation with ``user``. ``unavailable`` is asked again, as it says: a process opens its session with
    Cassandra when it is first used, which on a busy machine takes longer than a request waits."""
    deadline = time.monotonic() + TIMEOUT
    while True:
        try:
            return await person.client.rest.direct(user)
        except RestError as error:
            if error.code != "unavailable" or time.monotonic() > deadline:
                raise
        await asyncio.sleep(0.2)


async def play(status: dict[str, Any]) -> str:
    """The scenes. Returns the conversation's id."""
    url, data = status["http"], pathlib.Path(status["data"])
    title("1. Two people register")
    ann = await Person.register("Ann", url, data)
    bob = await Person.register("Bob", url, data)
    found = await ann.client.rest.add_contact(bob.number, nickname="Bob")
    conversation = await opened(ann, found["userId"])
    say(f"Ann adds Bob's number to her contacts and opens conversation {conversation}")
    try:
        await _chat(ann, bob, conversation)
        await _offline(ann, bob, conversation)
        await _kill(ann, conversation)
        await _return(ann, bob, conversation)
        await _judge(ann, bob, conversation)
    finally:
        await ann.go()
        await bob.go()
    title("6. What is stored where")
    people = {"Ann": ann.client.session.user_id, "Bob": bob.client.session.user_id}
    if status["log"]:
        await asyncio.to_thread(stored.wait_cassandra, status["log"], conversation, people)
        say("Cassandra, what is durable of the chat (accounts are in PostgreSQL):")
        stored.show_cassandra(status["log"], conversation, people)
    elif await asyncio.to_thread(stored.wait_written, status["urls"]["database"], conversation):
        say("PostgreSQL, what is durable:")
        stored.show_postgres(status["urls"]["database"], conversation)
    else:
        say(
            "What is durable is on a Cassandra of yours, which the demo does not look into; ./dev manage trace follows a message."
        )
    if status["log"]:
        say(
            "Valkey, a copy of the conversation's state (a flush loses nothing: it is made again from Cassandra):"
        )
        stored.show_copy(status["urls"]["hot"], conversation)
    say("Valkey, hints only (a flush loses nothing):")
    stored.show_valkey(status["urls"]["hot"], people)
    return conversation


async def _chat(ann: Person, bob: Person, conversation: str) -> None:
    title("2. They chat")
    await ann.come()
    await bob.come()
    for person, other in ((ann, bob), (bob, ann)):
        person.client.set_presence("online")
        person.client.watch_presence([other.client.session.user_id])
    lines = [
        (ann, "Hello Bob!"),
        (bob, "Hello Ann."),
        (ann, "Shall we break something?"),
        (bob, "Always. I go offline, you write."),
    ]
    for number, (person, text) in enumerate(lines, 1):
        other = bob if person is ann else ann
        person.client.typing(conversation)
        began = time.perf_counter()
        outgoing = person.say_to(conversation, text)
        await until(lambda: outgoing.state == "sent", f"the ✓ of {text!r}")  # noqa: B023
        took = (time.perf_counter() - began) * 1000
        await until(lambda: text in other.received, f"{other.name} gets {text!r}")  # noqa: B023
        say(f"{person.name} → {other.name}: {text}   (seq {outgoing.seq}, ✓ after {took:.1f} ms)")
        other.client.mark_read(conversation)
        if number == len(lines):
            await until(
                lambda: reached(ann, "read") and reached(bob, "read"), "the read receipts of the chat"
            )
    say(f"all read. Ann's messages: {ann.ticks()}; Bob's: {bob.ticks()}")


async def _offline(ann: Person, bob: Person, conversation: str) -> None:
    title("3. Bob goes offline, Ann writes on")
    await bob.go()
    for number in range(1, 6):
        ann.say_to(conversation, f"while you are away {number}")
    await until(lambda: reached(ann, "sent"), "the ✓ of what Ann writes to Bob offline")
    say(f"Ann has written 5 more: {ann.ticks()} (one ✓ only: stored, not delivered)")


async def _kill(ann: Person, conversation: str) -> None:
    title("4. A gateway is killed while Ann is sending")
    connects = ann.client.connects
    for number in range(1, STREAM + 1):
        if number == KILL_AT:
            killed, pid = await asyncio.to_thread(gateway_of, ann)
            burst = [ann.say_to(conversation, f"under fire {n}") for n in range(number, number + BURST)]
            await until(lambda: burst[0].attempts > 0, "Ann's burst on the socket")  # noqa: B023
            waiting = len(ann.client.outbox)
            os.kill(pid, signal.SIGKILL)
            say(
                f"kill -9 {pid}: {killed}, the gateway that holds Ann's socket; {waiting} messages have no ✓ yet"
            )
        elif not KILL_AT < number < KILL_AT + BURST:
            ann.say_to(conversation, f"under fire {number}")
        await asyncio.sleep(0.01)  # a fast typist
    await until(lambda: ann.client.connects > connects, "Ann's reconnect after the kill")
    await until(lambda: reached(ann, "sent"), "the ✓ of what Ann sent while her gateway died")
    repeated = sum(outgoing.attempts > 1 for outgoing in ann.sent)
    known = sum(outgoing.duplicate for outgoing in ann.sent)
    say(
        f"Ann is back on another gateway; {repeated} messages were sent again, {known} of them the server had already"
    )
    say(f"Ann's messages: {ann.ticks()}")


async def _return(ann: Person, bob: Person, conversation: str) -> None:
    title("5. Bob comes back")
    await bob.come()
    await until(lambda: len(bob.received) >= len(ann.sent), "messages for Bob")
    say(f"Bob has {len(bob.received)} messages of Ann, the last one: {bob.received[-1]!r}")
    await until(lambda: reached(ann, "delivered"), "✓✓ for Ann")
    say(f"Ann's messages: {ann.ticks()}")
    bob.client.mark_read(conversation)
    await until(lambda: reached(ann, "read"), "read receipts for Ann")
    say(f"Bob reads them. Ann's messages: {ann.ticks()}")


async def _judge(ann: Person, bob: Person, conversation: str) -> None:
    """Once and in order, for both, and in the server's log."""
    problems = []
    for receiver, sender in ((bob, ann), (ann, bob)):
        if receiver.received != sender.texts():
            what = difference(sender.texts(), receiver.received)
            problems.append(f"{receiver.name} did not get {sender.name}'s messages once and in order: {what}")
    log: list[dict[str, Any]] = []
    while page := await ann.client.rest.events(conversation, after=log[-1]["seq"] if log else 0):
        log += page
    sent = ann.sent + bob.sent
    if [row["seq"] for row in log] != list(range(1, len(sent) + 1)):
        problems.append(f"the log has {len(log)} rows for {len(sent)} messages, or holes")
    if {row["messageId"]: row["seq"] for row in log} != {
        outgoing.message_id: outgoing.seq for outgoing in sent
    }:
        problems.append("the log and the ✓ of the clients name other numbers")
    if problems:
        raise Missing("; ".join(problems))
    say(f"every one of {len(sent)} messages arrived once and in order, and has the same number everywhere")


def difference(expected: list[str], got: list[str]) -> str:
    lost = [text for text in expected if text not in got]
    twice = sorted({text for text in got if got.count(text) > 1})
    strange = [text for text in got if text not in expected]
    parts = [
        f"{name} {what}" for name, what in (("lost", lost), ("repeated", twice), ("unknown", strange)) if what
    ]
    return ", ".join(parts) or "order differs"


def gateway_of(person: Person) -> tuple[str, int]:
    """Name and pid of the gateway that holds this client's socket: the process that owns the other end."""
    connection = person.client.connection
    inode = _inode_of_peer(connection.local_address[1]) if connection is not None else ""
    for name, pid in running_system()["processes"].items():
        with contextlib.suppress(OSError):
            for file in pathlib.Path(f"/proc/{pid}/fd").iterdir() if name.startswith("gateway") else ():
                with contextlib.suppress(OSError):
                    if inode and os.readlink(file) == f"socket:[{inode}]":
                        return name, pid
    raise Missing(f"no gateway of ./dev status holds {person.name}'s socket")


def _inode_of_peer(port: int) -> str:
    """Inode of the socket whose remote port is ``port`` (proc(5), /proc/net/tcp)."""
    for line in pathlib.Path("/proc/net/tcp").read_text().splitlines()[1:]:
        columns = line.split()
        if int(columns[2].rpartition(":")[2], 16) == port and columns[3] == "01":
            return columns[9]
    return ""


def main(arguments: list[str] | None = None) -> int:
    if arguments is None:
        arguments = sys.argv[1:]
    if arguments:
        print(f"{__doc__}\nIt takes no arguments.")
        return 0 if arguments[0] in ("-h", "--help") else 2
    try:
        asyncio.run(play(whole_system()))
    except Missing as missing:
        print(f"\nFAILED: {missing}", file=sys.stderr)
        return 1
    except (RestError, ClientError, DevError) as error:
        print(f"\nFAILED: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    print("\nThe demo is complete: nothing that was acknowledged is lost. Your turn: ./dev chat +15550001")
    return 0


if __name__ == "__main__":
    sys.exit(main())
