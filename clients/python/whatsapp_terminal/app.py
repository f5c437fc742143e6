"""The application: sign in if need be, then the chat; what is remembered."""

from __future__ import annotations

import pathlib
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any, ClassVar

from textual import events
from textual.app import App, SystemCommand
from textual.binding import Binding, BindingType
from textual.screen import Screen

from whatsapp_client import ClientError, Session

from .backend import Backend
from .chat_screen import ChatScreen
from .commands import ChatCommands
from .explain import explain
from .settings import ALERTS
from .shell import Shell
from .signin import Registrar
from .signin_screen import SignInScreen


class TerminalApp(Shell):
    """``make``: a client for a session. ``settings_path``: where the settings of a number are."""

    COMMANDS: ClassVar[set[type[Any] | Callable[[], type[Any]]]] = App.COMMANDS | {ChatCommands}
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("ctrl+q", "quit", "Leave", priority=True),
    ]

    def __init__(
        self,
        make: Callable[[Session], Backend],
        registrar: Registrar,
        *,
        number: str = "",
        session: Session | None = None,
        to: str = "",
        settings_path: Callable[[str], pathlib.Path | None] = lambda number: None,
    ) -> None:
        super().__init__()
        self._make = make
        self._registrar = registrar
        self._number = number
        self._session = session
        self._to = to
        self._settings_path = settings_path
        self.client: Backend | None = None

    # -- life --------------------------------------------------------------------------------------------------
    def on_mount(self) -> None:
        if self._number:
            self._load_settings(self._number)
        if self._session is not None:
            self._begin(self._session)
        else:
            self._sign_in(at_once=bool(self._number))

    def _load_settings(self, number: str) -> None:
        self.load_settings(self._settings_path(number))

    def _sign_in(self, reason: str = "", *, at_once: bool = False) -> None:
        screen = SignInScreen(self._registrar, self._number, reason=reason, at_once=at_once)
        self.push_screen(screen, self._signed_in)

    def _signed_in(self, session: Session | None) -> None:
        if session is None:
            self.exit(0)
            return
        if session.phone_number != self._number or self._path is None:
            self._load_settings(session.phone_number)
        self._number = session.phone_number
        self._begin(session)

    def _begin(self, session: Session) -> None:
        self._session = session
        try:
            self.client = self._make(session)
        except ClientError as error:  # its database: open in another terminal, or broken
            self.exit(return_code=1, message=explain(error))
            return
        self.push_screen(ChatScreen(self.client, to=self._to))

    async def action_sign_in_again(self) -> None:
        """Leave the ended session and ask for a code."""
        screen = self._chat_screen()
        if screen is None or self.client is None:
            return
        screen.leave_chat()
        await self.client.stop()
        self.client = None
        await screen.dismiss(None)
        self._sign_in("The session has ended. A new code brings you back; your messages are kept.")

    async def action_quit(self) -> None:
        screen = self._chat_screen()
        if screen is not None:
            screen.leave_chat()
        self.settings.save(self._path)
        if self.client is not None:
            await self.client.stop()
        self.exit(0)

    def _chat_screen(self) -> ChatScreen | None:
        return next((s for s in reversed(self.screen_stack) if isinstance(s, ChatScreen)), None)

    # -- attention ---------------------------------------------------------------------------------------------
    async def on_event(self, event: events.Event) -> None:
        if isinstance(
            event,
            events.Key | events.MouseDown | events.MouseScrollDown | events.MouseScrollUp | events.Paste,
        ):
            screen = self._chat_screen()
            if screen is not None:
                screen.attend()
        await super().on_event(event)

    def watch_app_focus(self, focused: bool) -> None:
        screen = self._chat_screen() if self._running else None
        if screen is not None:
            screen.focus_changed(focused)

    # -- the palette -------------------------------------------------------------------------------------------
    def _chat_commands(self, chat: ChatScreen) -> Iterable[SystemCommand]:
        """For the chat that is open."""
        if chat.open is None:
            return
        if chat.open.book is not None:
            yield SystemCommand("Group", "Members, settings, invite, leave", chat.action_chat_info)
        else:
            yield SystemCommand("Contact", "Who it is, timer, block, delete", chat.action_chat_info)
            yield SystemCommand("Name this contact", "In your list of chats", chat.action_name_contact)
        if not chat.open.closed:
            yield SystemCommand("Send a file", "With a caption, encrypted", chat.action_send_file)
            yield SystemCommand("New poll", "Ask this chat something", chat.action_poll)
            yield SystemCommand("View once", "For the next message", chat.action_once)
            yield SystemCommand("Disappearing messages", "After how long", chat.action_timer)
        for what, words in (("mute", "Mute"), ("pin", "Pin"), ("archive", "Archive this chat")):
            yield SystemCommand(
                words, "Or undo it, for the chat that is open", partial(chat.action_flag, what)
            )

    def get_system_commands(self, screen: Screen[Any]) -> Iterable[SystemCommand]:
        for command in super().get_system_commands(screen):
            if command.title not in ("Screenshot", "Maximize", "Minimize", "Keys"):
                yield command
        chat = self._chat_screen()
        if chat is not None and screen is chat:
            yield SystemCommand("Settings", "Profile, privacy, contacts, devices, PIN", chat.action_settings)
            yield SystemCommand("Search messages", "In this chat or in all", chat.action_find_messages)
            yield SystemCommand("Starred messages", "Of all chats", chat.action_starred)
            yield SystemCommand("My name", "What others see instead of a number", chat.action_my_name)
            yield from self._chat_commands(chat)
            yield SystemCommand("New chat", "Start a chat with a phone number", chat.action_new_chat)
            yield SystemCommand("New group", "With people you know or their numbers", chat.action_new_group)
            yield SystemCommand("Join a group", "With the code of an invite", chat.action_join)
            yield SystemCommand("Archive", "Show or hide archived chats", chat.action_archive_shown)
            yield SystemCommand("Help", "All keys", chat.action_help)
            yield SystemCommand("Retry", "Send again what failed in this chat", chat.action_retry)
            yield SystemCommand("Sign in again", "With a new code", self.action_sign_in_again)
        for alert in ALERTS:
            yield SystemCommand(
                f"Alert: {alert}",
                "When a message comes that you do not see",
                lambda a=alert: self.set_alert(a),
            )
