"""The client library as the people of the fault tests: the same history, the same check.

A :class:`LibraryDevice` behaves like :class:`tests.faults.people.Device`, by way of ``whatsapp_client`` with a database
file, behind a network that can fail. What the application sees goes into the history; after the process was killed only
what is in the file counts.
"""

from __future__ import annotations

import asyncio
import contextlib
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from tests.faults.history import History, Seen, Sent
from tests.gateway.phone import Phone
from tests.support.patience import PATIENCE, until
from tests.support.proxy import Network
from whatsapp_client import (
    Backoff,
    Client,
    Codec,
    Database,
    Entry,
    Outgoing,
    SendFailed,
    Session,
    Timing,
    by_name,
    events,
)  # fmt: skip


class Watched:
    """A codec that writes down what the device says about itself and what it is told of others."""

    def __init__(self, codec: Codec, history: History, device: str) -> None:
        self.name = codec.name
        self._codec = codec
        self._history = history
        self._device = device

    def encode(self, frame: dict[str, Any]) -> str | bytes:
        for conversation, seq in {**frame.get("positions", {}), **frame.get("have", {})}.items():
            self._history.acking(self._device, conversation, seq)
        return self._codec.encode(frame)

    def decode(self, data: str | bytes) -> dict[str, Any]:
        frame = self._codec.decode(data)
        if frame.get("status") in ("delivered", "read") and frame.get("userId"):
            update = SimpleNamespace(
                user_id=frame["userId"], up_to=frame["upTo"], conversation_id=frame["conversationId"], status=frame["status"]
            )  # fmt: skip
            self._history.receipt(update)  # type: ignore[arg-type]
        return frame


