"""Two terminal clients on the real library and a real running system."""

from __future__ import annotations

import contextlib
import itertools
import os
import random
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from textual.widgets import Button

from devtools.chat import application
from tests.clients.pilots import LOOK, shown, until
from tests.support.proxy import Network
from whatsapp_client import Client
from whatsapp_terminal.app import TerminalApp
from whatsapp_terminal.chat_screen import ChatScreen
from whatsapp_terminal.composer import Composer
from whatsapp_terminal.conversation import MessagesView

_numbers = itertools.count(random.Random(os.getpid() + 7).randint(6_000_001, 7_900_000))
TIMEOUT = 30.0


class Person:
    """One terminal client, as ``./dev chat NUMBER`` makes it."""

    def __init__(self, app: TerminalApp, pilot: Any) -> None:
        self.app = app
        self.pilot = pilot

    @property
    def screen(self) -> ChatScreen:
        return next(s for s in self.app.screen_stack if isinstance(s, ChatScreen))

    @property
    def client(self) -> Client:
        assert isinstance(self.app.client, Client)
        return self.app.client

    async def sees(self, *words: str) -> None:
        try:
            await until(lambda: all(map(shown(self.app).__contains__, words)), TIMEOUT, every=LOOK)
        except TimeoutError:
            raise AssertionError(f"not on screen: {words}\n{shown(self.app)}") from None

    async def online(self) -> None:
        await until(lambda: self.app.client is not None and self.app.client.state.status == "online", TIMEOUT)

    async def says(self, text: str) -> None:
        composer = self.screen.query_one(Composer)
        composer.insert(text)
        composer._submit()
        await self.pilot.pause()

    def ticks(self) -> list[str]:
        """Of the own messages on screen, in order."""
        view = self.screen.query_one(MessagesView)
        spans = [span.role for block in view.blocks for row in block.rows for span in row]
        return [role.rpartition("tick-")[2] for role in spans if "tick-" in role]


@contextlib.asynccontextmanager
async def person(
    system: Any, number: str, *, to: str = "", data: Path | None = None, codec: str = "json", url: str = ""
) -> AsyncIterator[Person]:
    app, databases = application(
        url or system.http, data or Path(system.data), ask=False, number=number, to=to, codec=codec
    )
    try:
        async with app.run_test(size=(100, 30), notifications=True) as pilot:
            found = Person(app, pilot)
            await found.online()
            yield found
            await app.action_quit()
    finally:
        for database in databases:
            database.close()


async def accept(who: Person) -> None:
    """Who wrote is no stranger any more; else they are told nothing but the ✓."""
    await until(lambda: any(chat.request for chat in who.client.chats()), TIMEOUT)
    for chat in who.client.chats():
        if chat.request:
            await who.client.accept_request(chat.conversation_id)


def two_numbers() -> tuple[str, str]:
    return f"+1555{next(_numbers)}", f"+1555{next(_numbers)}"


async def test_two_terminals_chat_both_ways_until_everything_is_read(stack: Any):
    ann_number, bob_number = two_numbers()
    async with (
        person(stack, bob_number, codec="protobuf") as bob,
        person(stack, ann_number, to=bob_number) as ann,
    ):
        await ann.sees(f"Message to {bob_number}")
        await until(lambda: ann.client.chats()[0].user_id == bob.client.session.user_id)
        await ann.says("hello bob")
        # Bob does not know Ann: until he accepts she learns nothing but that the server has it.
        await bob.sees("hello bob", " 1 ", "Message requests")
        bob.screen.open_chat(bob.client.chats()[0].conversation_id)
        await bob.sees("is not among your contacts")
        await until(lambda: ann.ticks() == ["sent"], TIMEOUT)
        bob.screen.query_one("RequestBar #accept", Button).press()
        await until(lambda: ann.ticks() == ["read"], TIMEOUT)
        await until(lambda: "Message requests" not in shown(bob.app), TIMEOUT)
        await bob.says("hello ann\nhow are you?")
        await ann.sees("hello ann", "how are you?")
        await until(lambda: bob.ticks() == ["read"], TIMEOUT)
        bob.screen.query_one(Composer).insert("I am")
        await ann.sees("typing…")
        bob.screen.query_one(Composer).put("")
        await until(lambda: "typing…" not in shown(ann.app), TIMEOUT)
        await ann.sees("online")
        bob.app.app_focus = False
        await ann.sees(f"{bob_number}  away")


