"""A client library without a server, for tests of the screens: the interface of ``whatsapp_terminal.backend``."""

from __future__ import annotations

import asyncio
import itertools
import time
import uuid
from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass
from typing import Any

from tests.clients.fake_account import FakeAccount
from tests.clients.fake_groups import FakeGroups
from tests.clients.fake_media import FakeFiles
from tests.clients.fake_messages import FakeMessages
from whatsapp_client import Entry, Outgoing, RestError, SendFailed, Session, events

ME, BOB, EVE = "me", "bob", "eve"
ANY_TIME = 1_700_000_000_000  # ms


def now_ms() -> int:
    return time.time_ns() // 1_000_000


@dataclass
class FakeChat:
    conversation_id: str
    title: str
    user_id: str | None
    kind: str = "direct"
    last: Entry | None = None
    unread: int = 0
    read_up_to: int = 0
    role: str | None = None
    member_count: int | None = None
    read_only: str = ""
    muted_until: int | None = None
    pinned: bool = False
    archived: bool = False
    mentioned: bool = False
    timer: int | None = None
    blocked: bool = False
    request: bool = False


class FakeDirectory:
    """``numbers``: number → user id of who is registered."""

    def __init__(self, backend: FakeBackend) -> None:
        self._backend = backend
        self.numbers: dict[str, str] = {}
        self.asked: list[tuple[str, str, Any]] = []
        self.others: list[str] = []  # contacts without a chat
        self.error: Exception | None = None
        self.linked: list[dict[str, Any]] = []
        self.mine: dict[str, Any] = {}  # more of GET /me

    async def add_contact(self, phone_number: str, nickname: str = "") -> dict[str, Any]:
        if self.error is not None:
            raise self.error
        if phone_number not in self.numbers:
            raise RestError(404, "not_found", "Nobody with this number is here.")
        user = self.numbers[phone_number]
        self._backend.chat(f"with {user}", nickname or phone_number, user)
        return {"userId": user}

    async def call(self, method: str, path: str, body: Any = None) -> Any:
        self.asked.append((method, path, body))
        return {}

    async def contacts(self) -> list[dict[str, Any]]:
        return [{"userId": user, "name": f"contact {user}"} for user in self.others]

    async def direct(self, user_id: str) -> str:
        return f"with {user_id}"

    async def me(self) -> dict[str, Any]:
        return {"userId": ME, "name": "Me Myself", "about": "", **self.mine}

    async def register(self, phone_number: str) -> dict[str, Any]:
        self.asked.append(("POST", "/auth/register", phone_number))
        return {}

    async def devices(self) -> list[dict[str, Any]]:
        return list(self.linked)

    async def remove_device(self, device_id: str) -> None:
        self.linked = [device for device in self.linked if device["deviceId"] != device_id]


