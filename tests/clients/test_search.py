"""Search in the file: what is found, in what order, and that no question is an error."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from whatsapp_client import Client, Database, Entry, Session, search_index
from whatsapp_client.search_index import fold

C, OTHER = "conversation-1", "conversation-2"


def client(database: Database | None = None) -> Client:
    session = Session("+15550001", "ann", "d", "token", "refresh")
    return Client("http://127.0.0.1:1", session, database=database)


def put(ann: Client, text: str | bytes, seq: int = 1, chat: str = C, at: int = 0, **fields: object) -> None:
    content = text.encode() if isinstance(text, str) else text
    entry = Entry(chat, seq, "bob", f"{chat}-{seq}", content=content, server_timestamp=at or 1_000 * seq)
    entry.fields |= fields
    ann.history[chat].live(entry)


@pytest.mark.parametrize(
    ("text", "asked"),
    [
        ("Hello World", "hello"), ("Hello World", "WORLD hel"), ("Hello World", "wor"),
        ("Straße", "strasse"), ("STRASSE", "straße"), ("Zürich", "zurich"),
        ("Zu\u0308rich", "ZÜRICH"), ("naïve café", "cafe naive"), ("ﬁne", "fine"),
        ("ＡＢＣ", "abc"), ("今天天气很好", "天气"), ("今天天气很好", "气"),
        ("今天天气很好", "今天 很好"), ("東京タワーに行く", "タワー"), ("がっこう", "がっこう"),
        ("สวัสดีครับ", "ดี"), ("안녕하세요 여러분", "하세요"), ("Привет, Мир", "мир"),
        ("Ёлка", "елка"), ("مُحَمَّد", "محمد"), ("İstanbul", "istanbul"),
        ("snake_case", "case"), ("v3.2-beta", "v3.2"), ("mail ann@example.org", "example.org"),
        ("don't", "don't"), ("C++ 20", "20"),
    ],
)  # fmt: skip
def test_what_is_found(text: str, asked: str):
    ann = client()
    put(ann, text)
    put(ann, "something else", seq=2)
    found = ann.search(asked)
    assert [one.entry.seq for one in found] == [1]
    assert found[0].marks, "and shown where"


@pytest.mark.parametrize(
    ("text", "asked"),
    [("hello", "ello"), ("hello world", "hello xyz"), ("hell", "hello"),
     ("天气", "气天"), ("がっこう", "かっこう"), ("hello", "hell ")],
)  # fmt: skip
def test_what_is_not(text: str, asked: str):
    ann = client()
    put(ann, text)
    assert ann.search(asked) == []


_SYNTAX = [
    '"',
    "''",
    "*",
    "(",
    ")",
    "AND",
    "OR",
    "NOT",
    "NEAR(a b, 2)",
    "text:",
    "^a",
    "-a",
    "+",
    "a*b",
    "\x00",
    "{",
    ":",
    "chat : c1",
]


@settings(max_examples=120, deadline=None)
@given(st.one_of(st.text(max_size=40), st.lists(st.sampled_from(_SYNTAX), max_size=8).map(" ".join)))
@example("chat : c1")
@example("\ud800")
@example("a" * 100_000)
@example(" ".join("w" for _ in range(10_000)))
def test_no_question_is_an_error(asked: str):
    ann = client()
    put(ann, "text AND chat c1")
    put(ann, asked.encode("utf-8", "replace"), seq=2)
    for one in ann.search(asked, limit=10):
        assert all(0 <= begin < end <= len(one.snippet) for begin, end in one.marks)
        assert len(one.snippet) <= 82


@settings(max_examples=80, deadline=None)
@given(st.text(min_size=1, max_size=30))
def test_each_word_of_a_text_finds_it(text: str):
    """Also what Python and SQLite may think of differently: characters of newer versions of Unicode."""
    with Database() as database:
        ann = client(database)
        put(ann, text)
        for word in fold(text).split():
            if any("a" <= c <= "z" or (c.isdigit() and c.isascii()) for c in word):
                assert ann.search(word + " "), word


def test_the_newest_first_page_by_page_over_chats():
    ann = client()
    for seq in range(1, 40):
        put(ann, f"needle {seq}", seq=seq, at=1_000 * seq)
        put(ann, f"needle {seq}", seq=seq, chat=OTHER, at=1_000 * seq + 500 * (seq % 2))
    put(ann, "hay", seq=40)
    pages, before = [], None
    while page := ann.search("needle", limit=7, before=before):
        pages += page
        before = page[-1]
    assert len(pages) == 78
    assert len({(f.entry.conversation_id, f.entry.seq) for f in pages}) == 78
    times = [found.entry.server_timestamp for found in pages]
    assert times == sorted(times, reverse=True)
    assert {f.entry.conversation_id for f in ann.search("needle", OTHER, limit=500)} == {OTHER}
    assert len(ann.search("needle", OTHER, limit=500)) == 39
    assert ann.search("needle", "nowhere") == []
    # A word of a text does not choose a chat.
    put(ann, "c2 chat", seq=41)
    assert [f.entry.seq for f in ann.search("c2")] == [41]


def test_what_is_indexed():
    ann = client()
    put(ann, b"\xff\xfe binary word", seq=1)
    put(ann, "seen once", seq=2, viewOnce=True)
    ann.history[C].live(Entry(C, 3, "bob", "m3", kind="image", content=b"word"))
    ann.history[C].live(
        Entry(C, 4, "bob", type="edit", kind="event", content=b"word", fields={"targetId": "nothing"})
    )
    put(ann, "word " * 13_000, seq=5)
    assert [f.entry.seq for f in ann.search("word")] == [5, 1]
    assert ann.search("once") == []
    (snippet,) = [f.snippet for f in ann.search("binary")]
    assert "binary" in snippet


async def test_own_messages_and_edits_are_found():
    ann = client()
    outgoing = ann.send(C, "written by me")
    assert ann.search("written") == [], "after its ✓"
    tick = {"messageId": outgoing.message_id, "conversationId": C, "seq": 1, "timestamp": 5}
    await ann._inbound.handle({"type": "status_update", "status": "sent", **tick})
    assert [f.snippet for f in ann.search("written")] == ["written by me"]
    edit = ann.edit(C, outgoing.message_id, "changed by me")
    tick = {"messageId": edit.message_id, "conversationId": C, "seq": 2, "timestamp": 6}
    await ann._inbound.handle({"type": "status_update", "status": "sent", **tick})
    await asyncio.sleep(0)
    assert ann.search("written") == []
    assert [f.entry.edited for f in ann.search("changed")] == [True]


def test_another_python_makes_the_index_anew(tmp_path, monkeypatch: pytest.MonkeyPatch):
    with Database(tmp_path / "ann.db") as database:
        put(client(database), "Ångström")
    with Database(tmp_path / "ann.db") as database:
        database.read("INSERT INTO texts (texts) VALUES ('delete-all')")
        assert client(database).search("angstrom") == []
    monkeypatch.setattr(search_index, "VERSION", "1 99.0")
    with Database(tmp_path / "ann.db") as database:
        assert len(client(database).search("angstrom")) == 1
