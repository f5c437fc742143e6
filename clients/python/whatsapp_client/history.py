"""What this device has of its conversations: the log in order, positions, receipts.

A conversation's :attr:`~Conversation.position` is the device's promise to the server: everything up to it is
in the database. An entry above ``position + 1`` waits in memory until the hole below it is closed, by the missing
entries or by a page whose ``through`` passes them (entries that were not owed, are superseded or have
expired), and is released in order.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from .database import Database
from .entry import Entry
from .log import Log
from .reading import COLUMNS

#: Entries that wait above a hole, for each conversation; beyond them `sync` brings them again.
MAX_HELD = 10_000
NEVER = (2**63 - 1, 2**63 - 1, 2**63 - 1)


@dataclass(slots=True)
class Receipt:
    """How far a user has received and read a conversation; both only grow."""

    delivered: int = 0
    read: int = 0


class Conversation:
    """The log of one conversation as this device knows it."""

    def __init__(self, conversation_id: str, database: Database | None = None) -> None:
        self._database = database if database is not None else Database()
        self.id = conversation_id
        self.log = Log(self._database, conversation_id)
        self.repeated = 0  # entries that came more than once and were dropped
        self._held: dict[int, Entry] = {}
        self._receipts: dict[str, Receipt] | None = None
        self._changed: set[str] = set()
        self._ended = False

    @property
    def position(self) -> int | None:
        """Everything up to it is stored here. None: nothing is known yet, the server's position counts."""
        return self.log.position

    @property
    def ended(self) -> bool:
        """Whether nothing more is owed: this user has left. A last message of ours may have a number above the end (a server
        notices a removal within seconds); what lies between is never sent, so nothing waits for it."""
        return self._ended

    @ended.setter
    def ended(self, ended: bool) -> None:
        self._ended = ended
        if ended:
            for seq in sorted(self._held):
                if self._held[seq].type != "repeated":
                    break  # we are back already
                del self._held[seq]

    @property
    def entries(self) -> list[Entry]:
        """All that is stored, ascending."""
        return self.log.page(limit=2 * self._database.keep)

    @property
    def receipts(self) -> dict[str, Receipt]:
        """By user."""
        if self._receipts is None:
            rows = self._database.read(
                "SELECT user, delivered, read FROM receipts JOIN conversations ON conversation = number WHERE id = ?",
                (self.id,),
            )
            self._receipts = {user: Receipt(delivered, read) for user, delivered, read in rows}
        return self._receipts

    # -- what comes ----------------------------------------------------------------------------------------
    def live(self, entry: Entry) -> list[Entry]:
        """A live entry. Returns what is now in order: nothing (repeated, or above a hole), it, or it and
        those behind it."""
        position = self.log.position
        if position is None:
            # The server never opens a conversation in the middle: what comes first follows the acknowledged
            # position.
            self._move(entry.seq - 1)
            self.log.cut(entry.seq)
            for seq in [seq for seq in self._held if seq < entry.seq]:
                del self._held[seq]  # our own numbers, below what we have from now on
        elif entry.seq == position + 1 and not self._held:
            self._move(entry.seq)
            return [entry] if self._keep(entry) else []
        self._hold(entry)
        return self._release()

    def page(self, entries: list[Entry], through: int) -> list[Entry]:
        """A `sync_batch`: its entries, and word that nothing else is owed up to ``through``."""
        if self.log.position is None:
            self.log.cut(min((entry.seq for entry in entries), default=through + 1))
        for entry in entries:
            self._hold(entry)
        reached = [self._held.pop(seq) for seq in sorted(self._held) if seq <= through]
        self._move(max(self.log.position or 0, through))
        if reached and reached[-1].seq == through:
            self._drop_behind(reached[-1])
        return [entry for entry in reached if self._keep(entry)] + self._release()

    def own(self, entry: Entry) -> list[Entry]:
        """One of our own messages after its ✓; returns what waited behind its number.

        It never opens a conversation: older entries may still be on their way.
        """
        self._keep(entry)
        if self._ended:
            return []
        if self.log.position is None or entry.seq > self.log.position:
            self._held.setdefault(entry.seq, self._taken(entry))
        return self._release()

    def earlier(self, entries: list[Entry]) -> int:
        """A page read from the server's history (REST): shown, but no claim about what this device has. Returns how
        many are new here."""
        wanted = [entry for entry in entries if entry.seq not in self._held]
        low = self.log.low
        added = sum(self.log.add(entry, shown=False) for entry in wanted)
        if entries:
            self.log.join(min(entry.seq for entry in entries), low)
        return added

    @property
    def hole(self) -> bool:
        """Whether something waits above a missing entry."""
        return self.log.position is not None and bool(self._held)

    def forget_position(self) -> None:
        """The server does not know our position (`reset`): start from its own."""
        self._move(None)

    def receipt(self, user_id: str, status: str, up_to: int) -> bool:
        """Raise a receipt; False if that was known."""
        receipt = self.receipts.setdefault(user_id, Receipt())
        known = receipt.read if status == "read" else receipt.delivered
        if up_to <= known:
            return False
        receipt.delivered = max(receipt.delivered, up_to)  # who has read it has it
        if status == "read":
            receipt.read = up_to
        self._changed.add(user_id)
        self._database.dirty(self)
        return True

    def forget_receipt(self, user_id: str) -> None:
        """They are gone: whether they have read something is no longer told."""
        if self.receipts.pop(user_id, None) is not None:
            self._changed.discard(user_id)
            self._database.write(
                "DELETE FROM receipts WHERE conversation = ? AND user = ?", (self.log.number, user_id)
            )

    def save(self) -> None:
        """Receipts that changed, once a turn."""
        changed, self._changed = self._changed, set()
        rows = [(self.log.number, u, self.receipts[u].delivered, self.receipts[u].read) for u in changed]
        self._database.write_many("INSERT OR REPLACE INTO receipts VALUES (?, ?, ?, ?)", rows)

    # -- inside --------------------------------------------------------------------------------------------
    def _move(self, position: int | None) -> None:
        if position != self.log.position:
            self.log.position = position
            self._database.dirty(self.log)

    def _hold(self, entry: Entry) -> None:
        position = self.log.position
        known = entry.seq in self._held or (position is not None and entry.seq <= position)
        if known or self.log.has(entry):
            self.repeated += 1
            if not known:  # the same message under another number: the number is taken, nothing is shown
                self._held[entry.seq] = self._taken(entry)
            return
        if len(self._held) < MAX_HELD:
            self._held[entry.seq] = entry

    def _taken(self, entry: Entry) -> Entry:
        """Holds the place of an entry that is stored already."""
        return Entry(self.id, entry.seq, entry.sender_id, type="repeated")

    def _release(self) -> list[Entry]:
        released = []
        position = self.log.position
        while position is not None and (entry := self._held.pop(position + 1, None)) is not None:
            position += 1
            self._move(position)
            if self._keep(entry):
                released.append(entry)
            self._drop_behind(entry)
        return released

    def _drop_behind(self, end: Entry) -> None:
        """Own numbers right above the end of our membership are none that we are owed (see :attr:`ended`): a position up there
        would be one that the server does not know, and answers with `reset`."""
        data = end.fields.get("data")
        dissolved = end.type == "info" and isinstance(data, dict) and bool(data.get("dissolved"))
        removed = end.fields.get("userId") if end.type == "member_removed" else None
        seq = end.seq + 1
        while (own := self._held.get(seq)) is not None and own.type == "repeated":
            if not dissolved and own.sender_id != removed:
                break
            del self._held[seq]
            seq += 1

    def _keep(self, entry: Entry) -> bool:
        if entry.type == "repeated":
            return False
        if not self.log.add(entry):
            self.repeated += 1
            return False
        return True


