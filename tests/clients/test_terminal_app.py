"""The terminal client on a scripted library: writing, ticks, the banner, windows, themes, help."""

from __future__ import annotations

import json

import pytest
from textual.events import Resize
from textual.geometry import Size

from tests.clients.fake_backend import BOB, ME, FakeBackend
from tests.clients.pilots import driven, people, shown, until
from whatsapp_client import SendFailed
from whatsapp_terminal.app import TerminalApp
from whatsapp_terminal.banner import Banner
from whatsapp_terminal.chat_list import ChatList
from whatsapp_terminal.chat_screen import ChatScreen
from whatsapp_terminal.composer import Composer
from whatsapp_terminal.conversation import MessagesView


async def test_a_message_is_sent_with_enter_and_its_ticks_grow():
    async with driven() as d:
        await d.open()
        await d.type(*"hi bob", "ctrl+j", *"line two", "enter")
        await d.sees("hi bob", "line two")
        (outgoing,) = d.fake.pending("c-bob")
        assert outgoing.content == b"hi bob\nline two"
        await until(lambda: any(line.rstrip().endswith("·") for line in d.text().splitlines()))
        d.fake.tick(outgoing)
        await until(lambda: any(line.rstrip().endswith(" ✓") for line in d.text().splitlines()))
        d.fake.receipt("c-bob", "delivered", 1)
        await until(lambda: any(line.rstrip().endswith(" ✓✓") for line in d.text().splitlines()))
        view = d.screen.query_one(MessagesView)
        assert "tick-delivered" in roles(view)
        d.fake.receipt("c-bob", "read", 1)
        await until(lambda: "tick-read" in roles(view))


def roles(view: MessagesView) -> str:
    return " ".join(span.role for block in view.blocks for row in block.rows for span in row)


async def test_what_is_typed_right_after_enter_does_not_meet_what_was_sent():
    async with driven() as d:
        await d.open()
        await d.type(*"one", "enter", *"two", "enter")
        await until(lambda: len(d.fake.pending("c-bob")) == 2)
        assert [outgoing.text for outgoing in d.fake.pending("c-bob")] == ["one", "two"]
        assert d.screen.query_one(Composer).text == ""


async def test_the_banner_counts_down_and_counts_what_waits():
    async with driven() as d:
        await d.open()
        d.fake.become("waiting", retry_in=12.0)
        await d.sees("Offline, trying again in 1")
        await d.type(*"later", "enter")
        await d.sees("1 message waits to be sent")
        d.fake.become("syncing", remaining=4_000)
        await d.sees("Syncing… 4,000 left", "┄┄┄┄")
        d.fake.become("syncing", remaining=1_000)
        await d.sees("Syncing… 1,000 left", "━━━━━━━━━━━━┄")
        d.fake.become("online")
        await d.loses("Syncing")


async def test_a_short_trouble_says_nothing():
    async with driven() as d:
        d.screen.query_one(Banner)._patience = 60.0
        for status in ("waiting", "connecting", "syncing", "online"):
            d.fake.become(status, retry_in=0.1)
            await d.settle()
            assert not any(word in d.text() for word in ("Offline", "Connecting…", "Syncing"))


async def test_a_refused_message_can_be_tried_again_by_mouse_and_discarded_by_key():
    async with driven() as d:
        await d.open()
        first, second = (d.fake.send("c-bob", text) for text in ("first", "second"))
        d.fake.fail(first, "forbidden", "You may not.")
        d.fake.fail(second, "forbidden", "You may not.")
        await d.sees("Not sent: You may not.", "Retry", "Discard")
        lines = d.text().splitlines()
        row = next(n for n, line in enumerate(lines) if "Retry" in line and "Not sent" in line)
        await d.pilot.click(offset=(lines[row].index("Retry") + 1, row))
        assert first.state == "queued"
        d.screen.query_one(MessagesView).focus()
        await d.pilot.press("up", "d")
        await until(lambda: d.fake.pending("c-bob") == [first])
        d.fake.fail(first, "forbidden", "Again.")
        await d.sees("Again.")
        await d.pilot.press("ctrl+r")
        await until(lambda: first.state == "queued")
        await d.loses("Not sent")


async def test_a_terminal_that_was_replaced_can_take_its_place_again():
    async with driven() as d:
        d.fake.become("stopped", detail="this device has connected elsewhere", code=4409)
        d.fake.emit(None)  # type: ignore[arg-type]
        await d.sees("Connected elsewhere", "F5")
        d.fake.started = False
        await d.pilot.press("f5")
        await until(lambda: d.fake.started)
        d.fake.become("online")
        await d.loses("Connected elsewhere")


async def test_names_and_messages_cannot_control_the_terminal_or_the_markup():
    fake = FakeBackend()
    fake.chat("c", "[bold]Mallory[/] \x1b]0;owned\x07[@click=app.quit]x[/]", BOB)
    fake.have("c", "\x1b[2J[red]boo[/red] [@click=app.quit]click[/]\x9b1m \u202egnp", BOB)
    async with driven(fake) as d:
        await d.open("c")
        await d.sees("[red]boo[/red]", "[bold]Mallory[/]")
        d.app.say(fake.chats()[0].title)
        await until(lambda: d.text().count("[bold]Mallory") > 2)
        await d.pilot.press("ctrl+p")
        await until(lambda: d.app.screen is not d.screen)
        await d.type(*"Mallory")
        await d.sees("[bold]Mallory")
        assert not set(d.text()) & {chr(c) for c in (*range(10), *range(11, 32), *range(127, 160), 0x202E)}
        assert not any("\x1b]0" in str(strip.text) for strip in d.app.screen._compositor.render_strips())


