"""The window onto a long conversation, and what the others may know of the reader."""

from __future__ import annotations

import time

import pytest

from tests.clients.fake_backend import BOB, ME, FakeBackend
from whatsapp_client import Unreachable
from whatsapp_terminal.attention import IDLE, Attention
from whatsapp_terminal.settings import Settings
from whatsapp_terminal.window import KEEP, PAGE, Window


def backend(count: int, on_server: int = 0) -> FakeBackend:
    fake = FakeBackend()
    fake.chat("c", "Bob", BOB)
    fake.logs["c"] = [
        fake.entry("c", f"m{n}", BOB, n, at=n * 1000) for n in range(on_server + 1, on_server + count + 1)
    ]
    fake.server["c"] = [fake.entry("c", f"m{n}", BOB, n, at=n * 1000) for n in range(1, on_server + 1)]
    return fake


def seqs(window: Window) -> list[int]:
    return [entry.seq for entry in window.entries]


async def test_a_hundred_thousand_messages_cost_a_page():
    fake = backend(100_000)
    window = Window(fake, "c")
    started = time.perf_counter()
    window.newest()
    assert time.perf_counter() - started < 1  # ten times what a slow machine needs
    assert seqs(window) == list(range(100_000 - PAGE + 1, 100_001))
    assert not window.at_beginning


async def test_scrolling_up_and_down_again_shows_every_message_once_within_bounds():
    fake = backend(3_000)
    window = Window(fake, "c")
    window.newest()
    seen = set(seqs(window))
    while await window.older():
        assert len(window.entries) <= KEEP
        assert seqs(window) == sorted(seqs(window))
        seen |= set(seqs(window))
    assert seen == set(range(1, 3_001))
    assert window.at_beginning
    assert not window.at_newest
    while window.newer():
        assert len(window.entries) <= KEEP
    assert window.at_newest
    assert seqs(window) == list(range(3_000 - KEEP + 1, 3_001))


async def test_below_the_local_store_the_server_is_asked():
    fake = backend(60, on_server=100)
    window = Window(fake, "c")
    window.newest()
    while await window.older():
        pass
    assert seqs(window) == list(range(1, 161))


async def test_without_the_server_what_is_local_stays_and_the_rest_can_be_asked_for_again():
    fake = backend(60, on_server=100)
    window = Window(fake, "c")
    window.newest()
    answer, fake.load_older = fake.load_older, _away  # type: ignore[method-assign]
    with pytest.raises(Unreachable):
        await window.older()
    assert not window.at_beginning
    fake.load_older = answer  # type: ignore[method-assign]
    assert await window.older() == PAGE


async def _away(conversation_id: str, limit: int = 50) -> bool:
    raise Unreachable("away")


def test_numbers_without_entries_are_skipped_on_the_way_down():
    fake = backend(50)
    for seq in range(5_000, 5_010):
        fake.logs["c"].append(fake.entry("c", "late", BOB, seq))
    window = Window(fake, "c")
    window.entries = fake.messages("c", before=51)
    window.at_newest = False
    assert window.newer() == 10
    assert window.at_newest


def test_new_entries_join_and_edited_ones_are_replaced():
    fake = backend(10)
    window = Window(fake, "c")
    window.newest()
    fake.have("c", "new", BOB)
    edited = fake.entry("c", "changed", BOB, 10)
    fake.logs["c"][9] = edited
    assert window.renew()
    assert seqs(window) == list(range(1, 12))
    assert window.entries[9] is edited
    assert not window.renew()


def test_a_burst_above_a_page_leaves_no_hole():
    fake = backend(10)
    window = Window(fake, "c")
    window.newest()
    for _ in range(500):
        fake.have("c", "burst", BOB)
    window.renew()
    held = seqs(window)
    assert held == list(range(held[0], 511))


def test_a_message_with_its_tick_is_shown_until_the_log_has_it():
    fake = backend(3)
    window = Window(fake, "c")
    window.newest()
    outgoing = fake.send("c", "mine")
    window.renew()
    assert window.pending == [outgoing]
    fake._outbox["c"].clear()  # ✓, but an older message is still on its way: its place is not known yet
    outgoing.state, outgoing.seq = "sent", 5
    window.keep(outgoing)
    window.renew()
    assert window.pending == [outgoing]
    placed = fake.entry("c", "mine", ME, 4)
    placed.message_id = outgoing.message_id
    fake.logs["c"].append(placed)
    window.renew()
    assert window.pending == []
    assert seqs(window) == [1, 2, 3, 4]


def test_of_thousands_that_wait_the_refused_and_the_newest_are_shown():
    fake = backend(1)
    queued = [fake.send("c", f"waits {n}") for n in range(5_000)]
    fake.fail(queued[7], "forbidden", "no")
    window = Window(fake, "c")
    window.newest()
    assert window.pending[0] is queued[7]
    assert window.pending[-1] is queued[-1]
    assert len(window.pending) < 300


# -- attention ---------------------------------------------------------------------------------------------
def test_presence_follows_focus_and_activity_and_is_told_once():
    attention = Attention(0)
    assert attention.presence(0) == "online"
    assert attention.presence(1) is None
    attention.focus(False, 2)
    assert attention.presence(2) == "away"
    attention.focus(True, 3)
    assert attention.presence(3) == "online"
    assert attention.presence(3 + IDLE) == "away"
    attention.touch(4 + IDLE)
    assert attention.presence(4 + IDLE) == "online"


def test_read_needs_eyes_on_the_screen_and_grows():
    attention = Attention(0)
    assert not attention.read("c", 5, 0, shown=False)
    assert attention.read("c", 5, 0, shown=True)
    assert not attention.read("c", 5, 0, shown=True)
    assert not attention.read("c", 4, 0, shown=True)
    attention.focus(False, 1)
    assert not attention.read("c", 9, 1, shown=True)
    attention.focus(True, 2)
    assert attention.read("c", 9, 2, shown=True)
    assert not attention.read("c", 10, 3 + IDLE, shown=True)


def test_typing_is_told_at_most_every_second_and_a_half():
    attention = Attention(0)
    told = [at / 10 for at in range(100) if attention.typed("c", at / 10)]
    assert len(told) == 7
    assert attention.typed("d", 10.0)  # another chat
    assert attention.stopped_typing("d")
    assert not attention.stopped_typing("d")


def test_settings_survive_and_nonsense_is_the_default(tmp_path):
    path = tmp_path / "deep" / "settings.json"
    Settings("chat-light", "off", {"c": "half a sentence", "d": " "}).save(path)
    assert Settings.load(path) == Settings("chat-light", "off", {"c": "half a sentence"})
    assert path.stat().st_mode & 0o777 == 0o600
    path.write_text('{"theme": 5, "alert": "siren", "drafts": []}')
    assert Settings.load(path) == Settings()
    path.write_text("[")
    assert Settings.load(path) == Settings()
