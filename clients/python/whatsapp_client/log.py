"""The entries of one conversation in the database."""

from __future__ import annotations

import json

from .database import Database
from .entry import LARGEST as NEWEST
from .entry import Entry, named

_EDITED, _DELETED = 1, 2
_COLUMNS = "seq, sender, message_id, type, kind, content, timestamp, server_timestamp, device, flags, fields"


class Log:
    """What is stored of one conversation. ``low``: from here up nothing is missing below the position, so older
    entries (of before a `reset`) are not shown until they are joined. ``position``: as the file says; its
    owner changes it. ``handled``: what the program has dealt with."""

    def __init__(self, database: Database, conversation_id: str) -> None:
        self._database = database
        self.conversation_id = conversation_id
        self.position: int | None = None
        self.low = 0
        self.handled = 0
        self._number = 0
        self._count: int | None = None
        row = database.read(
            "SELECT number, position, low, handled FROM conversations WHERE id = ?", (conversation_id,)
        ).fetchone()
        if row is not None:
            self._number, self.position, self.low, self.handled = row

    @property
    def number(self) -> int:
        """The conversation's number in this file; given at the first write."""
        if not self._number:
            added = self._database.write("INSERT INTO conversations (id) VALUES (?)", (self.conversation_id,))
            self._number = int(added.lastrowid or 0)
        return self._number

    def save(self) -> None:
        self._database.write(
            "UPDATE conversations SET position = ?, low = ?, handled = ? WHERE number = ?",
            (self.position, self.low, self.handled, self.number),
        )

    @property
    def count(self) -> int:
        """How many entries are stored."""
        if self._count is None:
            self._count = self._database.read(
                "SELECT count(*) FROM entries WHERE conversation = ?", (self._number,)
            ).fetchone()[0]
        return self._count

    # -- writing -------------------------------------------------------------------------------------------
    def add(self, entry: Entry, *, shown: bool = True) -> bool:
        """Store an entry. False if it was here already: the same number, or the same (senderId, messageId).

        ``shown``: False for what is read over REST. When its turn in the log comes later, it counts as new.
        """
        added = self._database.write(
            "INSERT OR IGNORE INTO entries VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (
                self.number,
                entry.seq,
                entry.sender_id,
                entry.message_id,
                entry.type,
                entry.kind,
                entry.content,
                entry.timestamp,
                entry.server_timestamp,
                entry.device_id,
                entry.edited * _EDITED + entry.deleted * _DELETED,
                json.dumps(entry.fields, separators=(",", ":")) if entry.fields else "",
                shown,
            ),
        )
        if added.rowcount <= 0:
            return shown and self._replace(entry)
        if entry.type in ("edit", "delete"):
            self._amend(entry)
        if not self.low or entry.seq < self.low:
            self.low = entry.seq
            self._database.dirty(self)
        self._added(prune=shown)
        return True

    def _replace(self, entry: Entry) -> bool:
        """It is here, but only because it was read over REST: its last form counts, and now is its turn."""
        replaced = self._database.write(
            "UPDATE entries SET shown = 1, content = ?, flags = ?, fields = ? "
            "WHERE conversation = ? AND seq = ? AND message_id = ? AND shown = 0",
            (
                entry.content,
                entry.edited * _EDITED + entry.deleted * _DELETED,
                json.dumps(entry.fields, separators=(",", ":")) if entry.fields else "",
                self.number,
                entry.seq,
                entry.message_id,
            ),
        )
        return replaced.rowcount > 0

    def _amend(self, entry: Entry) -> None:
        """What an edit or a delete makes of its message, the first one with its id; later than it in the log, so whatever is
        stored of the message was said before, or is the same."""
        target = self._database.read(
            "SELECT seq, sender, flags FROM entries WHERE message_id = ? AND conversation = ? AND type = 'message' "
            "ORDER BY seq LIMIT 1",
            (entry.target_id, self.number),
        ).fetchone()
        if target is None:
            return
        seq, sender, flags = target
        if entry.type == "edit":
            if flags & _DELETED or sender != entry.sender_id:
                return
            later = self._database.read(
                "SELECT 1 FROM entries WHERE conversation = ? AND seq > ? AND type = 'edit' AND instr(fields, ?) > 0",
                (self.number, entry.seq, entry.target_id),
            ).fetchone()
            if later is None:
                self._database.write(
                    "UPDATE entries SET content = ?, flags = flags | ? WHERE conversation = ? AND seq = ?",
                    (entry.content, _EDITED, self.number, seq),
                )
            return
        self._database.write(
            "UPDATE entries SET content = NULL, flags = ?, fields = '' WHERE conversation = ? AND seq = ?",
            (_DELETED, self.number, seq),
        )
        self._database.write(
            "UPDATE entries SET content = NULL, fields = '' "
            "WHERE conversation = ? AND seq < ? AND type IN ('edit', 'reaction') AND instr(fields, ?) > 0",
            (self.number, entry.seq, entry.target_id),
        )

    def cut(self, seq: int) -> None:
        """What is stored below ``seq`` may not join it: something between may be missing, unless the entry just
        below is here."""
        if self.low and self.low < seq and not self._at(seq - 1):
            self.low = seq
            self._database.dirty(self)

    def join(self, first: int, low: int) -> None:
        """A page from ``first`` up is stored; before it, everything from ``low`` up was. Below a page that does not reach
        down to what was here, something may be missing."""
        if low and low < first:
            self.cut(first)
        elif first < self.low:  # what was hidden below a gap is seen again
            self.low = first
            self._database.dirty(self)

    def _added(self, *, prune: bool) -> None:
        if self._count is not None:
            self._count += 1
        keep = self._database.keep
        if prune and self.count > keep + keep // 20:
            self._prune(keep)
        self._database.stored()

    def _prune(self, keep: int) -> None:
        row = self._database.read(
            "SELECT seq FROM entries WHERE conversation = ? ORDER BY seq DESC LIMIT 1 OFFSET ?",
            (self.number, keep - 1),
        ).fetchone()
        if row is not None:
            self._database.write(
                "DELETE FROM entries WHERE conversation = ? AND seq < ?", (self.number, row[0])
            )
            self.cut(row[0])
        self._count = None

    # -- reading -------------------------------------------------------------------------------------------
    def has(self, entry: Entry) -> bool:
        """Whether the message is stored, under whatever number, and has had its turn."""
        if not self._number or not entry.message_id:
            return False
        row = self._database.read(
            "SELECT 1 FROM entries WHERE message_id = ? AND sender = ? AND conversation = ? AND shown = 1",
            (entry.message_id, entry.sender_id, self._number),
        ).fetchone()
        return row is not None

    def seq_of(self, message_id: str, sender: str) -> int:
        """The number of a message that is stored here; 0: it is not."""
        row = self._database.read(
            "SELECT seq FROM entries WHERE message_id = ? AND sender = ? AND conversation = ?",
            (message_id, sender, self._number),
        ).fetchone()
        return int(row[0]) if row else 0

    def page(self, before: int | None = None, limit: int = 50) -> list[Entry]:
        """The last ``limit`` entries below ``before`` (None: of all), ascending."""
        if not self._number:
            return []
        rows = self._database.read(
            f"SELECT {_COLUMNS} FROM entries WHERE conversation = ? AND seq >= ? AND seq < ? ORDER BY seq DESC LIMIT ?",
            (self._number, self.low, NEWEST if before is None else before, limit),
        ).fetchall()
        return [self._entry(row) for row in reversed(rows)]

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
            f"SELECT {_COLUMNS} FROM entries WHERE conversation = ? AND seq >= ? AND type = 'message' "
            "ORDER BY seq DESC LIMIT 1",
            (self._number, self.low),
        ).fetchone()
        return self._entry(row) if row else None

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
        if not self._number:
            return {}
        rows = self._database.read(
            "SELECT sender, fields FROM entries WHERE conversation = ? AND type = 'reaction' AND instr(fields, ?) > 0 "
            "ORDER BY seq",
            (self._number, message_id),
        )
        found: dict[str, str] = {}
        for sender, text in rows:
            fields = json.loads(text)
            data = fields.get("data")
            if fields.get("targetId") == message_id and isinstance(data, dict):
                found[sender] = str(data.get("emoji") or "")
        return {user: emoji for user, emoji in found.items() if emoji}

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
            f"SELECT {_COLUMNS} FROM entries WHERE conversation = ? AND seq > ? AND seq <= ? AND shown = 1 "
            "AND type = 'message' AND sender <> ? ORDER BY seq LIMIT ?",
            (self._number, self.handled, self.position, user_id, limit),
        ).fetchall()
        return [self._entry(row) for row in rows]

    def handle(self, up_to: int) -> None:
        if up_to > self.handled:
            self.handled = up_to
            self._database.dirty(self)

    def _at(self, seq: int) -> bool:
        statement = "SELECT 1 FROM entries WHERE conversation = ? AND seq = ?"
        return self._database.read(statement, (self._number, seq)).fetchone() is not None

    def _entry(self, row: tuple) -> Entry:
        (
            seq,
            sender,
            message_id,
            kind_of,
            kind,
            content,
            timestamp,
            server_timestamp,
            device,
            flags,
            fields,
        ) = row
        return Entry(
            self.conversation_id, seq, sender, message_id, kind_of, kind, content, timestamp, server_timestamp, device,
            bool(flags & _EDITED), bool(flags & _DELETED), json.loads(fields) if fields else {},
        )  # fmt: skip
