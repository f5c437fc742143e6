"""What a screen shows: whatever order the log, its pages and one's own ✓ come in, it is one view; and the index of texts
says the same."""

from __future__ import annotations

import random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from whatsapp_client import Client, Conversation, Database, Entry, Session
from whatsapp_client.log import Log as RowLog
from whatsapp_client.view import view

C, ME, PHONE = "conversation-1", "me", "phone"
USERS = [ME, "bob", "cat"]
EMOJIS = ["+", "-", "*"]


class Log:
    """A server's log, as it judges and shows it."""

    def __init__(self, chance: random.Random, length: int) -> None:
        self.rows: list[Entry] = []
        self.own: set[int] = set()  # written on this device
        for seq in range(1, length + 1):
            sender = chance.choice(USERS)
            alive = [m for m in self.messages() if not self.deleted(m)]
            mine = [m for m in alive if m.sender_id == sender]
            kind = chance.choice(["message", "message", "edit", "edit", "reaction", "vote", "delete"])
            if kind in ("edit", "delete") and mine:
                self._event(seq, sender, kind, chance.choice(mine[-3:]))
            elif kind in ("reaction", "vote") and alive:
                self._event(seq, sender, kind, chance.choice(alive[-4:]), chance.choice([*EMOJIS, ""]))
            else:
                self.rows.append(
                    Entry(C, seq, sender, f"m{seq}", content=f"w{seq}".encode(), server_timestamp=seq)
                )
            if sender == ME and chance.random() < 0.6:
                self.own.add(seq)

    def _event(self, seq: int, sender: str, kind: str, target: Entry, emoji: str = "") -> None:
        fields = {"targetId": target.message_id, "data": {"emoji": emoji} if kind == "reaction" else {}}
        content = {"edit": f"w{seq}".encode(), "vote": b'{"options":["a"]}' if emoji else None}.get(kind)
        self.rows.append(
            Entry(
                C, seq, sender, type=kind, kind="event", content=content, fields=fields, server_timestamp=seq
            )
        )

    def messages(self) -> list[Entry]:
        return [row for row in self.rows if row.type == "message"]

    def about(self, message: Entry, upto: int, kind: str) -> list[Entry]:
        return [
            row for row in self.rows[:upto] if row.type == kind and row.target_id == message.message_id
        ]  # fmt: skip

    def deleted(self, message: Entry, upto: int = 10**9) -> bool:
        return bool(self.about(message, upto, "delete"))

    def shown(self, seq: int, upto: int) -> Entry | None:
        """A row as it is read when the log has ``upto`` rows; None: superseded, owed to nobody."""
        row = self.rows[seq - 1]
        if row.type == "message":
            edits = self.about(row, upto, "edit")
            if self.deleted(row, upto):
                return Entry(C, seq, row.sender_id, row.message_id, deleted=True, server_timestamp=seq)
            content = edits[-1].content if edits else row.content
            return Entry(
                C, seq, row.sender_id, row.message_id, content=content, edited=bool(edits), server_timestamp=seq
            )  # fmt: skip
        target = next(m for m in self.messages() if m.message_id == row.target_id)
        later = [r for r in self.about(target, upto, row.type) if r.seq > seq]
        if row.type != "delete" and self.deleted(target, upto):
            return None
        if any(row.type == "edit" or r.sender_id == row.sender_id for r in later):
            return None
        return Entry(
            C, seq, row.sender_id, type=row.type, kind="event", content=row.content, fields=dict(row.fields),
            server_timestamp=seq,
        )  # fmt: skip

    def below(self, before: int, head: int) -> list[Entry]:
        """A page of ``GET /conversations/{id}/events?before=``."""
        owed = [e for seq in range(1, min(before, head + 1)) if (e := self.shown(seq, head))]
        return owed[-4:]

    def live(self, seq: int) -> Entry:
        shown = self.shown(seq, seq)
        assert shown is not None
        return shown

    def view(self, hidden: set[str]) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for row in self.messages():
            if row.message_id in hidden:
                continue
            last = self.shown(row.seq, len(self.rows))
            assert last is not None
            reactions: dict[str, str] = {}
            votes: dict[str, Any] = {}
            if not last.deleted:
                for said in self.about(row, len(self.rows), "reaction"):
                    reactions[said.sender_id] = said.fields["data"]["emoji"]
                for said in self.about(row, len(self.rows), "vote"):
                    votes[said.sender_id] = said.content
            found[row.message_id] = (
                row.seq, last.text, last.edited, last.deleted,
                {user: emoji for user, emoji in reactions.items() if emoji},
                {user: vote for user, vote in votes.items() if vote},
            )  # fmt: skip
        return found


def seen(database: Database, conversation: Conversation) -> dict[str, Any]:
    found = {}
    for shown in view(database, conversation.log, ME, None, 1_000, []):
        reactions = {user: emoji for emoji, users in shown.reactions.items() for user in users}
        votes = {u: v for u, (v, _) in conversation.log.said(shown.message_id, "vote").items() if v}
        found[shown.message_id] = (
            shown.entry.seq, shown.text, shown.edited, shown.deleted, reactions, {} if shown.deleted else votes,
        )  # fmt: skip
    return found


def words(database: Database) -> set[str]:
    """All that the index of texts knows."""
    database.commit()
    database.read("CREATE VIRTUAL TABLE IF NOT EXISTS temp.words USING fts5vocab (main, texts, col)")
    return {term for (term,) in database.read("SELECT term FROM temp.words WHERE col = 'text'")}


