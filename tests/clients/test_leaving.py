"""What leaves a device leaves it: hidden, vanished, seen once, deleted, too old. No trace is in the file, and nobody brings it
back."""

from __future__ import annotations

import asyncio
import base64
import sqlite3
import time
from dataclasses import replace
from pathlib import Path

import pytest

from whatsapp_client import Client, Conversation, Database, Entry, Session, copies, reporting, search_index
from whatsapp_client.keeper import KEPT_MS
from whatsapp_client.schema import APPLICATION_ID, MIGRATIONS

C, OTHER = "conversation-1", "conversation-2"
NOW = time.time_ns() // 1_000_000
SECRET = "xylophonequartz"


def session() -> Session:
    return Session("+15550001", "ann", "d", "token", "refresh")


def client(database: Database) -> Client:
    return Client("http://127.0.0.1:1", session(), database=database)


def message(seq: int, text: str, sender: str = "bob", at: int = NOW, **fields: object) -> Entry:
    return Entry(C, seq, sender, f"m{seq}", content=text.encode(), server_timestamp=at, fields=fields)


def event(seq: int, kind: str, target: str, actor: str = "bob", text: str = "", **data: object) -> Entry:
    fields = {"targetId": target, "data": data}
    content = text.encode() if text else None
    return Entry(C, seq, actor, type=kind, kind="event", content=content, fields=fields, server_timestamp=NOW)


def trace(path: Path) -> list[str]:
    """In which files of the database the secret is, as a text or as a word of the index."""
    found = []
    for suffix in ("", "-wal"):
        file = Path(f"{path}{suffix}")
        if file.exists() and SECRET[:8].encode() in file.read_bytes().lower():
            found.append(suffix or "file")
    return found


def fill(ann: Client) -> None:
    log = ann.history[C]
    for one in (
        message(1, "before"),
        message(2, f"the {SECRET} is here"),
        event(3, "edit", "m2", text=f"now {SECRET} again"),
        event(4, "edit", "m2", text=f"and {SECRET}"),
        event(5, "reaction", "m2", actor="ann", emoji="👍"),
        *(message(seq, f"text {seq} of many words") for seq in range(6, 300)),
    ):
        log.live(one)


def delete(ann: Client) -> None:
    ann.history[C].live(event(300, "delete", "m2"))


def edit(ann: Client) -> None:
    ann.history[C].live(event(300, "edit", "m2", text="harmless"))


def hide(ann: Client) -> None:
    ann.hide(C, "m2")


@pytest.mark.parametrize("how", [delete, edit, hide])
async def test_what_was_taken_out_leaves_no_trace_in_the_file(tmp_path: Path, how):
    path = tmp_path / "ann.db"
    with Database(path) as database:
        ann = client(database)
        fill(ann)
        ann.flush()
        assert trace(path)
        assert [found.entry.seq for found in ann.search(SECRET[:5])] == [2]
        how(ann)
        assert ann.search(SECRET) == []
        ann.flush()
        while database.scrub():
            pass
        assert trace(path) == []
    assert trace(path) == []
    # Another process finds what this one left.
    with Database(path) as database:
        ann = client(database)
        assert ann.search(SECRET) == []
        assert len(ann.search("many", limit=500)) == 294


