"""A message of ours on its way, and its row in the database."""

from __future__ import annotations

import asyncio
import base64
import json
from dataclasses import dataclass, field

from .codecs import Frame
from .database import Database
from .errors import SendFailed, refused

#: What is written about an earlier message, by the kind of its entry in the log: the frame that says it.
CHANGES = {"edit": "edit_message", "delete": "delete_message", "reaction": "react", "vote": "vote"}
_WITH_CONTENT = ("edit", "vote")


@dataclass(slots=True, eq=False)
class Outgoing:
    """One message of ours, or a change of one: then ``kind`` is one of :data:`CHANGES`. ``state``: ``queued``, ``sent`` or
    ``failed``; ``in_flight``: queued, and on the socket; ``delayed``: sent, but the server is busy, so the others of this
    group get it somewhat later."""

    message_id: str
    conversation_id: str
    content: bytes
    timestamp: int
    seq_num: int = 0
    kind: str = "text"
    fields: Frame = field(default_factory=dict)
    state: str = "queued"
    in_flight: bool = False
    ref: str = ""
    attempts: int = 0
    flown_at: float = 0.0
    seq: int = 0
    server_timestamp: int = 0
    duplicate: bool = False
    delayed: bool = False
    error: SendFailed | None = None
    number: int = 0  # the order of sending over all conversations, as stored
    recalled: bool = False  # read from the database: an earlier process may have sent it
    _done: asyncio.Event = field(default_factory=asyncio.Event)

    async def sent(self) -> Outgoing:
        """Wait for ✓. Raises :class:`SendFailed` when the server refuses the message for good."""
        await self._done.wait()
        if self.error is not None:
            raise self.error
        return self

    @property
    def is_message(self) -> bool:
        return self.kind not in CHANGES

    @property
    def target_id(self) -> str:
        """The message that a change is about."""
        return str(self.fields.get("targetId") or "")

    @property
    def text(self) -> str:
        """The content as text, for clients that do not encrypt."""
        return self.content.decode("utf-8", "replace")

    def settle(self, state: str, error: SendFailed | None = None) -> None:
        """``sent`` or ``failed``: it goes out no more."""
        self.state, self.error, self.in_flight = state, error, False
        self._done.set()

    def again(self, message_id: str) -> None:
        """Queued once more."""
        self.message_id = message_id
        self.state, self.error, self.ref = "queued", None, ""
        self._done.clear()

    def frame(self) -> Frame:
        frame: Frame = {
            "type": CHANGES.get(self.kind, "send_message"),
            "ref": self.ref,
            "messageId": self.message_id,
            "conversationId": self.conversation_id,
            "timestamp": self.timestamp,
            "seqNum": self.seq_num,
        }
        if self.is_message:
            frame["kind"] = self.kind
        if self.is_message or (self.kind in _WITH_CONTENT and self.content):
            frame["encryptedContent"] = base64.b64encode(self.content).decode()
        return frame | self.fields


class OutgoingRows:
    """The outbox in the database. A message is a row from :meth:`add` until ✓ or until it is discarded."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._confirmed: dict[str, int] = {}

    def load(self) -> list[Outgoing]:
        """In the order of sending; ``seq_num`` is not set."""
        rows = self._database.read(
            "SELECT number, message_id, conversation, content, timestamp, kind, fields, state, error "
            "FROM outbox ORDER BY number"
        )
        return [self._outgoing(*row) for row in rows.fetchall()]

    def confirmed(self) -> dict[str, int]:
        """The last confirmed seqNum by conversation, as far as it was stored: a good guess, the server knows."""
        return dict(self._database.read("SELECT conversation, last FROM numbers").fetchall())

    def add(self, outgoing: Outgoing) -> None:
        added = self._database.write(
            "INSERT INTO outbox (message_id, conversation, content, timestamp, kind, fields, state, error) "
            "VALUES (?, ?, ?, ?, ?, ?, 'queued', '')",
            (
                outgoing.message_id,
                outgoing.conversation_id,
                outgoing.content,
                outgoing.timestamp,
                outgoing.kind,
                json.dumps(outgoing.fields) if outgoing.fields else "",
            ),
        )
        outgoing.number = int(added.lastrowid or 0)

    def remove(self, outgoing: Outgoing) -> None:
        self._database.write("DELETE FROM outbox WHERE number = ?", (outgoing.number,))

    def fail(self, outgoing: Outgoing) -> None:
        error = outgoing.error
        assert error is not None
        self._database.write(
            "UPDATE outbox SET state = 'failed', error = ? WHERE number = ?",
            (json.dumps([error.code, error.message, error.details]), outgoing.number),
        )

    def confirm(self, conversation_id: str, seq_num: int) -> None:
        """The server has stored ``seq_num`` of this device; kept with the next commit."""
        self._confirmed[conversation_id] = seq_num
        self._database.dirty(self)

    def save(self) -> None:
        rows, self._confirmed = list(self._confirmed.items()), {}
        self._database.write_many("INSERT OR REPLACE INTO numbers VALUES (?, ?)", rows)

    def _outgoing(
        self, number: int, message_id: str, conversation_id: str, content: bytes, timestamp: int, kind: str, fields: str,
        state: str, error: str,
    ) -> Outgoing:  # fmt: skip
        outgoing = Outgoing(
            message_id, conversation_id, content, timestamp, kind=kind, fields=json.loads(fields) if fields else {},
            number=number, recalled=True,
        )  # fmt: skip
        if state == "failed":
            outgoing.settle("failed", refused(*json.loads(error)))
        return outgoing
