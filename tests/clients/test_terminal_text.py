"""Other people's text: harmless, of one width everywhere, wrapped; and the layout of bubbles."""

from __future__ import annotations

import random
import unicodedata

import pytest
from rich.cells import cell_len
from textual.color import Color
from textual.theme import BUILTIN_THEMES, Theme

from tests.clients.fake_backend import BOB, ME, FakeBackend
from whatsapp_client import Outgoing, SendFailed
from whatsapp_terminal import cells, clock, themes
from whatsapp_terminal.bubbles import layout
from whatsapp_terminal.cells import View
from whatsapp_terminal.text import clean, cut, links, one_line, right_to_left, width, wrap

NASTY = [
    "\x1b[2J\x1b]0;owned\x07\x9b1mred",
    "a\rb\x08\x08c\x00\x7f",
    "\u202egnp.exe\u2066x\u2069",
    "z" + "\u0301" * 200,
    "👨‍👩‍👧 👍🏽 ❤️ 🇩🇪 1️⃣ 🏴\U000e0067\U000e0062\U000e007f",
    "\u2028line\u2029separators\u0085",
    "\U000f1234\ue000\udc80".encode("utf-8", "replace").decode(),
    "한국어 각 ก็ नमस्ते العربية",
]


@pytest.mark.parametrize("text", NASTY)
def test_cleaned_text_has_no_control_and_the_width_that_the_screen_reckons_with(text: str):
    cleaned = clean(text)
    assert all(
        c == "\n" or unicodedata.category(c) not in ("Cc", "Cs", "Co", "Cn", "Zl", "Zp") for c in cleaned
    )
    assert not set(cleaned) & set("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
    assert cell_len(cleaned) == width(cleaned)
    assert clean(cleaned) == cleaned


def test_random_text_is_wrapped_into_rows_that_fit_and_loses_nothing_but_spaces():
    rng = random.Random(7)
    alphabet = "ab  \n漢字éשלום👍\u0301\u200d\ufe0f\x1b\u202e한🇩" + chr(0xE0067)
    for _ in range(300):
        text = clean("".join(rng.choice(alphabet) for _ in range(rng.randint(0, 80))))
        room = rng.randint(2, 20)
        rows = [text[a:b] for a, b in wrap(text, room)]
        assert all(width(row) <= room and "\n" not in row for row in rows)
        assert all(cell_len(row) == width(row) for row in rows)
        assert "".join(rows).replace(" ", "") == text.replace(" ", "").replace("\n", "")


def test_wrapping_prefers_spaces_and_cuts_what_is_too_long():
    def rows(text: str, room: int) -> list[str]:
        return [text[a:b] for a, b in wrap(text, room)]

    assert rows("hello world this", 11) == ["hello world", "this"]
    assert rows("a" * 7, 3) == ["aaa", "aaa", "a"]
    assert rows("漢字漢", 4) == ["漢字", "漢"]
    assert rows("one\n\ntwo", 9) == ["one", "", "two"]
    assert len(wrap("x\n" * 60_000, 20, limit=25)) == 25


def test_cut_leaves_room_for_the_dots():
    assert cut("hello", 5) == "hello"
    assert cut("hello!", 5) == "hell…"
    assert cut("漢字漢字", 6) == "漢字…"
    assert cut("x", 0) == ""


def test_joiners_stay_where_scripts_need_them_only():
    assert "\u200c" in clean("می\u200cخواهم")
    assert "\u200d" not in clean("👨\u200d👩")


def test_links_are_web_addresses_without_the_sentence_around_them():
    text = "see (https://a.example/b), HTTP://C.example/x_(y). javascript:alert(1) file:///etc/passwd http://"
    assert [text[a:b] for a, b in links(text)] == ["https://a.example/b", "HTTP://C.example/x_(y)"]


def test_direction_is_that_of_the_first_letter():
    assert right_to_left("123 שלום hello")
    assert not right_to_left("hello שלום")


def test_times_in_words():
    now = 1_700_000_000_000
    assert clock.day(now, now) == "Today"
    assert clock.day(now - 86_400_000, now) == "Yesterday"
    assert clock.last_seen(now - 120_000, now) == "last seen 2 min ago"
    assert clock.last_seen(None, now) == "offline"
    assert clock.duration(40) == "40 s"
    assert clock.duration(600) == "10 min"
    for nonsense in (-5, 2**53):  # a server's clock is not ours
        assert clock.day(nonsense, now)
        assert clock.short(nonsense, now)


# -- bubbles -----------------------------------------------------------------------------------------------
NOW = 1_700_000_000_000


def view(width: int = 60, **fields: object) -> View:
    defaults = {
        "now": NOW,
        "own_id": ME,
        "receipt": lambda seq: "read",
        "name": lambda user: f"name of {user}",
    }
    return View(width=width, **{**defaults, **fields})  # type: ignore[arg-type]


def lines(blocks: list[cells.Block]) -> list[str]:
    return ["".join(span.text for span in row).rstrip() for block in blocks for row in block.rows]


def entry(text: str, sender: str, seq: int, at: int = NOW, **fields: object):
    return FakeBackend().entry("c", text, sender, seq, at, **fields)


def test_own_messages_are_at_the_right_and_others_at_the_left():
    shown = lines(layout([entry("from bob", BOB, 1), entry("from me", ME, 2)], [], view()))
    bob, me = (next(line for line in shown if word in line) for word in ("from bob", "from me"))
    assert bob.startswith("  from bob")
    assert me.startswith(" " * 20)
    assert me.endswith("✓✓")
    assert "✓" not in bob


def test_messages_of_one_sender_within_minutes_are_one_group():
    close = layout([entry("a", BOB, 1), entry("b", BOB, 2, NOW + 60_000)], [], view())
    apart = layout([entry("a", BOB, 1), entry("b", BOB, 2, NOW + 600_000)], [], view())
    assert len(lines(apart)) == len(lines(close)) + 1


def test_a_group_chat_names_who_writes_once_a_group():
    shown = lines(
        layout([entry("a", BOB, 1), entry("b", BOB, 2), entry("c", "eve", 3)], [], view(group=True))
    )
    assert sum("name of bob" in line for line in shown) == 1
    assert sum("name of eve" in line for line in shown) == 1


def test_days_and_what_is_unread_are_separated():
    entries = [
        entry("old", BOB, 1, NOW - 86_400_000),
        entry("seen", BOB, 2),
        entry("new", BOB, 3),
        entry("x", BOB, 4),
    ]
    shown = lines(layout(entries, [], view(divider=3, unread=2)))
    words = " ".join(shown)
    assert words.index("Yesterday") < words.index("old") < words.index("Today") < words.index("seen")
    assert words.index("seen") < words.index("2 unread messages") < words.index("new")


def test_what_is_unread_is_not_said_to_begin_where_only_the_window_does():
    entries = [entry("x", BOB, seq) for seq in range(50, 60)]
    assert "unread" not in "\n".join(lines(layout(entries, [], view(divider=3, unread=57))))
    assert "57 unread" in "\n".join(lines(layout(entries, [], view(divider=3, unread=57, beginning=True))))


def test_every_tick_has_its_sign_and_role():
    def meta(receipt: str) -> list[str]:
        blocks = layout([entry("hi", ME, 1)], [], view(receipt=lambda seq: receipt))
        return [span.role for block in blocks for row in block.rows for span in row if "tick" in span.role]

    assert [meta(state) for state in ("sent", "delivered", "read")] == [
        ["own tick-sent"], ["own tick-delivered"], ["own tick-read"],
    ]  # fmt: skip


def test_what_was_refused_says_why_and_offers_retry_and_discard():
    refused = Outgoing(
        "id-1", "c", b"hello", NOW, state="failed", error=SendFailed("forbidden", "Not\x1b here")
    )
    waiting = Outgoing("id-2", "c", b"later", NOW)
    blocks = layout([], [refused, waiting], view())
    actions = [span.action for block in blocks for row in block.rows for span in row if span.action]
    assert actions == ["retry id-1", "discard id-1"]
    words = "\n".join(lines(blocks))
    assert "Not sent: Not� here" in words
    assert words.rstrip().endswith("·")


@pytest.mark.parametrize("wide", [20, 37, 60, 120, 280])
def test_no_row_is_wider_than_the_view(wide: int):
    texts = [*NASTY, "word " * 100, "x" * 500, "漢" * 100, "https://example.org/" + "y" * 300, ""]
    entries = [entry(text, BOB if n % 2 else ME, n + 1, NOW + n * 1000) for n, text in enumerate(texts)]
    for group in (False, True):
        for line in lines(layout(entries, [], view(wide, group=group, beginning=True, divider=3, unread=9))):
            assert width(line) <= wide, line


def test_a_very_long_message_is_folded_until_asked_for():
    long = entry("\n".join(f"row {n}" for n in range(500)), BOB, 7)
    folded = layout([long], [], view())
    assert len(lines(folded)) < 40
    assert any(span.action == "unfold m 7" for row in folded[-1].rows for span in row)
    assert any("row 499" in line for line in lines(layout([long], [], view(unfolded=frozenset({"m 7"})))))


def test_deleted_and_edited_messages_say_so():
    shown = "\n".join(
        lines(layout([entry("", BOB, 1, deleted=True), entry("b", BOB, 2, edited=True)], [], view()))
    )
    assert "This message was deleted" in shown
    assert "edited" in shown


def test_one_line_of_a_name_has_no_line_break():
    assert one_line("a\nb\tc\x1b") == "a b c\N{REPLACEMENT CHARACTER}"


# -- themes ------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("theme", [*themes.OWN, *BUILTIN_THEMES.values()], ids=lambda theme: theme.name)
def test_every_theme_has_our_colours_and_text_can_be_read_in_it(theme: Theme):
    """WCAG 2.2, 1.4.3: 4.5 for text; what is dim keeps 3."""
    variables = {**themes.derived(theme), **theme.variables}
    assert variables.keys() >= themes.DARK.variables.keys() - {"footer-key-foreground"}
    if theme.ansi:
        return  # the terminal chooses
    colours = {**theme.to_color_system().generate(), **variables}
    pairs = [
        ("bubble-text", "bubble-own", 4.5), ("bubble-text", "bubble-other", 4.5), ("bubble-dim", "bubble-own", 3),
        ("bubble-dim", "bubble-other", 3), ("list-dim", "surface", 3),
        *((name, "bubble-other", 4.5) for name in themes.NAMES),
    ]  # fmt: skip
    for front, ground, least in pairs:
        assert themes.contrast(Color.parse(colours[front]), Color.parse(colours[ground])) >= least, (
            front,
            ground,
        )