class FakeBackend(FakeGroups, FakeMessages, FakeAccount, FakeFiles):
    """Everything is in memory; the test says what happens with ``message``, ``tick``, ``fail``, ``become``."""

    def __init__(self, number: str = "+15550001") -> None:
        FakeGroups.__init__(self)
        FakeMessages.__init__(self)
        FakeAccount.__init__(self)
        FakeFiles.__init__(self)
        self.session = Session(number, ME, "device", "token", "refresh")
        self.state = events.State("online")
        self.rest = FakeDirectory(self)
        self.logs: dict[str, list[Entry]] = {}
        self.server: dict[str, list[Entry]] = {}  # older entries that only the server has
        self.marks: dict[str, tuple[int, int]] = {}  # delivered, read
        self.reads: list[tuple[str, int]] = []
        self.typings: list[tuple[str, bool]] = []
        self.presences: list[str] = []
        self.watched: set[str] = set()
        self.pages = 0
        self.started = self.stopped = False
        self._chats: dict[str, FakeChat] = {}
        self._outbox: dict[str, list[Outgoing]] = {}
        self._queues: list[asyncio.Queue[events.Event | None]] = []
        self._numbers = itertools.count(1)

    # -- what the test does ------------------------------------------------------------------------------------
    def chat(self, conversation_id: str, title: str, user_id: str | None = None, **fields: Any) -> FakeChat:
        chat = self._chats.get(conversation_id)
        if chat is None:
            chat = self._chats[conversation_id] = FakeChat(conversation_id, title, user_id, **fields)
            self.logs.setdefault(conversation_id, [])
        return chat

    def entry(
        self, conversation_id: str, text: str, sender: str, seq: int, at: int = 0, **fields: Any
    ) -> Entry:
        at = at or now_ms()
        return Entry(
            conversation_id, seq, sender, f"id-{conversation_id}-{seq}", content=text.encode(), timestamp=at,
            server_timestamp=at, **fields,
        )  # fmt: skip

    def have(self, conversation_id: str, text: str, sender: str, at: int = 0, **fields: Any) -> Entry:
        """Something that is in the store already."""
        log = self.logs[conversation_id]
        entry = self.entry(conversation_id, text, sender, log[-1].seq + 1 if log else 1, at, **fields)
        log.append(entry)
        self._chats[conversation_id].last = entry
        return entry

    def change(self, conversation_id: str, kind: str, actor: str, user: str = "", **data: Any) -> Entry:
        """An event of the log that comes now."""
        log = self.logs[conversation_id]
        fields = {"type": "event", "data": data} | ({"userId": user} if user else {})
        entry = Entry(
            conversation_id, log[-1].seq + 1 if log else 1, actor, type=kind, kind="event",
            server_timestamp=now_ms(), fields=fields,
        )  # fmt: skip
        log.append(entry)
        self.emit(events.Change(entry))
        return entry

    def message(self, conversation_id: str, text: str, sender: str = BOB, **fields: Any) -> Entry:
        """Something that comes now."""
        entry = self.have(conversation_id, text, sender, **fields)
        if sender != ME:
            self._chats[conversation_id].unread += 1
        self.emit(events.Message(entry, own=sender == ME))
        return entry

    def emit(self, event: events.Event) -> None:
        for queue in self._queues:
            queue.put_nowait(event)

    def become(self, status: str, **fields: Any) -> None:
        self.state = events.State(status, **fields)
        self.emit(self.state)

    def tick(self, outgoing: Outgoing) -> None:
        queue = self._outbox[outgoing.conversation_id]
        queue.remove(outgoing)
        entry = self.have(
            outgoing.conversation_id,
            "",
            ME,
            kind=outgoing.kind,
            fields=outgoing.fields,
        )
        entry.message_id, entry.content = outgoing.message_id, outgoing.content
        outgoing.state, outgoing.seq, outgoing.server_timestamp = "sent", entry.seq, entry.server_timestamp
        self.emit(events.Sent(outgoing))

    def fail(self, outgoing: Outgoing, code: str, message: str) -> None:
        outgoing.state, outgoing.error = "failed", SendFailed(code, message)
        self.emit(events.Failed(outgoing, code, message))

    def receipt(self, conversation_id: str, status: str, up_to: int, user_id: str = BOB) -> None:
        delivered, read = self.marks.get(conversation_id, (0, 0))
        self.marks[conversation_id] = (max(delivered, up_to), up_to if status == "read" else read)
        self.emit(events.Receipt(conversation_id, user_id, status, up_to))

    # -- what the screens do -----------------------------------------------------------------------------------
    async def events(self) -> AsyncIterator[events.Event]:
        queue: asyncio.Queue[events.Event | None] = asyncio.Queue()
        self._queues.append(queue)
        while (event := await queue.get()) is not None:
            yield event

    async def start(self) -> None:
        self.started = True

    async def stop(self) -> None:
        self.stopped = True

    def chats(self) -> list[FakeChat]:
        return sorted(self._chats.values(), key=lambda c: -(c.last.server_timestamp if c.last else 0))

    def name_of(self, user_id: str) -> str:
        known = next((c.title for c in self._chats.values() if c.user_id == user_id), "")
        return known or self.profiles.get(user_id) or f"user {user_id[-8:]}"

    async def refresh_chats(self) -> None:
        return None

    def messages(self, conversation_id: str, before: int | None = None, limit: int = 50) -> list[Entry]:
        self.pages += 1
        found = self.logs[conversation_id]
        if before is not None:
            low, high = 0, len(found)
            while low < high:
                middle = (low + high) // 2
                low, high = (middle + 1, high) if found[middle].seq < before else (low, middle)
            return found[max(0, low - limit) : low]
        return found[-limit:]

    async def load_older(self, conversation_id: str, limit: int = 50) -> bool:
        older = self.server.get(conversation_id, [])
        page, self.server[conversation_id] = older[-limit:], older[:-limit]
        self.logs[conversation_id] = page + self.logs[conversation_id]
        return bool(page)

    def pending(self, conversation_id: str) -> list[Outgoing]:
        return list(self._outbox.get(conversation_id, ()))

    def send(
        self,
        conversation_id: str,
        content: str | bytes,
        *,
        kind: str = "text",
        message_id: str = "",
        **fields: Any,
    ) -> Outgoing:
        raw = content if isinstance(content, bytes) else content.encode()
        outgoing = Outgoing(
            message_id or str(uuid.uuid4()),
            conversation_id,
            raw,
            now_ms(),
            kind=kind,
            number=next(self._numbers),
        )
        outgoing.fields = fields
        self._outbox.setdefault(conversation_id, []).append(outgoing)
        self.emit(events.ChatChanged(conversation_id))
        return outgoing

    def retry(self, outgoing: Outgoing) -> None:
        outgoing.state, outgoing.error = "queued", None

    def discard(self, outgoing: Outgoing) -> None:
        self._outbox[outgoing.conversation_id].remove(outgoing)

    def receipt_at(self, conversation_id: str, seq: int) -> str:
        delivered, read = self.marks.get(conversation_id, (0, 0))
        return "read" if seq <= read else "delivered" if seq <= delivered else "sent"

    def mark_read(self, conversation_id: str, up_to: int | None = None) -> None:
        self.reads.append((conversation_id, up_to or 0))
        chat = self._chats[conversation_id]
        chat.read_up_to = max(chat.read_up_to, up_to or 0)
        chat.unread = sum(e.seq > chat.read_up_to and e.sender_id != ME for e in self.logs[conversation_id])

    def typing(self, conversation_id: str, active: bool = True) -> None:
        self.typings.append((conversation_id, active))

    def watch_presence(self, user_ids: Iterable[str]) -> None:
        self.watched |= set(user_ids)

    def set_presence(self, status: str) -> None:
        self.presences.append(status)
