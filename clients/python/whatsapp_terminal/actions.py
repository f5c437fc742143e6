"""What keys, clicks and commands do in the main screen."""

from __future__ import annotations

import asyncio
from typing import ClassVar

from textual import events
from textual.binding import Binding, BindingType
from textual.widgets import Input

from whatsapp_client import ClientError

from .chat_list import HEADS, ChatList
from .dialogs import JOIN, NEW_GROUP, NameScreen, NewChatScreen
from .explain import explain
from .frame import Frame
from .help_screen import HelpScreen
from .open_chat import OpenChat

LOOK_AGAIN = 2.0  # seconds until somebody who is not registered is looked for again; it grows
BACK = 3  # cells at the left of the top line of a narrow window that lead back
REPLACED = 4409  # the close code when this device connected elsewhere


class ActionScreen(Frame):
    """The part of the main screen that is asked for something; :class:`ChatScreen` draws and listens."""

    open: OpenChat | None

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("ctrl+n", "new_chat", "New chat", priority=True),
        Binding("escape", "back", "Chats"),
        Binding("ctrl+g", "newest", "Newest", priority=True),
        Binding("ctrl+r", "retry", "Retry", priority=True),
        Binding("alt+up", "switch(-1)", "Previous chat", show=False, priority=True),
        Binding("alt+down", "switch(1)", "Next chat", show=False, priority=True),
        Binding("f5", "come_back", "Sign in again"),
        Binding("f1,question_mark", "help", "Help", key_display="F1"),
    ]

    def open_chat(self, conversation_id: str) -> None:
        """Show a conversation."""
        raise NotImplementedError

    def listen(self) -> None:
        """Start the client and follow what it tells."""
        raise NotImplementedError

    def action_chat_info(self) -> None:
        """Show what the open group is."""
        raise NotImplementedError

    def action_new_group(self) -> None:
        """Ask for a name and for people."""
        raise NotImplementedError

    def action_join(self) -> None:
        """Ask for the code of an invite."""
        raise NotImplementedError

    async def refresh_chats(self) -> None:
        """Ask the server for names and unread counts."""
        raise NotImplementedError

    async def find(self, number: str, nickname: str = "") -> str:
        """The conversation with a number. Raises :class:`ClientError`."""
        conversation_id = await self.client.rest.direct(await self.find_user(number, nickname))
        await self.client.refresh_chats()
        return conversation_id

    async def find_user(self, number: str, nickname: str = "") -> str:
        """The user id behind a number. Who has no name at all is called by the number from now on. Raises
        :class:`ClientError`."""
        found = await self.client.rest.add_contact(number, nickname)
        user_id = str(found["userId"])
        if not (nickname or found.get("nickname") or found.get("name")):
            await self.client.rest.call("PUT", f"/contacts/{user_id}", {"nickname": number})
        return user_id

    async def talk_to(self, number: str) -> None:
        """``--to``: open this chat. It waits for who is not registered yet, and for a server that is away."""
        for chat in self.client.chats():
            if number in (chat.title, chat.conversation_id):
                self.open_chat(chat.conversation_id)
                return
        delay, told = LOOK_AGAIN, ""
        while True:
            try:
                found = await self.find(number, number)
                break
            except ClientError as error:
                code = getattr(error, "code", "unreachable")
                if code == "not_found":
                    words = f"{number} is not registered yet; the chat opens when it is."
                else:
                    words = f"{number}: {explain(error)}"
                if words != told:
                    told = words
                    self.app.say(words, severity="warning", timeout=10)
                if code not in ("not_found", "unreachable", "unavailable", "internal"):
                    return
            await asyncio.sleep(delay)
            delay = min(20.0, delay * 1.3)
        self.stale()
        if self.open is None:
            self.open_chat(found)
        else:
            self.app.say(f"{number} is here now.")

    def on_key(self, event: events.Key) -> None:
        search = self.query_one("#search", Input)
        if event.key == "down" and search.has_focus:
            self.set_focus(self.query_one(ChatList))
        elif event.character == "/" and self.query_one(ChatList).has_focus:
            event.stop()
            self.action_search()

    def on_click(self, event: events.Click) -> None:
        if event.widget is not None and event.widget.id == "newest":
            self.action_newest()
        elif event.widget is not None and event.widget.id == "title":
            if self.has_class("-narrow") and (event.x < BACK or self.open is None or self.open.book is None):
                self.action_back()
            else:
                self.action_chat_info()

    def action_search(self) -> None:
        self.remove_class("-talking")
        self.set_focus(self.query_one("#search", Input))

    def action_back(self) -> None:
        """From the text field to the list; from the search to all chats."""
        search = self.query_one("#search", Input)
        if search.has_focus and search.value:
            search.value = ""
            return
        self.remove_class("-talking")
        self.set_focus(self.query_one(ChatList))

    def action_newest(self) -> None:
        if self.open is not None:
            self.open.to_newest()

    def action_retry(self) -> None:
        if self.open is not None:
            for outgoing in self.client.pending(self.open.id):
                if outgoing.state == "failed":
                    self.client.retry(outgoing)
            self.stale()

    def action_switch(self, step: int) -> None:
        view = self.query_one(ChatList)
        chosen = view.neighbour(step, self.open.id if self.open is not None else view.cursor, without=HEADS)
        if chosen:
            self.open_chat(chosen)

    def action_help(self) -> None:
        self.app.push_screen(HelpScreen())

    def action_new_chat(self) -> None:
        def done(result: str | None) -> None:
            if result == NEW_GROUP:
                self.action_new_group()
            elif result == JOIN:
                self.action_join()
            elif result:
                self.open_chat(result)

        self.app.push_screen(NewChatScreen(self.find), done)

    async def action_come_back(self) -> None:
        """After the end of the session: connect again where another terminal took its place, else a new code."""
        if self.client.state.code == REPLACED:
            await self.client.stop()
            self.listen()
        else:
            await self.app.action_sign_in_again()

    def action_my_name(self) -> None:
        async def save(name: str) -> None:
            await self.client.rest.call("PATCH", "/me", {"name": name})

        self.app.push_screen(NameScreen("My name", "What others see", save))

    def action_name_contact(self) -> None:
        chat = self.chats.get(self.open.id) if self.open is not None else None
        if chat is None or chat.kind != "direct" or not chat.user_id:
            return
        user_id = chat.user_id

        async def save(name: str) -> None:
            await self.client.rest.call("PUT", f"/contacts/{user_id}", {"nickname": name})
            await self.refresh_chats()

        self.app.push_screen(NameScreen("Name this contact", "Only you see it", save))

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        if action in ("newest", "back") and self.open is None:
            return False
        if action == "come_back":
            return self.client.state.status == "stopped"
        if action == "newest":
            return self.open is not None and self.open.scrolled_up
        if action == "retry":
            return self.open is not None and self.open.failed
        if action in ("new_chat", "search", "switch", "help", "back"):
            return self.app.screen is self
        return True