async def test_a_window_that_changes_before_its_parts_are_there():
    async with driven(people()) as d:
        await d.sees("Bob Carter")
        fresh = ChatScreen(d.fake)
        assert not fresh.query(ChatList)
        fresh.on_resize(Resize(Size(90, 25), Size(90, 25)))


async def test_wide_narrow_and_tiny_windows():
    fake = people()
    for n in range(50):
        fake.have("c-bob", f"message {n} with some words to wrap 漢字 " * 3, BOB if n % 2 else ME)
    async with driven(fake, size=(120, 40)) as d:
        await d.open()
        await d.sees("Search chats", "message 49")
        for size in ((40, 12), (300, 80), (71, 20), (72, 24), (20, 6), (100, 30)):
            await d.pilot.resize_terminal(*size)
            await d.settle()
            assert ("Search chats" in d.text()) == (size[0] >= 72)
            if size[1] >= 12:
                await d.sees("message 49")
        await d.pilot.resize_terminal(40, 12)
        await d.settle()
        await d.pilot.press("escape")
        await d.sees("Search chats", "Bob Carter")
        d.screen.query_one(ChatList).focus()
        await d.pilot.press("home", "enter")
        await d.sees("‹ Bob Carter")


async def test_drafts_stay_with_their_chat_and_over_a_restart(tmp_path):
    path = tmp_path / "settings.json"
    async with driven(settings_path=lambda number: path, number="+15550001") as d:
        await d.open("c-bob")
        await d.type(*"half a")
        await d.open("c-eve")
        assert d.screen.query_one(Composer).text == ""
        await d.sees("Draft: half a")
        assert json.loads(path.read_text())["drafts"] == {
            "c-bob": "half a"
        }  # before the end: it may be sudden
        await d.open("c-bob")
        assert d.screen.query_one(Composer).text == "half a"
        await d.pilot.press("ctrl+q")
        await until(lambda: d.fake.stopped)
    assert json.loads(path.read_text())["drafts"] == {"c-bob": "half a"}
    async with driven(settings_path=lambda number: path, number="+15550001") as d:
        await d.open("c-bob")
        assert d.screen.query_one(Composer).text == "half a"


async def test_themes_change_at_run_time_and_are_remembered(tmp_path):
    path = tmp_path / "settings.json"
    options = {"settings_path": lambda number: path, "number": "+15550001"}
    async with driven(**options) as d:
        await d.open()
        seen = [d.app.theme]
        for _ in range(3):
            await d.pilot.press("ctrl+t")
            seen.append(d.app.theme)
        assert seen == ["chat-dark", "chat-light", "chat-contrast", "chat-dark"]
        d.app.theme = "nord"
        await d.sees("Bob Carter")
        d.app.theme = "chat-light"
        await d.pilot.pause()
    async with driven(**options) as d:
        assert d.app.theme == "chat-light"


async def test_up_brings_back_what_was_sent_and_keeps_the_draft():
    async with driven() as d:
        await d.open()
        await d.type(*"one", "enter", *"two", "enter")
        composer = d.screen.query_one(Composer)
        await d.pilot.press("up", "up")
        assert composer.text == "one"
        await d.pilot.press("down", "down")
        assert composer.text == ""
        await d.type(*"ab", "ctrl+j", *"cd", "up")
        assert composer.text == "ab\ncd"  # inside of a draft Up moves the cursor


async def test_help_lists_the_keys_and_goes_away():
    async with driven() as d:
        d.screen.query_one(ChatList).focus()
        await d.pilot.press("question_mark")
        await d.sees("Ctrl+N", "new chat with a phone number")
        await d.pilot.press("escape")
        await d.loses("new chat with a phone number")
        await d.open()
        await d.pilot.press("question_mark")
        assert d.screen.query_one(Composer).text == "?"
        await d.pilot.press("f1")
        await d.sees("new chat with a phone number")


async def test_a_chosen_message_can_be_copied(monkeypatch):
    copied: list[str] = []
    monkeypatch.setattr(TerminalApp, "copy_to_clipboard", lambda self, text: copied.append(text))
    async with driven() as d:
        for n in range(3):
            d.fake.have("c-bob", f"message {n}", BOB)
        await d.open()
        d.screen.query_one(MessagesView).focus()
        await d.pilot.press("up", "up", "y")
        assert copied == ["message 1"]


async def test_an_ended_session_says_why_and_keeps_what_was_written():
    async with driven() as d:
        await d.open()

        def ended(conversation_id: str, content: str) -> None:
            raise SendFailed("stopped", "The session has ended")

        d.fake.send = ended  # type: ignore[assignment, method-assign]
        d.fake.become("stopped", detail="this device was unlinked", code=4410)
        await d.sees("Signed out: this device was unlinked", "Sign in again")
        await d.type(*"keep me", "enter")
        await until(lambda: d.screen.query_one(Composer).text == "keep me")


@pytest.mark.parametrize("size", [(40, 12), (80, 24), (300, 80)])
async def test_every_row_of_the_screen_is_as_wide_as_the_screen(size: tuple[int, int]):
    fake = people()
    fake.chat("c-rtl", "שלום עולם", "rtl")
    fake.have("c-rtl", "עברית hello 漢字 👨‍👩‍👧", "rtl")
    async with driven(fake, size=size) as d:
        await d.open("c-rtl")
        await d.settle()
        strips = d.app.screen._compositor.render_strips()
        assert {strip.cell_length for strip in strips} == {size[0]}
        assert shown(d.app)
