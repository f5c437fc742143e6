"""The entries of one conversation in the database."""

from __future__ import annotations

import json

from .codecs import Frame
from .database import Database
from .entry import LARGEST as NEWEST
from .entry import Entry, ends_at, timer_of
from .reading import COLUMNS, Reading
from .rewriting import DELETED, EDITED, GONE, ONCE, OPENED, STARRED, settle, target, vanish


class Log(Reading):
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
        self._top: int | None = None
        self._hidden: set[int] | None = None
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

    @property
    def known_number(self) -> int:
        """The same; 0 while nothing was written."""
        return self._number

    def save(self) -> None:
        self._database.write(
            "UPDATE conversations SET position = ?, low = ?, handled = ? WHERE number = ?",
            (self.position, self.low, self.handled, self.number),
        )

    @property
    def count(self) -> int:
        """How many entries are stored (without those with a star that outlived their neighbours)."""
        if self._count is None:
            self._count = self._database.read(
                "SELECT count(*) FROM entries WHERE conversation = ? AND seq >= ?", (self._number, self.low)
            ).fetchone()[0]
        return self._count

    @property
    def top(self) -> int:
        """The highest number of an entry here."""
        if self._top is None:
            self._top = (
                self._database.read(
                    "SELECT max(seq) FROM entries WHERE conversation = ?", (self._number,)
                ).fetchone()[0]
                or 0
            )
        return self._top

    @property
    def hidden(self) -> set[int]:
        """The numbers of messages that were deleted for this device."""
        if self._hidden is None:
            rows = self._database.read("SELECT seq FROM hidden WHERE conversation = ?", (self._number,))
            self._hidden = {seq for (seq,) in rows}
        return self._hidden

    # -- writing -------------------------------------------------------------------------------------------
    def add(self, entry: Entry, *, shown: bool = True) -> bool:
        """Store an entry. False if it was here already (the same number, or the same (senderId, messageId)), or is gone from
        this device.

        ``shown``: False for what is read over REST. When its turn in the log comes later, it counts as new.
        """
        gone = self._is_gone(entry)
        flags = (
            entry.edited * EDITED + entry.deleted * DELETED + entry.view_once * ONCE + entry.opened * OPENED
        )
        ends = 0 if gone else ends_at(entry)
        added = self._database.write(
            "INSERT OR IGNORE INTO entries VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (
                self.number,
                entry.seq,
                entry.sender_id,
                entry.message_id,
                GONE if gone else entry.type,
                "" if gone else entry.kind,
                None if gone else entry.content,
                0 if gone else entry.timestamp,
                entry.server_timestamp,
                "" if gone else entry.device_id,
                0 if gone else flags,
                json.dumps(entry.fields, separators=(",", ":")) if entry.fields and not gone else "",
                shown,
                "" if gone else entry.target_id,
                ends,
            ),
        )
        if ends:
            self._database.later()
        if added.rowcount <= 0:
            return shown and not gone and self._replace(entry, flags)
        if not self.low or entry.seq < self.low:
            self.low = self._bottom(entry.seq) if self.low and shown else entry.seq
            self._database.dirty(self)
        behind = entry.seq < self.top
        self._top = max(self.top, entry.seq)
        self._settle(entry, behind or gone)
        self._added(prune=shown)
        return not gone

    def _replace(self, entry: Entry, flags: int) -> bool:
        """It is here, but only because it was read over REST: now is its turn."""
        where = "conversation = ? AND seq = ? AND message_id = ? AND shown = 0 AND type <> ?"
        which = (self.number, entry.seq, entry.message_id, GONE)
        # Its last form counts; but what was deleted stays so, and what was taken out of it does not come back.
        self._database.write(
            f"UPDATE entries SET content = ?, flags = flags & ? | ?, fields = ?, expires_at = ? WHERE {where} AND flags & ? = 0",
            (
                entry.content, STARRED, flags, json.dumps(entry.fields, separators=(",", ":")) if entry.fields else "",
                ends_at(entry), *which, DELETED | OPENED,
            ),
        )  # fmt: skip
        replaced = self._database.write(f"UPDATE entries SET shown = 1 WHERE {where}", which)
        if replaced.rowcount > 0:
            self._settle(entry, True)
        return replaced.rowcount > 0

    def _settle(self, entry: Entry, behind: bool) -> None:
        """``behind``: something above it is here already, which may be about it."""
        if entry.target_id:
            if entry.type == "delete" or (entry.type == "edit" and self._was_readable(entry.target_id)):
                self._keep_copy(entry.target_id)
            settle(self._database, self.number, entry.target_id)
        elif entry.message_id and (behind or entry.deleted):
            settle(self._database, self.number, entry.message_id)
        elif entry.type == "timer" and behind:
            self._time(entry)

    def _keep_copy(self, message_id: str) -> None:
        """What it says is about to leave the file, and who was sent it may still want to report it."""
        item, entry = self.copy(message_id), self.message(message_id)
        if item is not None and entry is not None:
            self._database.copies.keep(item, self.form_of(entry).seq, self._database.now_ms())

    def _was_readable(self, message_id: str) -> bool:
        """Of what was not decrypted before it was edited a report could say nothing."""
        entry = self.message(message_id)
        fields = self.form_of(entry).fields if entry is not None else {}
        return "franking" not in fields or "frankingKey" in fields

    def _time(self, entry: Entry) -> None:
        """Own messages may have been confirmed before this was read, which was there before them."""
        seconds = timer_of(entry)
        if not seconds:
            return
        above = self._database.read(
            "SELECT min(seq) FROM entries WHERE conversation = ? AND seq > ? AND type = 'timer'",
            (self.number, entry.seq),
        ).fetchone()[0]
        self._database.write(
            "UPDATE entries SET expires_at = min(CASE expires_at WHEN 0 THEN ? ELSE expires_at END, server_timestamp + ?) "
            "WHERE conversation = ? AND seq > ? AND seq < ? AND type = 'message' AND flags & ? = 0 AND server_timestamp > 0",
            (NEWEST, 1000 * seconds, self.number, entry.seq, above or NEWEST, DELETED),
        )
        self._database.later()

    def timer_before(self, seq: int) -> int:
        """Seconds after which a message at this number vanishes, by the events that are here; 0: never."""
        row = self._database.read(
            f"SELECT {COLUMNS} FROM entries WHERE conversation = ? AND seq < ? AND type = 'timer' ORDER BY seq DESC LIMIT 1",
            (self._number, seq),
        ).fetchone()
        return timer_of(self.entry(row)) if row else 0

    def recount(self) -> None:
        """Entries were taken out."""
        self._count = None

    def _is_gone(self, entry: Entry) -> bool:
        """Deleted here only, or its time is over, or what it is about is gone."""
        if entry.seq in self.hidden:
            return True
        if entry.type == "message":
            return 0 < ends_at(entry) <= self._database.now_ms()
        found = target(self._database, self._number, entry.target_id) if entry.target_id else None
        return found is not None and found[3] == GONE

    def hide(self, message_id: str) -> bool:
        """Delete a message for this device, for good. False if it is not here."""
        found = target(self._database, self.number, message_id)
        if found is None or found[3] == GONE:
            return False
        self._database.copies.forget(self.conversation_id, message_id)
        self.hidden.add(found[0])
        self._database.write("INSERT OR IGNORE INTO hidden VALUES (?, ?)", (self.number, found[0]))
        vanish(self._database, self.number, found[0], message_id)
        return True

    def mark(self, message_id: str, flag: int, on: bool) -> bool:
        """Set or take a flag of a message. False if it is not here."""
        found = target(self._database, self.number, message_id)
        if found is None or found[3] == GONE or found[2] & DELETED:
            return False
        change = "flags | ?" if on else "flags & ~?"
        self._database.write(
            f"UPDATE entries SET flags = {change} WHERE conversation = ? AND seq = ?",
            (flag, self.number, found[0]),
        )
        return True

    def opened(self, said: Entry, sealed: bytes, content: bytes, fields: Frame) -> None:
        """An entry of :meth:`form_of` was decrypted: its content is kept readable, with ``fields``. Not if something else has
        taken the place of ``sealed`` meanwhile."""
        text = json.dumps(said.fields | fields, separators=(",", ":"))
        written = self._database.write(
            "UPDATE entries SET content = ?, fields = ? WHERE conversation = ? AND seq = ? AND content = ?",
            (content, text, self.number, said.seq, sealed),
        )
        if written.rowcount > 0 and said.target_id:
            settle(self._database, self.number, said.target_id)

    def refuse(self, said: Entry, sealed: bytes) -> None:
        """An entry of :meth:`form_of` is not to be shown: its content goes, also from the message that it is about."""
        self._database.scrub_soon()
        self._database.write(
            "UPDATE entries SET content = NULL WHERE conversation = ? AND content = ? AND (seq = ? OR message_id = ?)",
            (self.number, sealed, said.seq, said.target_id or said.message_id),
        )

    def open_once(self, message_id: str) -> bytes | None:
        """The content of a message that is to be seen once, which is here no more then. None: there is nothing to see."""
        found = target(self._database, self.number, message_id)
        if found is None or found[3] == GONE or found[2] & (ONCE | OPENED) != ONCE:
            return None
        self._keep_copy(message_id)
        which = "WHERE conversation = ? AND seq = ?"
        content = self._database.read(
            f"SELECT content FROM entries {which}", (self.number, found[0])
        ).fetchone()[0]
        self._database.write(
            f"UPDATE entries SET content = NULL, flags = flags | ? {which}", (OPENED, self.number, found[0])
        )
        self._database.scrub_soon()
        return content if content is None else bytes(content)

    def cut(self, seq: int) -> None:
        """What is stored below ``seq`` may not join it: something between may be missing, unless the entry just
        below is here."""
        if self.low and self.low < seq and not self._at(seq - 1):
            self.low = seq
            self._database.dirty(self)

    def _bottom(self, seq: int) -> int:
        """How far down from ``seq`` each number is stored: what a late ✓ of ours has joined was hidden by :meth:`cut`."""
        row = self._database.read(
            "WITH RECURSIVE run (seq) AS (SELECT ? UNION ALL SELECT entries.seq FROM run CROSS JOIN entries "
            "WHERE conversation = ? AND entries.seq = run.seq - 1) SELECT min(seq) FROM run",
            (seq, self._number),
        ).fetchone()
        return int(row[0])

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
                "DELETE FROM entries WHERE conversation = ? AND seq < ? AND flags & ? = 0",
                (self.number, row[0], STARRED | OPENED),
            )
            self.cut(row[0])
        self._count = None

    def handle(self, up_to: int) -> None:
        if up_to > self.handled:
            self.handled = up_to
            self._database.dirty(self)
