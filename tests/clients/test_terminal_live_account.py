"""People and the account, between terminal clients on the real library and a real running system."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from textual.widgets import Button, Input

from devtools.chat import application
from tests.clients.pilots import shown, until
from tests.clients.test_terminal_live import TIMEOUT, Person, other, person, two_numbers
from tests.clients.test_terminal_live_groups import choose
from whatsapp_client import Client
from whatsapp_terminal.chat_screen import ChatScreen
from whatsapp_terminal.signin_screen import SignInScreen


async def settings(who: Person, row: str) -> None:
    await who.pilot.press("f9")
    await who.sees("Settings ·")
    await choose(who, row)


async def test_a_pin_privacy_a_block_and_a_device_that_comes_in_by_a_code(stack: Any, tmp_path: Path):
    ann_number, bob_number = two_numbers()
    async with person(stack, bob_number) as bob, person(stack, ann_number, to=bob_number) as ann:
        await ann.sees(f"Message to {bob_number}")
        chat = ann.client.chats()[0].conversation_id
        await ann.says("from the first device")
        # A PIN, and what others may see.
        await settings(ann, "PIN")
        for field in ("new", "again"):
            ann.app.screen.query_one(f"#{field}", Input).value = "sea-otter-7"
        ann.app.screen.query_one("#go", Button).press()
        await ann.sees("The PIN is set.")
        await ann.pilot.press("escape")
        await choose(ann, "Privacy")
        await ann.sees("Read receipts       Everyone")
        await choose(ann, "Read receipts")
        await ann.sees("Read receipts       My contacts")
        await ann.pilot.press("escape")
        # Another device of Ann's shows a code; the first one is told who asks, and for the PIN.
        await choose(ann, "Linked devices")
        await ann.pilot.press("l")
        data = other(stack, tmp_path)
        app, databases = application(stack.http, data, ask=False)
        try:
            async with app.run_test(size=(100, 50), notifications=True) as pilot:
                new = Person(app, pilot)
                await until(lambda: isinstance(app.screen, SignInScreen), TIMEOUT)
                await pilot.press("f2")
                await new.sees("wa-link:1:", "▄")
                code = app.screen._code  # type: ignore[attr-defined]
                ann.app.screen.query_one("#code", Input).value = code
                ann.app.screen.query_one("#go", Button).press()
                await ann.sees("Let “terminal” read and write everything")
                await ann.pilot.press("y")
                await choose(ann, "7 days")
                await ann.sees("Your PIN, please.")
                ann.app.screen.query_one("#pin", Input).value = "sea-otter-7"
                ann.app.screen.query_one("#go", Button).press()
                await until(lambda: isinstance(app.client, Client), TIMEOUT)
                await new.online()
                await new.sees(bob_number)
                new.screen.open_chat(chat)
                await new.sees("from the first device")
                # A block on one device is one on the other, and Bob does not learn of it.
                await new.pilot.press("f2")
                await choose(new, "Block…")
                await new.pilot.press("y")
                await new.sees("You have blocked this person")
                await until(lambda: any(c.blocked for c in ann.client.chats()), TIMEOUT)
                bob.screen.open_chat(chat)
                await bob.says("do you get this?")
                await until(lambda: "sent" in bob.ticks(), TIMEOUT)
                assert "do you get this?" not in shown(app)
                await app.action_quit()
        finally:
            for database in databases:
                database.close()
        # What came in by the code is a session like any other.
        assert (data / "clients" / f"{ann_number}.json").exists()
    again, databases = application(stack.http, data, ask=False, number=ann_number)
    async with again.run_test(size=(100, 30)):
        await until(lambda: isinstance(again.screen, ChatScreen), TIMEOUT)
        await again.action_quit()
    for database in databases:
        database.close()