class History:
    """All conversations of this device."""

    def __init__(self, database: Database | None = None) -> None:
        self._database = database if database is not None else Database()
        self._conversations: dict[str, Conversation] = {}
        for conversation_id in self._database.conversations():
            self[conversation_id]

    def __getitem__(self, conversation_id: str) -> Conversation:
        conversation = self._conversations.get(conversation_id)
        if conversation is None:
            conversation = Conversation(conversation_id, self._database)
            self._conversations[conversation_id] = conversation
        return conversation

    def __iter__(self) -> Iterator[Conversation]:
        return iter(list(self._conversations.values()))

    def starred(self, limit: int, before: Entry | None) -> list[Entry]:
        """Messages with a star, newest first, behind ``before``."""
        logs = {conversation.log.known_number: conversation.log for conversation in self}
        at = (
            (before.server_timestamp, self[before.conversation_id].log.number, before.seq)
            if before
            else NEVER
        )
        rows = self._database.read(
            f"SELECT conversation, {COLUMNS} FROM entries WHERE flags & 4 AND type = 'message' "
            "AND server_timestamp <= ? AND (server_timestamp, conversation, seq) < (?, ?, ?) "
            "ORDER BY server_timestamp DESC, conversation DESC, seq DESC LIMIT ?",
            (at[0], *at, limit),
        ).fetchall()
        return [logs[number].entry(tuple(columns)) for number, *columns in rows if number in logs]

    def have(self) -> dict[str, int]:
        """Positions for `sync`: everything up to them is stored here."""
        return {c.id: c.position for c in self._conversations.values() if c.position is not None}
