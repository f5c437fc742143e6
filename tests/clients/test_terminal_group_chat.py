"""A group's chat and the state of chats in the list: who writes, mentions, receipts by member, mute, pin, archive."""

from __future__ import annotations

import pytest

from tests.clients.fake_backend import BOB, EVE, ME, now_ms
from tests.clients.group_pilots import ANN, ZOE, G, choose, sailing
from tests.clients.pilots import driven, people, until
from whatsapp_client import Group, MemberReceipt, Unreachable, events
from whatsapp_terminal.app import TerminalApp
from whatsapp_terminal.chat_list import ChatList
from whatsapp_terminal.composer import Composer
from whatsapp_terminal.conversation import MessagesView


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """A group is read again without the pause between two readings."""
    monkeypatch.setattr("whatsapp_terminal.group_book.AGAIN", 0.05)


async def test_a_group_shows_who_writes_who_types_and_how_many_there_are():
    fake = sailing()
    fake.message(G, "ahoy", ANN)
    async with driven(fake) as d:
        await d.open(G)
        await d.sees("Sailing  4 members", "Ann Lee", "ahoy", "Message to Sailing")
        assert fake.opened == [G]
        fake.emit(events.Presence(BOB, "online"))
        await d.sees("4 members, 2 online")
        fake.emit(events.Typing(G, ANN, True))
        await d.sees("Sailing  Ann Lee is typing…")
        fake.emit(events.Typing(G, BOB, True))
        await d.sees("Ann Lee and Bob Carter are typing…")
        fake.emit(events.Typing(G, EVE, True))
        await d.sees("3 are typing…")
        await d.open("c-bob")
        assert fake.opened == ["c-bob"]


async def test_what_happens_to_a_group_is_told_in_sentences():
    fake = sailing()
    async with driven(fake) as d:
        await d.open(G)
        await d.sees("4 members", "No messages yet")
        fake.change(G, "member_added", ME, userIds=[ME, BOB, EVE], creatorId=ME)
        fake.change(G, "info", ME, name="Sailing", description="", settings={})
        fake.change(G, "member_added", BOB, ANN)
        fake.change(G, "member_removed", EVE, EVE)
        fake.change(G, "role", ME, BOB, role="admin")
        fake.change(G, "info", BOB, name="Rowing [bold]x[/]")
        await d.sees(
            "You made the group with Bob Carter and Eve", "The group is called “Sailing”", "Bob Carter added Ann Lee",
            "Eve left", "You made Bob Carter an admin", "Bob Carter changed the name to “Rowing [bold]x[/]”",
        )  # fmt: skip


async def test_who_has_a_message_is_shown_with_times_and_renewed_by_receipts():
    fake = sailing()
    fake.have(G, "ready?", ME)
    at = now_ms()
    fake.message_receipts = [
        MemberReceipt(BOB, "read", at, at), MemberReceipt(EVE, "delivered", at), MemberReceipt(ANN, "sent"),
    ]  # fmt: skip
    async with driven(fake) as d:
        await d.open(G)
        d.screen.query_one(MessagesView).focus()
        await d.pilot.press("up", "i")
        await d.sees(
            "ready?",
            "read by 1 of 3",
            "Read by (1)",
            "Bob Carter  Today",
            "Delivered to (1)",
            "Not there yet (1)",
        )
        fake.message_receipts = [MemberReceipt(user, "read") for user in (BOB, EVE, ANN)]
        fake.receipt(G, "read", 1, EVE)
        await d.sees("read by 3 of 3")
        assert "on the devices" not in d.text()


async def test_a_large_group_has_numbers_first():
    fake = sailing()
    fake.have(G, "ready?", ME)
    fake.message_receipts = [
        MemberReceipt(f"u{n:03d}", "read" if n < 10 else "delivered" if n < 60 else "sent")
        for n in range(100)
    ]
    async with driven(fake, size=(60, 16)) as d:
        await d.open(G)
        d.screen.query_one(MessagesView).focus()
        await d.pilot.press("up", "i")
        await d.sees("read by 10 of 100, on the devices of 60")


