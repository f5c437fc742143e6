"""The list of chats on a scripted library: what it shows, finding and naming people, what rings."""

from __future__ import annotations

from textual.widgets import Input

from tests.clients.fake_backend import BOB, EVE, now_ms
from tests.clients.pilots import driven, people, until
from whatsapp_client import events
from whatsapp_terminal.app import TerminalApp
from whatsapp_terminal.chat_list import ChatList


async def test_the_list_shows_who_wrote_last_how_much_is_unread_and_who_types():
    fake = people()
    fake.have("c-eve", "an old one", EVE, now_ms() - 9 * 86_400_000)
    fake.message("c-bob", "are you there?")
    fake.message("c-bob", "hello?")
    async with driven(fake) as d:
        await d.sees("Bob Carter", "hello?", " 2 ", "an old one")
        lines = d.text().splitlines()
        assert next(n for n, line in enumerate(lines) if "Bob" in line) < next(
            n for n, line in enumerate(lines) if "Eve" in line
        )
        fake.emit(events.Typing("c-bob", BOB, True))
        await d.sees("typing…")
        fake.emit(events.Typing("c-bob", BOB, False))
        await d.loses("typing…")


async def test_a_hundred_messages_at_once_ring_once_and_ask_once(monkeypatch):
    rung: list[str] = []
    monkeypatch.setattr(TerminalApp, "bell", lambda self: rung.append("bell"))
    async with driven() as d:
        asked = []

        async def refresh() -> None:
            asked.append(1)

        await until(lambda: d.screen._asking is False, timeout=20)
        d.fake.refresh_chats = refresh  # type: ignore[method-assign]
        for n in range(100):
            d.fake.chat(f"c-{n}", f"stranger {n}", f"u-{n}")
            d.fake.message(f"c-{n}", "hello", f"u-{n}")
        await until(lambda: len(d.screen.query_one(ChatList).rows) == 102)
        await until(lambda: asked)
        assert rung == ["bell"]
        assert len(asked) == 1


async def test_a_chat_with_who_registers_later_opens_then(monkeypatch):
    monkeypatch.setattr("whatsapp_terminal.actions.LOOK_AGAIN", 0.1)
    async with driven(to="+15550077") as d:
        await d.sees("+15550077 is not registered yet;")
        d.fake.rest.numbers["+15550077"] = "late"
        await d.sees("Message to +15550077")


async def test_searching_filters_the_list_and_enter_opens_the_first():
    async with driven() as d:
        d.fake.have("c-eve", "lunch tomorrow?", EVE)
        d.screen.action_search()
        await d.type(*"LUNCH")
        await d.loses("Bob Carter")
        await d.sees("Eve")
        await d.pilot.press("enter")
        await d.sees("Bob Carter", "Message to Eve")
        d.screen.action_search()
        await d.type(*"nobody here")
        await d.sees("No chat matches")
        await d.pilot.press("escape")
        await d.sees("Bob Carter")
        assert d.screen.query_one("#search", Input).value == ""


async def test_a_new_chat_by_number_and_why_not():
    async with driven() as d:
        await d.pilot.press("ctrl+n")
        await d.type(*"abc", "enter")
        await d.sees("A phone number begins with +")
        field = d.app.screen.query_one("#number", Input)
        field.value = "+15550009"
        await d.pilot.press("enter")
        await d.sees("Nobody has registered +15550009 yet.")
        d.fake.rest.numbers["+15550009"] = "zoe"
        await d.pilot.press("tab")
        await d.type(*"Zoe", "enter")
        await d.sees("Message to Zoe")


async def test_a_contact_is_named_in_the_list():
    async with driven() as d:
        await d.open()
        calls: list[tuple[str, str, object]] = []

        async def call(method: str, path: str, body: object = None) -> None:
            calls.append((method, path, body))
            d.fake._chats["c-bob"].title = "Robert"

        d.fake.rest.call = call  # type: ignore[attr-defined]
        d.screen.action_name_contact()
        await until(lambda: d.app.screen is not d.screen)
        await d.pilot.pause()
        await d.type(*"Robert", "enter")
        await d.sees("Robert")
        assert calls == [("PUT", f"/contacts/{BOB}", {"nickname": "Robert"})]
        await until(lambda: d.app.screen is d.screen)


async def test_the_bell_rings_for_what_is_not_seen(monkeypatch):
    rung: list[str] = []
    monkeypatch.setattr("whatsapp_terminal.shell.ALERT_EVERY", 0.0)
    monkeypatch.setattr(TerminalApp, "bell", lambda self: rung.append("bell"))
    async with driven() as d:
        await d.open()
        d.fake.message("c-bob", "seen")
        await d.sees("seen")
        assert rung == []
        d.fake.message("c-eve", "elsewhere", EVE)
        await until(lambda: len(rung) == 1)
        d.app.app_focus = False
        d.fake.message("c-bob", "behind another window")
        await until(lambda: len(rung) == 2)
        d.app.set_alert("off")
        d.fake.message("c-eve", "quiet", EVE)
        await d.sees("quiet")
        assert len(rung) == 2
