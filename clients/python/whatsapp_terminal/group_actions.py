"""What keys, clicks and commands do with groups and with the state of a chat: make, join, look, mute, pin, archive, mention."""

from __future__ import annotations

import time
from typing import Any, ClassVar

from textual import on
from textual.binding import Binding, BindingType
from textual.widgets import TextArea

from whatsapp_client import FOR_EVER, Chat, ClientError

from . import mentions, text
from .actions import ActionScreen
from .chat_list import ARCHIVE, REQUESTS, ChatList
from .clock import duration
from .composer import Composer
from .explain import explain
from .group_screen import REPORT, TIMER, GroupScreen
from .invite_screen import InviteScreen
from .join_screen import ASKED, JoinScreen
from .mention_box import MentionBox
from .message_info import MessageInfoScreen
from .new_group import NewGroupScreen
from .rows import muted
from .sheets import ChoiceScreen
from .side import Side

HOUR = 3_600_000  # ms
#: How long a chat may be mute, ms.
MUTES = (("8", 8 * HOUR, "For 8 hours"), ("week", 7 * 24 * HOUR, "For a week"), ("always", None, "Always"))


class GroupActionScreen(ActionScreen):
    """The part of the main screen that deals with groups and with the lines of the list."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("f2", "chat_info", "Info", key_display="F2", priority=True),
        Binding("f3", "new_group", "New group", show=False, priority=True),
        Binding("f4", "join", "Join", show=False, priority=True),
    ]

    # -- groups ------------------------------------------------------------------------------------------------
    def action_new_group(self) -> None:
        self.app.push_screen(NewGroupScreen(self.client, self.find_user), self._opened)

    def action_join(self) -> None:
        def done(result: str | None) -> None:
            if result == ASKED:
                self.app.say("You have asked to join. The chat appears here when an admin lets you in.")
            else:
                self._opened(result)

        self.app.push_screen(JoinScreen(self.client), done)

    def _opened(self, conversation_id: str | None) -> None:
        if conversation_id:
            self.open_chat(conversation_id)
            self.stale()

    def action_chat_info(self) -> None:
        opened = self.open
        if opened is not None and opened.book is not None:
            screen = GroupScreen(self.client, self.names, opened.book, opened.title, self.find_user)
            self.app.push_screen(screen, self._group_done)

    def _group_done(self, result: str | None) -> None:
        chat = self.chats.get(self.open.id) if self.open is not None else None
        if result == TIMER:
            self.action_timer()
        elif result == REPORT and chat is not None:
            self.report_group(chat)
        elif result == REPORT:
            return
        else:
            self._opened(result)

    def report_group(self, chat: Chat) -> None:
        """Ask what is wrong with it."""
        raise NotImplementedError

    def action_timer(self) -> None:
        """Ask when messages of the open chat are to disappear."""
        raise NotImplementedError

    def message_info(self, conversation_id: str, message_id: str, body: str) -> None:
        """Who has a message of ours."""
        self.app.push_screen(MessageInfoScreen(self.client, self.names, conversation_id, message_id, body))

    def receipt_came(self, conversation_id: str) -> None:
        """The details that are shown may be others now."""
        shown = self.app.screen
        if isinstance(shown, MessageInfoScreen) and shown.conversation_id == conversation_id:
            shown.renew()

    def asked_to_join(self, kind: str, data: dict[str, Any]) -> None:
        """A notice ``join_request`` {groupId, userId} to an admin, or ``join_answer`` {groupId, accepted} to who asked."""
        chat = self.chats.get(str(data.get("groupId")))
        title = f"“{text.cut(text.one_line(chat.title), 40)}”" if chat is not None else "a group"
        if kind == "join_answer":
            self.app.say(
                f"You were let into {title}." if data.get("accepted") else "You were not let into the group."
            )
            return
        name = text.cut(text.one_line(self.names.name(str(data.get("userId")))), 40)
        self.app.say(f"{name} asks to join {title}: F2, then i.")
        shown = self.app.screen
        if isinstance(shown, InviteScreen):
            shown.renew()

    # -- the state of a chat -----------------------------------------------------------------------------------
    @on(ChatList.Acted)
    def _acted_on(self, event: ChatList.Acted) -> None:
        self.flag(event.conversation_id, event.what)

    def action_flag(self, what: str) -> None:
        """Of the chat that is open: ``mute``, ``pin``, ``archive``."""
        if self.open is not None:
            self.flag(self.open.id, what)

    def flag(self, conversation_id: str, what: str) -> None:
        """Turn a flag of a chat over; how long it is to be mute is asked."""
        chat = self.chats.get(conversation_id)
        if chat is None:
            return
        match what:
            case "pin":
                self._set(
                    chat, "on top" if not chat.pinned else "not on top any more", pinned=not chat.pinned
                )
            case "archive":
                words = "in the archive" if not chat.archived else "back among the chats"
                self._set(chat, words, archived=not chat.archived)
            case "mute" if muted(chat, now_ms()):
                self._set(chat, "heard again", muted_until=None)
            case "mute":
                choices = [(key, words) for key, _, words in MUTES]
                title = f"Mute {text.one_line(chat.title)}"
                self.app.push_screen(ChoiceScreen(title, choices), lambda key: self._mute(chat, key))

    def _mute(self, chat: Chat, key: str | None) -> None:
        for name, span, _ in MUTES:
            if name == key:
                until = FOR_EVER if span is None else now_ms() + span
                words = "mute" if span is None else f"mute for {duration(span / 1000)}"
                self._set(chat, f"{words}; what mentions you still rings", muted_until=until)

    def _set(self, chat: Chat, words: str, **flags: Any) -> None:
        self.run_worker(self._send_flags(chat, words, flags), group="flags")

    async def _send_flags(self, chat: Chat, words: str, flags: dict[str, Any]) -> None:
        title = text.cut(text.one_line(chat.title), 30)
        try:
            await self.client.set_flags(chat.conversation_id, **flags)
        except ClientError as error:
            self.app.say(f"{title}: {explain(error)}", severity="error")
        else:
            self.app.say(f"{title} is {words}.", timeout=3)
        self.stale()

    def action_archive_shown(self) -> None:
        """Show or hide the archived chats."""
        self.action_folded(ARCHIVE)

    def action_folded(self, row: str) -> None:
        """Unfold what is behind a row of the list, or fold it."""
        side = self.query_one(Side)
        if row == REQUESTS:
            side.requests = not side.requests
        else:
            side.archive = not side.archive
        self.query_one(ChatList).cursor = row
        self.stale()

    # -- mentions ----------------------------------------------------------------------------------------------
    @on(TextArea.Changed, "#composer")
    @on(TextArea.SelectionChanged, "#composer")
    def _offer_names(self) -> None:
        composer, book = self.query_one(Composer), self.open.book if self.open is not None else None
        typed = mentions.begun(composer.before_cursor()) if book is not None and composer.has_focus else None
        found = mentions.offers(typed, book.people()) if book is not None and typed is not None else []
        if len(found) == 1 and typed == found[0].written:
            found = []  # it is complete
        self.query_one(MentionBox).offer(found)
        composer.offering = bool(found)

    @on(Composer.Offered)
    def _offered(self, event: Composer.Offered) -> None:
        box = self.query_one(MentionBox)
        if event.key in ("up", "down"):
            box.move(-1 if event.key == "up" else 1)
        elif event.key == "escape":
            self.no_names()
        else:
            box.take()

    @on(MentionBox.Chosen)
    def _named(self, event: MentionBox.Chosen) -> None:
        composer = self.query_one(Composer)
        typed = mentions.begun(composer.before_cursor())
        if typed is not None:
            composer.complete(typed, event.person.written)
            if self.open is not None:
                self.open.mentioned[event.person.written] = event.person.user_id
        self.no_names()
        self.set_focus(composer)

    def no_names(self) -> None:
        """Nobody is being named."""
        self.query_one(MentionBox).offer([])
        self.query_one(Composer).offering = False

    # -- what may be pressed -----------------------------------------------------------------------------------
    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        if action == "chat_info":
            return self.app.screen is self and self.open is not None and self.open.book is not None
        if action in ("new_group", "join"):
            return self.app.screen is self
        return super().check_action(action, parameters)


def now_ms() -> int:
    return time.time_ns() // 1_000_000