async def test_a_chat_is_muted_pinned_and_archived_from_the_list():
    fake = sailing()
    fake.have(G, "old", ANN, now_ms() - 90_000_000)
    fake.message("c-bob", "newest")
    async with driven(fake) as d:
        view = d.screen.query_one(ChatList)
        view.focus()
        view.cursor = G
        await d.pilot.press("p")
        await d.sees("Sailing is on top.", "▴")
        await until(lambda: view.rows[0].conversation_id == G)
        await d.pilot.press("m")
        await d.sees("Mute Sailing", "For 8 hours")
        await choose(d, "For 8 hours")
        await d.sees("▴⊘")
        assert 7 * 3_600_000 < (fake._chats[G].muted_until or 0) - now_ms() < 9 * 3_600_000
        view.focus()
        await d.pilot.press("m")
        await until(lambda: fake._chats[G].muted_until is None)
        fake.refuse = Unreachable("away")
        await d.pilot.press("a")
        await d.sees("Sailing: The server does not answer.")
        await d.pilot.press("a")
        await d.sees("Archive", "1 chat put away")
        await until(lambda: all(row.conversation_id != G for row in view.rows))
        view.cursor = "archive"
        await d.pilot.press("enter")
        await until(lambda: view.rows[-1].conversation_id == G)
        assert d.screen.open is None
        d.screen.action_search()
        await d.type(*"sail")
        await until(lambda: [row.conversation_id for row in view.rows] == [G])


async def test_what_is_mute_rings_only_for_who_is_mentioned(monkeypatch: pytest.MonkeyPatch):
    rung: list[str] = []
    monkeypatch.setattr("whatsapp_terminal.shell.ALERT_EVERY", 0.0)
    monkeypatch.setattr(TerminalApp, "bell", lambda self: rung.append("bell"))
    fake = sailing()
    fake._chats[G].muted_until = now_ms() + 3_600_000
    async with driven(fake) as d:
        fake.message(G, "quiet", ANN)
        await d.sees("quiet")
        assert rung == []
        fake._chats[G].mentioned = True
        fake.message(G, "@Me Myself look", ANN, fields={"mentions": [ME]})
        await until(lambda: rung == ["bell"])
        await d.sees("@  2 ")


async def test_names_are_completed_behind_an_at_and_told_as_mentions():
    fake = sailing()
    async with driven(fake) as d:
        await d.open(G)
        await d.sees("4 members")
        await until(lambda: len(d.screen.open.book.people()) == 3)  # type: ignore[union-attr]
        await d.type(*"hi @b")
        await d.sees("@ Bob Carter", "@bobby")
        await d.pilot.press("enter")
        composer = d.screen.query_one(Composer)
        assert composer.text == "hi @bobby "  # not my nickname for him
        await d.type(*"and @")
        await d.sees("@ Ann Lee")
        await d.pilot.press("escape")
        await d.loses("@ Ann Lee")
        assert d.app.focused is composer
        await d.type(*"a")
        await d.sees("@ Ann Lee")
        await d.pilot.press("tab")
        await d.type(*"ok", "enter")
        await until(lambda: fake.pending(G))
        (sent,) = fake.pending(G)
        assert sent.text == "hi @bobby and @Ann Lee ok"
        assert sent.fields == {"mentions": [BOB, ANN]}
        await d.type(*"mail a@b", "enter")
        await until(lambda: len(fake.pending(G)) == 2)
        assert fake.pending(G)[1].fields == {}


async def test_a_group_that_one_cannot_write_in_says_why():
    fake = sailing()
    fake._chats[G].read_only = "announcements"
    async with driven(fake) as d:
        await d.open(G)
        await d.sees("Only admins may write here")
        await d.type(*"x", "enter")
        assert fake.pending(G) == []
        fake._chats[G].read_only = ""
        fake.emit(events.ChatChanged(G))
        await d.sees("Message to Sailing")
        await d.type(*"x", "enter")
        await until(lambda: fake.pending(G))


