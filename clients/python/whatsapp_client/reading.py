"""What is read of one conversation's entries in the database."""

from __future__ import annotations

import json

from .codecs import Frame
from .copies import item_of
from .database import Database
from .entry import LARGEST as NEWEST
from .entry import Entry, named
from .rewriting import DELETED, EDITED, GONE, ONCE, OPENED, STARRED

COLUMNS = "seq, sender, message_id, type, kind, content, timestamp, server_timestamp, device, flags, fields, expires_at"


class Reading:
    """The part of a :class:`Log` that changes nothing. ``low``: from here up nothing is missing below the position, so older
    entries (of before a `reset`) are not shown until they are joined."""

    _database: Database
    _number: int
    conversation_id: str
    position: int | None
    low: int
    handled: int

    def has(self, entry: Entry) -> bool:
        """Whether the message is stored, under whatever number, and has had its turn."""
        if not self._number or not entry.message_id:
            return False
        row = self._database.read(
            "SELECT 1 FROM entries INDEXED BY entries_once "
            "WHERE message_id = ? AND message_id <> '' AND sender = ? AND conversation = ? AND shown = 1",
            (entry.message_id, entry.sender_id, self._number),
        ).fetchone()
        return row is not None

    def seq_of(self, message_id: str, sender: str) -> int:
        """The number of a message that is stored here; 0: it is not."""
        row = self._database.read(
            "SELECT seq FROM entries INDEXED BY entries_once "
            "WHERE message_id = ? AND message_id <> '' AND sender = ? AND conversation = ?",
            (message_id, sender, self._number),
        ).fetchone()
        return int(row[0]) if row else 0

    def page(self, before: int | None = None, limit: int = 50) -> list[Entry]:
        """The last ``limit`` entries below ``before`` (None: of all), ascending."""
        if not self._number:
            return []
        rows = self._database.read(
            f"SELECT {COLUMNS} FROM entries WHERE conversation = ? AND seq >= ? AND seq < ? AND type <> ? "
            "ORDER BY seq DESC LIMIT ?",
            (self._number, self.low, NEWEST if before is None else before, GONE, limit),
        ).fetchall()
        return [self.entry(row) for row in reversed(rows)]

    def oldest(self) -> int | None:
        """The number of the first entry that :meth:`page` can give."""
        if not self._number:
            return None
        row = self._database.read(
            "SELECT seq FROM entries WHERE conversation = ? AND seq >= ? ORDER BY seq LIMIT 1",
            (self._number, self.low),
        ).fetchone()
        return int(row[0]) if row else None

    def last_message(self) -> Entry | None:
        if not self._number:
            return None
        row = self._database.read(
            f"SELECT {COLUMNS} FROM entries WHERE conversation = ? AND seq >= ? AND type = 'message' "
            "ORDER BY seq DESC LIMIT 1",
            (self._number, self.low),
        ).fetchone()
        return self.entry(row) if row else None

    def last_at(self) -> int:
        """When the newest entry came to be (ms); 0: there is none."""
        row = self._database.read(
            "SELECT server_timestamp FROM entries WHERE conversation = ? AND seq >= ? ORDER BY seq DESC LIMIT 1",
            (self._number, self.low),
        ).fetchone()
        return int(row[0]) if row else 0

    def unread(self, user_id: str, after: int, up_to: int = NEWEST) -> int:
        """Messages of others in (after, up_to]."""
        if not self._number:
            return 0
        row = self._database.read(
            "SELECT count(*) FROM entries WHERE conversation = ? AND seq > ? AND seq <= ? "
            "AND type = 'message' AND sender <> ?",
            (self._number, after, up_to, user_id),
        ).fetchone()
        return int(row[0])

    def reactions(self, message_id: str) -> dict[str, str]:
        """Who reacted to a message, and with what."""
        return {user: emoji for user, (_, emoji) in self.said(message_id, "reaction").items() if emoji}

    def said(self, message_id: str, kind: str) -> dict[str, tuple[bytes | None, str]]:
        """What each user said last about a message: content and emoji of the reaction or the vote."""
        if not self._number:
            return {}
        rows = self._database.read(
            "SELECT sender, content, fields FROM entries WHERE conversation = ? AND target = ? AND target <> '' AND type = ? "
            "AND fields <> '' ORDER BY seq",
            (self._number, message_id, kind),
        )
        found: dict[str, tuple[bytes | None, str]] = {}
        for sender, content, fields in rows:
            data = json.loads(fields).get("data")
            emoji = data.get("emoji") if isinstance(data, dict) else None
            found.pop(sender, None)
            found[sender] = (content, str(emoji or ""))
        return found

    def message(self, message_id: str) -> Entry | None:
        """A message that is here, in its present form."""
        if not self._number or not message_id:
            return None
        row = self._database.read(
            f"SELECT {COLUMNS} FROM entries INDEXED BY entries_once "
            "WHERE message_id = ? AND message_id <> '' AND conversation = ? AND type = 'message' "
            "ORDER BY seq LIMIT 1",
            (message_id, self._number),
        ).fetchone()
        return self.entry(row) if row else None

    def copy(self, message_id: str) -> Frame | None:
        """A message as an item of a report, as it reads now, also one that is to be seen once. None: its content is not here."""
        entry = self.message(message_id)
        if entry is None:
            return None
        row = self._database.read(
            "SELECT content FROM entries WHERE conversation = ? AND seq = ?", (self._number, entry.seq)
        ).fetchone()
        return item_of(entry, self.form_of(entry), bytes(row[0])) if row[0] is not None else None

    def form_of(self, entry: Entry) -> Entry:
        """The entry that says what this one says now: of a message the edit whose content it has, if that is here."""
        if not self._number or entry.type != "message" or not entry.edited or entry.content is None:
            return entry
        row = self._database.read(
            f"SELECT {COLUMNS} FROM entries INDEXED BY entries_target WHERE conversation = ? AND target = ? AND target <> '' "
            "AND type = 'edit' AND sender = ? AND content = ? ORDER BY seq DESC LIMIT 1",
            (self._number, entry.message_id, entry.sender_id, entry.content),
        ).fetchone()
        return self.entry(row) if row else entry

    def shown(self, before: int | None, limit: int) -> list[Entry]:
        """Like :meth:`page`, messages only."""
        if not self._number:
            return []
        rows = self._database.read(
            f"SELECT {COLUMNS} FROM entries WHERE conversation = ? AND seq >= ? AND seq < ? AND type = 'message' "
            "ORDER BY seq DESC LIMIT ?",
            (self._number, self.low, NEWEST if before is None else before, limit),
        ).fetchall()
        return [self.entry(row) for row in reversed(rows)]

    def mentions(self, user_id: str, after: int, up_to: int = NEWEST) -> int:
        """Messages of others in (after, up_to] that name this user."""
        if not self._number:
            return 0
        rows = self._database.read(
            "SELECT fields FROM entries WHERE conversation = ? AND seq > ? AND seq <= ? AND type = 'message' "
            "AND sender <> ? AND fields <> '' AND instr(fields, ?) > 0",
            (self._number, after, up_to, user_id, user_id),
        )
        return sum(user_id in named(json.loads(fields)) for (fields,) in rows)

    def unhandled(self, user_id: str, limit: int) -> list[Entry]:
        """The first messages of others that had their turn, above :attr:`handled`."""
        if not self._number or self.position is None or self.position <= self.handled:
            return []
        rows = self._database.read(
            f"SELECT {COLUMNS} FROM entries WHERE conversation = ? AND seq > ? AND seq <= ? AND shown = 1 "
            "AND type = 'message' AND sender <> ? ORDER BY seq LIMIT ?",
            (self._number, self.handled, self.position, user_id, limit),
        ).fetchall()
        return [self.entry(row) for row in rows]

    def _at(self, seq: int) -> bool:
        statement = "SELECT 1 FROM entries WHERE conversation = ? AND seq = ?"
        return self._database.read(statement, (self._number, seq)).fetchone() is not None

    def entry(self, row: tuple) -> Entry:
        """Of a row with :data:`COLUMNS`."""
        (
            seq, sender, message_id, type_, kind, content, timestamp, server_timestamp, device, flags, fields, expires_at,
        ) = row  # fmt: skip
        if flags & ONCE:
            content = None  # given by :meth:`open_once` only
        return Entry(
            self.conversation_id, seq, sender, message_id, type_, kind, content, timestamp, server_timestamp, device,
            bool(flags & EDITED), bool(flags & DELETED), json.loads(fields) if fields else {}, bool(flags & STARRED),
            bool(flags & OPENED), expires_at,
        )  # fmt: skip