def play(seed: int, length: int, database: Database) -> None:
    chance = random.Random(seed)
    log = Log(chance, length)
    conversation = Conversation(C, database)
    head = chance.randint(1, max(1, length // 2))  # what the server has
    first = chance.randint(1, head)  # where this device begins
    position = first - 1
    told: set[int] = set()  # own ✓
    asked: list[list[Entry]] = []  # answers on their way
    hidden: set[str] = set()

    def tick(seq: int) -> None:
        if seq in log.own and seq not in told and seq >= first:
            told.add(seq)
            conversation.own(log.live(seq))

    def live() -> None:
        nonlocal position
        if position < head:
            position += 1
            tick(position) if position in log.own else conversation.live(log.live(position))

    def page(count: int) -> None:
        nonlocal position
        through = min(head, position + count)
        entries = [e for seq in range(position + 1, through + 1) if (e := log.shown(seq, head))]
        conversation.page(entries, through)
        position = through

    def older() -> None:
        asked.append(log.below(conversation.log.oldest() or 10**9, head))

    for _ in range(3 * length):
        match chance.choice(
            ["live", "live", "page", "older", "answer", "tick", "grow", "grow", "hide", "again"]
        ):
            case "live":
                live()
            case "page":
                page(chance.randint(1, 5))
            case "older":
                older()
            case "answer" if asked:
                conversation.earlier(asked.pop(chance.randrange(len(asked))))
            case "tick":
                waiting = sorted(seq for seq in log.own - told if seq <= head)
                if waiting:
                    tick(waiting[0])
            case "grow":
                head = min(length, head + 1)
            case "hide" if chance.random() < 0.2:
                here = [shown.message_id for shown in view(database, conversation.log, ME, None, 50, [])]
                if here:
                    chosen = chance.choice(here)
                    assert conversation.log.hide(chosen)
                    hidden.add(chosen)
            case "again" if conversation.position and chance.random() < 0.3:  # a sync from an older position
                low = chance.randint(max(0, first - 1), position)
                entries = [e for seq in range(low + 1, position + 1) if (e := log.shown(seq, head))]
                conversation.page(entries, position)
    head = length
    while position < head:
        page(3) if chance.random() < 0.5 else live()
    for entries in asked:
        conversation.earlier(entries)
    while (conversation.log.oldest() or 1) > 1:
        before = conversation.log.oldest() or 1
        conversation.earlier(log.below(before, head))
        if conversation.log.oldest() == before:
            break
    expected = log.view(hidden)
    assert seen(database, conversation) == expected
    assert words(database) == {text for _, text, _, deleted, _, _ in expected.values() if not deleted}


_RUNS = settings(max_examples=150, deadline=None)


@_RUNS
@given(st.integers(0, 2**32), st.integers(1, 24))
def test_any_order_of_pages_and_live_events_gives_one_view(seed: int, length: int):
    with Database() as database:
        play(seed, length, database)


def test_twin_that_takes_the_last_to_come_for_the_last_word_is_caught(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(RowLog, "_settle", lambda *args: None)
    with pytest.raises(AssertionError):
        for seed in range(300):
            with Database() as database:
                play(seed, 24, database)


def test_nothing_that_is_done_to_one_message_reads_the_whole_chat(monkeypatch: pytest.MonkeyPatch):
    """An index that SQLite does not choose makes a long chat slow with each message."""
    plans: dict[str, str] = {}

    def noted(kind: str) -> Any:
        ask = getattr(Database, kind)

        def run(self: Database, statement: str, values: Any = ()) -> Any:
            if statement not in plans and statement.startswith(("SELECT", "UPDATE", "DELETE")):
                rows = self._sql.execute(f"EXPLAIN QUERY PLAN {statement}", [0] * statement.count("?"))
                plans[statement] = "; ".join(row[3] for row in rows.fetchall())
            return ask(self, statement, values)

        return run

    monkeypatch.setattr(Database, "read", noted("read"))
    monkeypatch.setattr(Database, "write", noted("write"))
    client = Client("http://127.0.0.1:1", Session("+1", ME, PHONE, "", ""))
    log = client.history[C]
    for seq in range(1, 9):
        log.live(Entry(C, seq, ME, f"m{seq}", content=b"text", server_timestamp=seq))
    for seq, kind, target in (
        (9, "edit", "m1"),
        (10, "reaction", "m1"),
        (11, "delete", "m2"),
        (12, "vote", "m3"),
        (13, "edit", "m1"),
    ):
        fields = {"targetId": target, "data": {}}
        log.live(
            Entry(C, seq, ME, type=kind, kind="event", content=b"new", fields=fields, server_timestamp=seq)
        )
    log.own(Entry(C, 14, ME, "m14", content=b"text", server_timestamp=14))
    log.earlier([Entry(C, 3, ME, "m3", content=b"text", server_timestamp=3)])
    client.view(C)
    client.hide(C, "m1")
    client.star(C, "m4")
    client.starred()
    client.search("text", C)
    client.edit(C, "m5", "other")
    client.keeper.vanish()
    client.keeper.purge()
    used = {
        statement: plan
        for statement, plan in plans.items()
        if "entries" in statement and "max(seq)" not in statement and "count(" not in statement
    }
    assert len(used) > 15
    for statement, plan in used.items():
        assert "SCAN entries" not in plan, statement
        assert "(conversation=?)" not in plan, statement
