"""The terminal client without a terminal: the line being edited, and what other people's text may do to the screen."""

from __future__ import annotations

import pytest

from whatsapp_terminal.line_editor import Key, LineEditor, cells
from whatsapp_terminal.people import People
from whatsapp_terminal.screen import harmless


def typed(*parts: bytes) -> tuple[LineEditor, list[str]]:
    editor = LineEditor()
    entered = [p.line for part in parts for p in editor.feed(part) if p.key is Key.ENTER]
    return editor, entered


def test_lines_are_entered_and_the_rest_stays():
    editor, entered = typed(b"one\rtwo\rthr")
    assert entered == ["one", "two"]
    assert (editor.text, editor.cursor) == ("thr", 3)


@pytest.mark.parametrize(
    ("keys", "text"),
    [
        (b"abc\x7f", "ab"),
        (b"abc\x1b[D\x1b[DX", "aXbc"),
        (b"abc\x01X\x05Y", "XabcY"),
        (b"abc\x1b[H\x1b[3~", "bc"),
        (b"abc\x1b[D\x0b", "ab"),
        (b"abc\x1b[D\x15", "c"),
        (b"one two \x17", "one "),
        (b"a\x1b[200~b\x1bOP\x00c", "abc"),
        ("hé漢\x7f".encode(), "hé"),
    ],
)
def test_keys(keys: bytes, text: str):
    assert typed(keys)[0].text == text


def test_characters_and_sequences_may_come_in_pieces():
    data = "ä\x1b[Dö漢\r".encode()
    editor, entered = typed(*(data[i : i + 1] for i in range(len(data))))
    assert entered == ["ö漢ä"]
    assert editor.text == ""


def test_earlier_lines_come_back_and_the_draft_is_kept():
    editor, _ = typed(b"one\rtwo\rdraft\x1b[A\x1b[A")
    assert editor.text == "one"
    editor.feed(b"\x1b[B\x1b[B")
    assert editor.text == "draft"


def test_end_of_input_is_ctrl_d_on_an_empty_line_only():
    editor = LineEditor()
    assert [p.key for p in editor.feed(b"\x04")] == [Key.END]
    assert Key.END not in [p.key for p in editor.feed(b"a\x01\x04\x04")][:3]
    assert editor.text == ""


@pytest.mark.parametrize("text", ["abcdefghij" * 10, "漢字" * 30])
def test_the_view_fits_and_holds_the_cursor(text: str):
    editor = LineEditor()
    editor.feed(text.encode())
    for _ in range(len(text)):
        shown, column = editor.view(20)
        assert cells(shown) < 40
        assert 0 <= column < 20
        assert shown in text
        editor.feed(b"\x1b[D")
    assert editor.view(20)[1] == 0


def test_other_peoples_text_cannot_control_the_terminal():
    evil = harmless("a\x1b]0;title\x07\x1b[2Jb\r\nc\td\x9b1m\u202e")
    assert all(character.isprintable() for character in evil)
    assert evil.startswith("a\N{REPLACEMENT CHARACTER}]0;title")


def test_a_number_that_registers_becomes_the_person_known_by_id():
    people = People()
    waiting = people.named("+15550002")
    unknown = people.user("0197c0de-0000-7000-8000-000000000002")
    unknown.shown = 7
    people.found(waiting, unknown.user_id)
    assert list(people) == [waiting]
    assert waiting.shown == 7
    assert people.named("1") is waiting