async def test_twin_without_the_cleaning_the_words_stay_in_the_index(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(search_index, "scrub", lambda sql, begin: False)
    path = tmp_path / "ann.db"
    with Database(path) as database:
        ann = client(database)
        fill(ann)
        ann.flush()
        hide(ann)
        assert ann.search(SECRET) == []
    assert trace(path) == ["file"]


async def test_a_crash_before_the_cleaning_is_made_up_for(tmp_path: Path):
    path = tmp_path / "ann.db"
    database = Database(path)
    ann = client(database)
    fill(ann)
    ann.flush()
    hide(ann)
    ann.flush()
    database.abandon()
    with Database(path) as database:
        assert database.unclean
    assert trace(path) == []


async def test_deleted_for_me_is_gone_for_good(tmp_path: Path):
    with Database(tmp_path / "ann.db", keep=50) as database:
        ann = client(database)
        fill(ann)
        for seq in range(300, 320):
            ann.history[C].live(message(seq, "x"))
        ann.star(C, "m310")
        for hidden in ("m310", "m319"):
            ann.hide(C, hidden)
        assert ann.starred() == []
        last = ann.chat(C).last
        assert last is not None
        assert last.seq == 318
        with pytest.raises(ValueError, match="no such"):
            ann.hide(C, "m310")
        with pytest.raises(ValueError, match="no such"):
            ann.react(C, "m310", "👍")
        # The server gives it again: what is older, the same page, a sync from nothing.
        log = ann.history[C]
        again = [message(seq, "x") for seq in range(300, 320)]
        assert log.earlier(again) == 0
        log.forget_position()
        assert 310 not in [e.seq for e in log.page([*again, event(320, "edit", "m310", text="y")], 320)]
        # Also when its place was pruned meanwhile.
        for seq in range(321, 600):
            log.live(message(seq, "x"))
        assert (log.log.oldest() or 0) > 400
        assert (
            log.earlier([message(310, "x"), event(315, "reaction", "m310", emoji="+"), message(316, "x")])
            == 1
        )
        assert log.entries[0].seq == 316
        assert "m310" not in [shown.message_id for shown in ann.view(C, limit=500)]
    with Database(tmp_path / "ann.db", keep=50) as database:
        assert Conversation(C, database).earlier([message(310, "x")]) == 0


async def test_messages_vanish_at_their_time_live_and_while_the_program_was_off(tmp_path: Path):
    path = tmp_path / "ann.db"
    with Database(path) as database:
        ann = client(database)
        ann.history[C].live(message(1, SECRET, expiresIn=3_000))
        ann.history[C].live(message(2, f"{SECRET} long", expiresIn=10_000))
        ann.history[C].live(event(3, "edit", "m1", text=f"{SECRET} edited"))
        ann.history[C].live(message(4, "stays"))
        assert next(s.text for s in ann.view(C)) == f"{SECRET} edited"
        assert ann.view(C)[0].expires_at == NOW + 3_000_000
        stream = ann.events()
        await ann.start()
        database.told_time(NOW + 4_000_000)  # the server's clock counts
        async with asyncio.timeout(10):
            while [s.message_id for s in ann.view(C)] != ["m2", "m4"]:
                await stream.__anext__()
        assert [f.entry.seq for f in ann.search(SECRET)] == [2]
        # It comes once more, as the server shows it then, and as it was.
        gone = Entry(C, 1, "bob", "m1", deleted=True, server_timestamp=NOW, fields={"expiresIn": 3_000})
        for again in (gone, message(1, SECRET, expiresIn=3_000)):
            assert ann.history[C].earlier([again]) == 0
        # What comes when its time is over was never here.
        assert ann.history[C].live(message(5, SECRET, expiresIn=2_000)) == []
        assert ann.chat(C).last.seq == 4
        await ann.stop()
    with Database(path) as database:
        database.told_time(NOW + 20_000_000)
        database.commit()
    with Database(path) as database:
        ann = client(database)
        assert [s.message_id for s in ann.view(C)] == ["m4"]
    assert trace(path) == []


async def test_a_chats_timer_holds_for_own_messages_too():
    ann = client(Database())
    log = ann.history[C]

    def timer(seq: int, seconds: int | None) -> Entry:
        return Entry(
            C, seq, "bob", type="timer", kind="event", server_timestamp=NOW,
            fields={"data": {"seconds": seconds}},
        )  # fmt: skip

    async def sent(seq: int, **fields: object) -> int:
        outgoing = ann.send(C, "x", **fields)
        tick = {"messageId": outgoing.message_id, "conversationId": C, "seq": seq, "timestamp": NOW}
        await ann._inbound.handle({"type": "status_update", "status": "sent", **tick})
        entry = log.log.message(outgoing.message_id)
        return (entry.expires_at - NOW) // 1000 if entry and entry.expires_at else 0

    async def told(entry: Entry) -> None:
        frame = {"type": "event", "conversationId": C, "seq": entry.seq, "kind": "timer", "actorId": "bob"}
        await ann._inbound.handle({**frame, "data": entry.fields["data"], "serverTimestamp": NOW})

    await ann._inbound.handle(
        {
            "type": "message",
            "conversationId": C,
            "seq": 1,
            "senderId": "bob",
            "messageId": "m1",
            "serverTimestamp": NOW,
        }
    )
    assert await sent(2) == 0
    await told(timer(3, 600_000))
    assert ann.chat(C).timer == 600_000
    assert await sent(4) == 600_000
    assert await sent(5, expiresIn=60_000) == 60_000
    assert await sent(6, expiresIn=6_000_000) == 600_000
    # ✓ comes before the event that was there first.
    assert await sent(8) == 600_000
    await told(timer(7, None))
    assert ann.chat(C).timer is None
    await told(timer(9, 30_000))
    assert await sent(11) == 30_000
    await told(timer(10, 20_000))
    await asyncio.sleep(0)
    assert [s.expires_at and (s.expires_at - NOW) // 1000 for s in ann.view(C)] == [
        None, None, 600_000, 60_000, 600_000, 600_000, 20_000
    ]  # fmt: skip


async def test_a_message_that_is_seen_once_is_given_once(tmp_path: Path):
    path = tmp_path / "ann.db"
    with Database(path) as database:
        ann = client(database)
        log = ann.history[C]
        log.live(message(1, SECRET, viewOnce=True))
        shown = ann.view(C)[0]
        assert (shown.text, shown.view_once, shown.opened) == ("", True, False)
        assert ann.messages(C)[0].content is None
        assert ann.search(SECRET) == []
        with pytest.raises(ValueError, match="cannot be forwarded"):
            ann.forward(shown.entry, [OTHER])
        assert ann.open_once(C, "m1") == SECRET.encode()
        with pytest.raises(ValueError, match="nothing to open"):
            ann.open_once(C, "m1")
        assert ann.view(C)[0].opened
        log.earlier([message(1, SECRET, viewOnce=True)])
        log.forget_position()
        log.page([message(1, SECRET, viewOnce=True)], 1)
        with pytest.raises(ValueError, match="nothing to open"):
            ann.open_once(C, "m1")
        while database.scrub():
            pass
        assert trace(path) == []
        # One's own are not to be seen at all.
        outgoing = ann.send(C, SECRET, viewOnce=True)
        tick = {"messageId": outgoing.message_id, "conversationId": C, "seq": 2, "timestamp": NOW}
        await ann._inbound.handle({"type": "status_update", "status": "sent", **tick})
        with pytest.raises(ValueError, match="nothing to open"):
            ann.open_once(C, outgoing.message_id)


async def test_history_is_kept_for_two_years():
    database = Database()
    ann = client(database)
    old = time.time_ns() // 1_000_000 - KEPT_MS
    for seq in range(1, 1_203):
        ann.history[C].live(message(seq, f"{SECRET} {seq}", at=old - 1_202_000 + seq * 1_000))
    ann.history[C].live(message(1_203, "newer", at=old + 600_000))
    async with ann:
        async with asyncio.timeout(60):
            while len(ann.messages(C, limit=5_000)) > 1:
                await asyncio.sleep(0.01)
    assert [e.text for e in ann.messages(C)] == ["newer"]
    assert ann.search(SECRET) == []


async def test_stars(tmp_path: Path):
    with Database(tmp_path / "ann.db", keep=50) as database:
        ann = client(database)
        for seq in range(1, 200):
            ann.history[C].live(message(seq, "x", at=NOW + seq))
            if seq in (5, 20):
                ann.star(C, f"m{seq}")
        ann.history[OTHER].live(Entry(OTHER, 1, "bob", "o1", content=b"y", server_timestamp=NOW + 10))
        ann.star(OTHER, "o1")
        ann.star(C, "m20", on=True)
        assert [(e.conversation_id, e.seq) for e in ann.starred()] == [(C, 20), (OTHER, 1), (C, 5)], "pruned"
        assert [e.seq for e in ann.starred(limit=1, before=ann.starred(limit=1)[0])] == [1]
        assert 50 <= len(ann.messages(C, limit=1_000)) <= 55
        assert ann.starred()[0].starred
        ann.star(C, "m20", on=False)
        ann.history[C].live(event(200, "delete", "m5"))
        assert [e.seq for e in ann.starred()] == [1]
        with pytest.raises(ValueError, match="no such"):
            ann.star(C, "unknown")


@pytest.mark.parametrize("version", [1, 4, 5])
def test_files_of_older_versions_are_brought_up_to_date(tmp_path: Path, version: int):
    path = tmp_path / "old.db"
    with sqlite3.connect(path) as sql:
        for script in MIGRATIONS[:version]:
            sql.executescript(script)
        sql.execute("INSERT INTO conversations (number, id, position, low) VALUES (1, ?, 4, 1)", (C,))
        rows = [
            (1, "m1", "message", "text", b"Caf\xc3\xa9 one", 2, 0, '{"expiresIn": 5000}'),
            (2, "m2", "message", "text", b"secret", 2, 0, '{"expiresIn":1,"viewOnce":true}'),
            (3, "", "reaction", "event", None, 2, 0, '{"targetId":"m1","data":{"emoji":"+"}}'),
            (4, "m4", "message", "text", None, 2, 2, ""),
        ]
        for seq, message_id, type_, kind, content, at, flags, fields in rows:
            columns = (1, seq, "bob", message_id, type_, kind, content, 1, NOW - at, "d", flags, fields, 1)
            sql.execute(f"INSERT INTO entries VALUES ({', '.join('?' * 13)})", columns)
        sql.execute("INSERT INTO people (id, nickname, name, about) VALUES ('bob', 'Bob', '', '')")
        sql.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        sql.execute(f"PRAGMA user_version = {version}")
    sql.close()
    with Database(path) as database:
        ann = client(database)
        shown = ann.view(C)
        assert next((s.text, s.deleted, s.reactions) for s in shown) == ("Café one", False, {"+": ["bob"]})
        assert [f.entry.seq for f in ann.search("cafe")] == [1]
        assert ann.name_of("bob") == "Bob"
        ann.star(C, "m1")
        ann.hide(C, "m1")
        assert ann.search("cafe") == []


# -- for a report -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["deleted", "opened", "deleted unopened"])
async def test_what_was_taken_back_can_be_reported_by_the_process_that_had_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    path = tmp_path / "ann.db"
    with Database(path) as database:
        ann = client(database)
        once = {} if how == "deleted" else {"viewOnce": True}
        ann.history[C].live(message(1, SECRET, mediaUrl="/media/1", **once))
        before = ann.report_item(C, "m1")
        assert (before["senderId"], before["serverTimestamp"], before["mediaUrl"]) == ("bob", NOW, "/media/1")
        assert base64.b64decode(before["content"]) == SECRET.encode()
        if how == "opened":
            ann.open_once(C, "m1")
        else:
            ann.history[C].live(event(2, "delete", "m1"))
        assert ann.has_copy(C, "m1")
        assert ann.report_item(C, "m1") == before
        while database.scrub():
            pass
        assert trace(path) == []  # in memory alone
        later = database.now_ms() + copies.KEPT_MS
        with monkeypatch.context() as patched:
            patched.setattr(database, "now_ms", lambda: later)
            assert not ann.has_copy(C, "m1")
        assert not ann.has_copy(C, "m1")  # and it does not come back
    with Database(path) as database, pytest.raises(ValueError, match="no such message"):
        client(database).report_item(C, "m1")


async def test_what_it_said_before_an_edit_is_kept_for_a_report(tmp_path: Path) -> None:
    """In memory alone, each form once; not what was never decrypted; and nothing of what one took out oneself."""
    path = tmp_path / "client.db"
    with Database(path) as database:
        ann = client(database)

        def forms(message_id: str) -> list[str]:
            return [base64.b64decode(one["content"]).decode() for one in ann.report_items(C, message_id)]

        ann.history[C].live(message(1, SECRET, at=NOW - 10))
        ann.history[C].live(message(2, "sealed", at=NOW - 10, franking="AA=="))
        assert forms("m1") == [SECRET]
        for seq, text in ((3, "a poem"), (4, "a poem"), (5, "harmless")):
            ann.history[C].live(replace(event(seq, "edit", "m1", text=text), server_timestamp=NOW + seq))
        ann.history[C].live(event(6, "edit", "m2", text="other"))
        assert forms("m1") == [SECRET, "a poem", "harmless"]
        assert forms("m2") == ["other"]
        while database.scrub():
            pass
        assert trace(path) == []
        ann.history[C].live(event(7, "delete", "m1"))
        assert forms("m1") == [SECRET, "a poem", "harmless"]
        ann.hide(C, "m1")
        assert not ann.has_copy(C, "m1")
    assert trace(path) == []


def test_a_report_has_room_for_so_many_earlier_forms() -> None:
    """The last form of each message always, and of earlier ones the newest."""
    some = [[{"content": f"{name}{n}"} for n in range(5)] for name in "ab"]

    def said(room: int, forms: list = some) -> list[str]:  # type: ignore[type-arg]
        return [one["content"] for one in reporting._with_room(forms, room)]

    assert said(0) == said(-3) == ["a4", "b4"]
    assert said(5) == ["a0", "a1", "a2", "a3", "a4", "b3", "b4"]
    big = [[{"content": "x" * 200_000}, {"content": "y" * 200_000}, {"content": "z"}]]
    assert [one[0] for one in said(8, big)] == ["y", "z"]


async def test_what_one_took_out_oneself_is_not_kept_for_a_report() -> None:
    with Database() as database:
        ann = client(database)
        ann.history[C].live(message(1, SECRET))
        ann.history[C].live(event(2, "delete", "m1"))
        assert ann.has_copy(C, "m1")
        ann.hide(C, "m1")
        assert not ann.has_copy(C, "m1")
        # What comes deleted was never here.
        ann.history[C].live(Entry(C, 3, "bob", "m3", deleted=True, server_timestamp=NOW))
        assert not ann.has_copy(C, "m3")


def test_copies_for_reports_are_few() -> None:
    kept = copies.Copies()
    big = {"conversationId": C, "content": "x" * 50_000, "serverTimestamp": NOW}
    for n in range(100):
        kept.keep({**big, "messageId": f"big {n}"}, n, NOW)
    held = [n for n in range(100) if kept.get(C, f"big {n}", NOW)]
    assert held == list(range(100 - copies.MOST_BYTES // 50_000, 100))
    for n in range(copies.MOST + 1):
        kept.keep({**big, "content": "x", "messageId": f"m{n}"}, n, NOW)
        kept.keep({**big, "content": "y", "messageId": f"m{n}"}, n, NOW)
    assert kept.get(C, "m0", NOW) is None
    assert kept.get(C, "m1", NOW)
    assert kept.get(C, "big 99", NOW) is None
    for n in range(copies.MOST + 1):
        kept.forget(C, f"m{n}")
    assert kept._bytes == 0
