"""What one may do with a chat and who is in it: answer a request, block, set the timer, look at a contact, settings."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import ClassVar

from textual import on
from textual.binding import Binding, BindingType

from whatsapp_client import Chat, events

from . import clock, text
from .contact_screen import ContactScreen
from .devices_screen import DevicesScreen, device_news
from .explain import limited_news
from .group_actions import now_ms
from .report_actions import ReportActionScreen
from .request_bar import RequestBar
from .security_screens import PIN_NEWS
from .settings_screen import SettingsScreen
from .sheets import ChoiceScreen, ConfirmScreen

DAY = 86_400  # seconds
TIMERS = (DAY, 7 * DAY, 90 * DAY)


class ChatActionScreen(ReportActionScreen):
    """The part of the main screen that deals with people."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("f9", "settings", "Settings", show=False, priority=True),
    ]

    watched: set[str]  # whose presence was asked for
    _again: frozenset[str] = frozenset()  # and once more

    def receipt(self, event: events.Receipt) -> None:
        """Somebody has got or read something. Who tells this may just have accepted us: their presence, which they did not
        show before, is asked for once more."""
        self.receipt_came(event.conversation_id)
        user = event.user_id
        if user in self.watched - self._again and not self.names.known(user):
            self._again |= {user}
            self.client.watch_presence([user])

    # -- requests and blocks -----------------------------------------------------------------------------------
    @on(RequestBar.Answered)
    def _answered(self, event: RequestBar.Answered) -> None:
        chat = self.chats.get(self.open.id) if self.open is not None else None
        if chat is not None:
            self.answer(chat, event.what)

    def answer(self, chat: Chat, what: str) -> None:
        """``accept``, ``block``, ``unblock``, ``remove``."""
        name, user = text.cut(text.one_line(chat.title), 30), chat.user_id or ""
        match what:
            case "accept":
                self.ask_server(lambda: self._accept(chat), f"{name} is accepted.")
            case "unblock":
                self.ask_server(lambda: self.client.unblock(user), f"{name} is not blocked any more.")
            case "block":
                question = f"Block {name}? You get nothing they write, and they do not learn of it."
                self._confirm(question, "Block", lambda: self.client.block(user), f"{name} is blocked.")
            case "remove":
                question = f"Delete this chat on this device? {name} keeps what you wrote."
                self._confirm(question, "Delete", lambda: self._remove(chat), "The chat is deleted.")

    async def _accept(self, chat: Chat) -> None:
        await self.client.accept_request(chat.conversation_id)

    async def _remove(self, chat: Chat) -> None:
        """All of its messages go from this device; the line stays out of sight until something new comes."""
        before: int | None = None
        while page := self.client.messages(chat.conversation_id, before=before, limit=200):
            before = page[0].seq
            for entry in page:
                if entry.type == "message":
                    self.client.hide(chat.conversation_id, entry.message_id)
            await asyncio.sleep(0)  # a long chat does not hold up the drawing
        await self.client.set_flags(chat.conversation_id, archived=True)
        if self.open is not None and self.open.id == chat.conversation_id:
            self.open.to_newest()
            self.action_back()

    def _confirm(self, question: str, verb: str, work: Callable[[], Awaitable[object]], done: str) -> None:
        def answered(yes: bool | None) -> None:
            if yes:
                self.ask_server(work, done)

        self.app.push_screen(ConfirmScreen(question, verb), answered)

    # -- the timer -----------------------------------------------------------------------------------------------
    def action_timer(self) -> None:
        chat = self.chats.get(self.open.id) if self.open is not None else None
        if chat is None or chat.read_only:
            return
        now = f" (now: {clock.span(chat.timer)})" if chat.timer else " (now: off)"
        choices = [(str(seconds), f"After {clock.span(seconds)}") for seconds in TIMERS]
        choices.append(("off", "Never: they stay"))
        self.app.push_screen(
            ChoiceScreen(f"Messages disappear{now}", choices), lambda c: self._timed(chat, c)
        )

    def _timed(self, chat: Chat, choice: str | None) -> None:
        if choice is not None:
            seconds = None if choice == "off" else int(choice)
            words = "stay" if seconds is None else f"disappear after {clock.span(seconds)}"
            self.ask_server(
                lambda: self.client.set_timer(chat.conversation_id, seconds), f"New messages {words}."
            )

    # -- people and settings -------------------------------------------------------------------------------------
    def action_chat_info(self) -> None:
        chat = self.chats.get(self.open.id) if self.open is not None else None
        if chat is None or chat.kind != "direct":
            super().action_chat_info()
            return
        self.app.push_screen(ContactScreen(self.client, chat), lambda what: self._contact(chat, what))

    def _contact(self, chat: Chat, what: str | None) -> None:
        match what:
            case "name":
                self.action_name_contact()
            case "timer":
                self.action_timer()
            case "search":
                self.action_find_messages()
            case "report":
                self.report_user(chat)
            case "block" | "unblock" | "accept" | "remove":
                self.answer(chat, what)

    def action_settings(self) -> None:
        self.app.push_screen(SettingsScreen(self.client, self.find_user, self.folder()), self.settings_chose)

    def settings_chose(self, what: str | None) -> None:
        """Some things of the settings are screens of their own."""
        if what == "starred":
            self.action_starred()
        elif what == "theme":
            self.app.action_next_theme()
        self.stale()  # this user may have another number

    def noticed(self, event: events.Notice) -> None:
        """A notice about people and devices."""
        data = event.data if isinstance(event.data, dict) else {}
        match event.kind:
            case "join_request" | "join_answer":
                self.asked_to_join(event.kind, data)
            case "device_linked" | "device_removed" | "device_idle":
                self.app.say(device_news(event.kind, data, now_ms()), severity="warning")
                for screen in self.app.screen_stack:
                    if isinstance(screen, DevicesScreen):
                        screen.read_again()
            case "number_changed" if data.get("userId") == self.client.session.user_id:
                number = text.one_line(self.client.session.phone_number)
                self.app.say(f"Your number is {number} now: another device of yours has changed it.")
                self.stale()
            case "pin":
                self.app.say(
                    PIN_NEWS.get(str(data.get("event")), "Your PIN was changed."), severity="warning"
                )
            case "limited":
                self.app.say(limited_news(data), severity="warning")
            case "media" if data.get("reason") == "blocked":  # other reasons are told where it is sent
                self.app.say("A file of yours is blocked: nobody can fetch it.", severity="warning")
            case "number_changed":
                name = text.cut(text.one_line(self.names.name(str(data.get("userId") or ""))), 40)
                self.app.say(f"{name} has a new phone number.")

    # -- what may be pressed -------------------------------------------------------------------------------------
    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        if action == "chat_info":
            return self.app.screen is self and self.open is not None
        if action == "settings":
            return self.app.screen is self
        return super().check_action(action, parameters)
