"""Reading on a scripted library: where one begins, scrolling, and what the others are told of it."""

from __future__ import annotations

from tests.clients.fake_backend import BOB, now_ms
from tests.clients.pilots import driven, people, until
from whatsapp_client import events
from whatsapp_terminal.conversation import MessagesView
from whatsapp_terminal.help_screen import HelpScreen


async def test_typing_is_told_rarely_and_ends_with_the_message():
    async with driven() as d:
        await d.open()
        await d.type(*"a quick brown fox")
        assert d.fake.typings == [("c-bob", True)]
        await d.pilot.press("enter")
        await until(lambda: d.fake.typings == [("c-bob", True), ("c-bob", False)])


async def test_read_is_told_of_what_was_on_screen_with_the_focus_only():
    async with driven() as d:
        d.fake.message("c-bob", "one")
        d.fake.message("c-eve", "not opened")
        await d.sees("one")
        assert d.fake.reads == []  # a preview is not reading
        await d.open()
        await until(lambda: d.fake.reads == [("c-bob", 1)])
        d.app.app_focus = False
        d.fake.message("c-bob", "two")
        await d.sees("two")
        await d.settle()
        assert d.fake.reads == [("c-bob", 1)]
        d.app.app_focus = True
        await until(lambda: d.fake.reads == [("c-bob", 1), ("c-bob", 2)])
        d.app.push_screen(HelpScreen())
        await d.pilot.pause()
        d.fake.message("c-bob", "under the help")
        await until(lambda: not d.screen._scheduled)
        assert d.fake.reads[-1] == ("c-bob", 2)
        d.app.pop_screen()
        await until(lambda: d.fake.reads[-1] == ("c-bob", 3))


async def test_what_scrolled_out_below_is_not_read_until_one_goes_there():
    fake = people()
    for n in range(200):
        fake.have("c-bob", f"message {n}", BOB)
    async with driven(fake) as d:
        await d.open()
        await until(lambda: fake.reads == [("c-bob", 200)])
        await d.pilot.press("pageup", "pageup", "pageup")
        fake.message("c-bob", "the newest one")
        await d.sees("↓ 1 new")
        assert "the newest one" not in d.text().split("\n", 6)[-1].replace("the newest one", "", 1)
        assert fake.reads == [("c-bob", 200)]
        await d.pilot.press("ctrl+g")
        await until(lambda: fake.reads[-1] == ("c-bob", 201))
        await d.loses("Ctrl+G")


async def test_presence_is_away_without_the_focus():
    async with driven() as d:
        await until(lambda: d.fake.presences == ["online"])
        d.app.app_focus = False
        await until(lambda: d.fake.presences == ["online", "away"])
        await d.pilot.press("tab")  # a key means that somebody is here
        await until(lambda: d.fake.presences == ["online", "away", "online"])


async def test_the_header_tells_presence_and_last_seen():
    async with driven() as d:
        await d.open()
        assert BOB in d.fake.watched
        d.fake.emit(events.Presence(BOB, "online"))
        await d.sees("Bob Carter  online")
        d.fake.emit(events.Presence(BOB, "offline", now_ms() - 300_000))
        await d.sees("last seen 5 min ago")
        d.fake.emit(events.Typing("c-bob", BOB, True))
        await d.sees("Bob Carter  typing…")
        d.fake.become("waiting", retry_in=5.0)
        await d.loses("typing…")


async def test_opening_at_the_first_unread_message():
    fake = people()
    for n in range(1, 101):
        fake.have("c-bob", f"message {n}.", BOB)
    fake._chats["c-bob"].unread, fake._chats["c-bob"].read_up_to = 40, 60
    async with driven(fake) as d:
        await d.open()
        await d.sees("40 unread messages", "message 61.", "↓ Newest")
        await until(lambda: fake.reads)
        assert 61 <= fake.reads[-1][1] < 100


async def test_what_is_unread_may_begin_above_what_is_here():
    fake = people()
    fake.server["c-bob"] = [fake.entry("c-bob", f"message {n}.", BOB, n) for n in range(1, 171)]
    fake.logs["c-bob"] = [fake.entry("c-bob", f"message {n}.", BOB, n) for n in range(171, 201)]
    fake._chats["c-bob"].unread, fake._chats["c-bob"].read_up_to = 120, 80
    async with driven(fake) as d:
        await d.open()
        await d.sees("120 unread messages", "message 81.")
        await until(lambda: fake.reads)
        assert all(up_to < 120 for _, up_to in fake.reads)


async def test_more_unread_than_a_window_holds_opens_at_the_end():
    fake = people()
    fake.logs["c-bob"] = [fake.entry("c-bob", f"message {n}.", BOB, n) for n in range(1, 1_501)]
    fake._chats["c-bob"].unread = 1_500
    async with driven(fake) as d:
        await d.open()
        await d.sees("message 1500.")
        await until(lambda: fake.reads == [("c-bob", 1_500)])
        assert "unread messages" not in d.text()


async def test_scrolling_up_loads_a_page_at_a_time_and_stays_where_one_reads():
    fake = people()
    fake.logs["c-bob"] = [fake.entry("c-bob", f"message {n}.", BOB, n, n * 60_000) for n in range(1, 100_001)]
    fake._chats["c-bob"].last = fake.logs["c-bob"][-1]
    async with driven(fake) as d:
        await d.open()
        await d.sees("message 100000.")
        view = d.screen.query_one(MessagesView)
        assert len(view.blocks) < 400
        view.focus()
        for _ in range(6):
            before = view.blocks[0].key
            top = view.scroll_offset.y
            view.scroll_to(y=4, animate=False)
            await until(lambda known=before: view.blocks[0].key != known or view.blocks[1].key != known)
            await d.settle()
            assert view.scroll_offset.y > 4  # the page came in above what is seen
        assert top >= 0
        assert len(view.blocks) < 1_500
        await d.pilot.press("end")
        await d.sees("message 100000.")