async def test_a_strangers_name_is_read_again_when_the_chat_is_opened():
    fake = people()
    fake.chat("c-zoe", "", ZOE)
    fake._chats["c-zoe"].title = f"user {ZOE[-8:]}"
    fake.message("c-zoe", "hello", ZOE)
    async with driven(fake) as d:
        await d.open("c-zoe")
        await until(lambda: ("names", [ZOE]) in fake.calls)


async def test_the_members_online_of_a_large_group_are_a_number():
    fake = sailing()
    async with driven(fake) as d:
        await d.open(G)
        fake.emit(events.Presence("", "online", None, G, 317))
        await d.sees("4 members, 317 online")
        await d.open("c-bob")
        await d.open(G)
        await d.loses("317")  # it was not counted meanwhile


async def test_a_group_that_was_opened_offline_is_read_when_the_server_is_back():
    fake = sailing()
    reading = fake.group

    async def away(conversation_id: str) -> Group:
        raise Unreachable("away")

    fake.group = away  # type: ignore[assignment, method-assign]
    async with driven(fake) as d:
        await d.open(G)
        await until(lambda: d.screen.open.book.error is not None)  # type: ignore[union-attr]
        await d.pilot.press("f2")
        await d.sees("The server does not answer.")
        fake.group = reading  # type: ignore[method-assign]
        fake.become("online")
        await d.sees("4 members", "Ann Lee", "Sundays at nine")
        await d.loses("The server does not answer.")


async def test_the_mouse_opens_the_group_the_receipts_and_takes_a_name():
    fake = sailing()
    fake.have(G, "ready?", ME)
    fake.message_receipts = [MemberReceipt(BOB, "read")]
    async with driven(fake) as d:
        await d.open(G)
        await d.sees("4 members")
        await d.pilot.click("#title", offset=(4, 0))
        await d.sees("Find a member")
        await d.pilot.press("escape")
        await until(lambda: d.app.screen is d.screen)
        await d.settle()
        lines = d.text().splitlines()
        row = max(n for n, line in enumerate(lines) if "ready?" in line)
        await d.pilot.click(offset=(lines[row].rindex("✓"), row))
        await d.sees("read by 1 of 1")
        await d.pilot.press("escape")
        await until(lambda: d.app.screen is d.screen)
        d.screen.query_one(Composer).focus()
        await until(lambda: len(d.screen.open.book.people()) == 3)  # type: ignore[union-attr]
        await d.type("@")
        await d.sees("@ Eve")
        await d.pilot.click("#names", offset=(3, 2))
        await until(lambda: d.screen.query_one(Composer).text == "@Eve ")


async def test_who_asks_to_join_is_told_to_admins_and_the_answer_to_who_asked():
    fake = sailing()
    async with driven(fake) as d:
        fake.emit(events.Notice("join_request", {"groupId": G, "userId": BOB}))
        await d.sees("Bob Carter asks to join “Sailing”")
        fake.emit(events.Notice("join_answer", {"groupId": "other", "accepted": False}))
        await d.sees("You were not let into the group.")
        fake.emit(events.Notice("join_request", "nonsense"))
        fake.emit(events.Notice("join_answer", {"groupId": G, "accepted": True}))
        await d.sees("You were let into “Sailing”.")


async def test_a_burst_of_receipts_asks_the_server_once(monkeypatch: pytest.MonkeyPatch):
    fake = sailing()
    fake.have(G, "ready?", ME)
    fake.message_receipts = [MemberReceipt(f"u{n}", "sent") for n in range(30)]
    async with driven(fake) as d:
        await d.open(G)
        d.screen.query_one(MessagesView).focus()
        await d.pilot.press("up", "i")
        await d.sees("read by 0 of 30")
        fake.message_receipts = [MemberReceipt(f"u{n}", "read") for n in range(30)]
        for n in range(30):
            fake.receipt(G, "read", 1, f"u{n}")
        await d.sees("read by 30 of 30")
        assert sum(call[0] == "receipts" for call in fake.calls) == 2