class LibraryDevice:
    """One device. ``urls``: where it connects, in turn. ``database``: makes its database; a twin gives a worse one."""

    _count = 0
    database: Any = Database

    def __init__(self, history: History, phone: Phone, urls: list[str]) -> None:
        self.history = history
        self.phone = phone
        self.urls = urls
        self.seen: Seen = history.device(phone.user, phone.device)
        self.closes: list[int] = []
        self.path = Path(phone.system.data) / "clients" / f"{phone.device}.db"
        self.network = Network(urls)
        self.kills = 0
        self.refused = 0
        LibraryDevice._count += 1
        codec = by_name(("json", "protobuf")[LibraryDevice._count % 2])
        self._codec = Watched(codec, history, phone.device)
        self._client: Client | None = None
        self._killed = asyncio.Event()
        self._reader: asyncio.Task[None] | None = None
        self._networked = False

    @property
    def id(self) -> str:
        return self.phone.device

    @property
    def got(self) -> int:
        return len(self.seen.ids)

    @property
    def client(self) -> Client:
        assert self._client is not None
        return self._client

    @property
    def alive(self) -> bool:
        """It runs; that it is connected is its own business."""
        return self._client is not None

    # coming and going

    async def connect(self, url: str = "", *, timeout: float = PATIENCE) -> None:
        """Start the program, if it does not run; at ``url`` first."""
        if url:
            self.urls.sort(key=lambda known: known != url)
        if self._client is not None:
            return
        if not self._networked:
            await self.network.__aenter__()
            self._networked = True
        phone = self.phone
        session = Session(phone.number, phone.user, phone.device, phone.token, phone.refresh_token)
        client = Client(
            self.network.http, session, database=self.database(self.path), codec=self._codec,
            backoff=Backoff(first=0.05, ceiling=1.0), timing=Timing(ping_every=1.0, ping_timeout=1.0),
        )  # fmt: skip
        self._reader = asyncio.create_task(self._read(client.events()))
        self._killed = asyncio.Event()
        self._client = client
        await client.start()

    async def online(self, url: str = "", *, timeout: float = PATIENCE) -> LibraryDevice:
        await self.connect(url)
        await self.client.wait_online(timeout)
        return self

    async def leave(self) -> None:
        """End the program in order."""
        client, self._client = self._client, None
        if client is not None:
            await client.stop()
            client.database.close()
            assert self._reader is not None
            await self._reader
        if self._networked:
            await self.network.__aexit__()
            self._networked = False

    async def cut(self) -> None:
        """The network goes away for a moment."""
        self.network.cut()

    async def kill(self) -> None:
        """As kill -9: nothing more is written, neither to the file nor to the socket. Then what is in the file is what
        the device has."""
        client, self._client = self._client, None
        assert client is not None
        killed = self._killed
        self.kills += 1
        client.database.abandon()
        self.network.cut()
        assert self._reader is not None
        self._reader.cancel()
        with contextlib.suppress(Exception):
            await client.stop()
        killed.set()
        await self.connect()
        self.reread()

    def reread(self) -> None:
        """Only what is in the file counts; it must hold everything that was acknowledged."""
        acked = dict(self.seen.acked)
        self.seen.ids.clear()
        self.seen.got.clear()
        for conversation in self.client.history:
            for entry in conversation.entries:
                self._received(entry)
            self.history.kept(self.id, conversation.id, conversation.position or 0)
            acked.pop(conversation.id, None)
        for conversation_id in acked:
            self.history.kept(self.id, conversation_id, 0)

    # sending

    async def say(self, conversation: str, text: str, *, timeout: float = PATIENCE) -> Sent | None:
        """Write a message and wait for its ✓. None: the program was killed before the message was in its file, so it
        was never sent; or the user is no member of the group."""
        outgoing = self.client.send(conversation, text)
        sent = self.history.sending(
            Sent(conversation, self.phone.user, self.id, outgoing.message_id, outgoing.content)
        )
        async with asyncio.timeout(timeout):
            try:
                while not await self._confirmed(outgoing, self._killed):
                    found = await self._after_kill(outgoing)
                    if found is None:
                        self.history.sends.remove(sent)
                        return None
                    outgoing = found
            except SendFailed as error:
                if error.code != "not_member":
                    raise
                self.history.sends.remove(sent)
                self.refused += 1
                return None
        sent.attempts = outgoing.attempts
        answer = SimpleNamespace(seq=outgoing.seq, duplicate=outgoing.duplicate)
        self.history.confirmed(sent, answer)  # type: ignore[arg-type]
        return sent

    async def _confirmed(self, outgoing: Outgoing, killed: asyncio.Event) -> bool:
        """Until ✓ (True), or until the program is killed."""
        waits = [asyncio.create_task(outgoing.sent()), asyncio.create_task(killed.wait())]
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
            if waits[0].done():
                waits[0].result()
            return outgoing.state == "sent"
        finally:
            for wait in waits:
                wait.cancel()

    async def _after_kill(self, outgoing: Outgoing) -> Outgoing | None:
        await until(lambda: self._client is not None, "the program runs again")
        for waiting in self.client.pending(outgoing.conversation_id):
            if waiting.message_id == outgoing.message_id:
                return waiting
        # Also below the first page, where it is not shown yet.
        outgoing.seq = self.client.history[outgoing.conversation_id].log.seq_of(
            outgoing.message_id, self.phone.user
        )
        if not outgoing.seq:
            return None
        outgoing.settle("sent")
        return outgoing

    # receiving

    async def _read(self, stream: Any) -> None:
        async for event in stream:
            match event:
                case events.Message(entry=entry):
                    self._received(entry)
                case events.State(code=code) if code:
                    self.closes.append(code)

    def _received(self, entry: Entry) -> None:
        if entry.type != "message":
            return
        message = SimpleNamespace(
            conversation_id=entry.conversation_id, sender_id=entry.sender_id, sender_device_id=entry.device_id,
            message_id=entry.message_id, seq=entry.seq, encrypted_content=entry.content,
        )  # fmt: skip
        self.history.received(self.id, message)  # type: ignore[arg-type]