async def test_what_is_written_offline_survives_a_restart_and_is_delivered(stack: Any):
    ann_number, bob_number = two_numbers()
    async with Network([stack.http]) as network, person(stack, bob_number) as bob:
        async with person(stack, ann_number, to=bob_number, url=network.http) as ann:
            await ann.sees(f"Message to {bob_number}")
            conversation = ann.client.chats()[0].conversation_id
            network.down()
            await ann.sees("Offline")
            await ann.says("written offline")
            await ann.sees("written offline", "1 message waits to be sent")
            assert ann.ticks() == ["queued"]
        assert "written offline" not in shown(bob.app)
        network.restore()
        async with person(stack, ann_number, url=network.http) as ann:
            await bob.sees("written offline")
            await accept(bob)
            ann.screen.open_chat(conversation)
            bob.screen.open_chat(conversation)
            await until(lambda: ann.ticks() == ["read"], TIMEOUT)


async def test_a_session_that_was_ended_comes_back_with_a_new_code_and_the_old_messages(stack: Any):
    ann_number, bob_number = two_numbers()
    async with person(stack, bob_number) as bob, person(stack, ann_number, to=bob_number) as ann:
        await ann.sees(f"Message to {bob_number}")
        await ann.says("before the end")
        await accept(bob)
        await until(lambda: ann.ticks() == ["delivered"], TIMEOUT)
        ended = ann.client
        await ended.rest.call("POST", "/auth/logout", {"refreshToken": ended.session.refresh_token})
        await ann.sees("Signed out", "Sign in again")
        await ann.pilot.press("f5")
        await ann.sees("The session has ended.")
        await ann.pilot.press("enter")
        await until(lambda: isinstance(ann.app.client, Client) and ann.app.client is not ended, TIMEOUT)
        await ann.online()
        await ann.sees("before the end")
        ann.screen.open_chat(ann.client.chats()[0].conversation_id)
        await ann.says("after it")
        await until(lambda: ann.ticks() == ["delivered", "delivered"], TIMEOUT)


async def test_a_second_terminal_of_the_same_number_says_what_is_wrong(stack: Any):
    number, _ = two_numbers()
    async with person(stack, number) as first:
        second, databases = application(stack.http, Path(stack.data), ask=False, number=number)
        async with second.run_test():
            await until(lambda: second.return_code == 1)
        assert databases == []
        assert first.client.state.status == "online"


async def test_history_is_there_without_a_server_and_older_pages_come_from_it(stack: Any, tmp_path: Path):
    ann_number, bob_number = two_numbers()
    async with person(stack, bob_number) as bob, person(stack, ann_number, to=bob_number) as ann:
        await ann.sees(f"Message to {bob_number}")
        conversation = ann.client.chats()[0].conversation_id
        sent = [ann.client.send(conversation, f"message {n}.") for n in range(1, 181)]
        for outgoing in sent:
            await outgoing.sent()
        await until(lambda: len(bob.client.messages(conversation, limit=500)) == 180, TIMEOUT)
    # Another device of Bob knows nothing yet: what it shows comes from the server, page by page.
    async with person(stack, bob_number, data=other(stack, tmp_path)) as bob:
        await bob.sees("message 180.")
        bob.screen.open_chat(conversation)
        await bob.sees("message 180.")
        view = bob.screen.query_one(MessagesView)
        view.focus()
        while not any(block.key == "beginning" for block in view.blocks):
            known = len(view.blocks)
            view.scroll_to(y=2, animate=False)
            view.scroll_to(y=0, animate=False)
            await until(lambda count=known: len(view.blocks) != count, TIMEOUT)
            view.scroll_to(y=30, animate=False)
        view.scroll_to(y=0, animate=False)
        await bob.sees("message 1.", "NOT end-to-end encrypted")
        assert [b.message for b in view.blocks if b.message] == [f"message {n}." for n in range(1, 181)]
    # And without any server what was seen is still here.
    app, databases = application("http://127.0.0.1:1", other(stack, tmp_path), ask=False, number=bob_number)
    async with app.run_test(size=(100, 30)) as pilot:
        await until(lambda: isinstance(app.screen, ChatScreen))
        offline = Person(app, pilot)
        offline.screen.open_chat(conversation)
        await offline.sees("message 180.", "Offline")
        await app.action_quit()
    for database in databases:
        database.close()


def other(system: Any, folder: Path) -> Path:
    """A data folder of its own, in which the codes of the system can be read."""
    link = folder / "sms.jsonl"
    if not link.exists():
        link.symlink_to(Path(system.data) / "sms.jsonl")
    return folder
