"""The left column: who one is, the search, the chats."""

from __future__ import annotations

import time

from textual.app import ComposeResult
from textual.containers import Vertical
from textual.content import Content
from textual.widgets import Input, Static

from whatsapp_client import Chat

from . import text
from .backend import Backend
from .chat_list import ChatList
from .names import Names
from .rows import chat_rows, muted
from .shell import Shell

NOBODY = "Nobody yet. Ctrl+N starts a chat with a phone number, F3 a group, F4 joins one."


class Side(Vertical):
    """Drawn anew by its owner. ``archive``, ``requests``: whether archived chats and those of strangers are shown."""

    app: Shell

    def __init__(self, client: Backend, names: Names, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self._client = client
        self._names = names
        self._me: Content | None = None
        self.archive = False
        self.requests = True

    def compose(self) -> ComposeResult:
        yield Static("", id="me")
        yield Input(placeholder="Search chats", id="search", compact=True)
        chats = ChatList(id="chats")
        chats.empty_text = NOBODY
        yield chats

    def draw(self, chats: list[Chat], opened: str) -> None:
        """``opened``: the conversation beside it, or empty."""
        self._draw_list(chats, opened)
        self._draw_me(chats)

    def _draw_list(self, chats: list[Chat], opened: str) -> None:
        wanted = self.query_one("#search", Input).value.strip()
        drafts = {k: v for k, v in self.app.settings.drafts.items() if k != opened}
        rows = chat_rows(
            self._client, self._names, chats, drafts=drafts, wanted=wanted.casefold(), archive=self.archive,
            requests=self.requests,
        )  # fmt: skip
        view = self.query_one(ChatList)
        empty = f"No chat matches “{text.one_line(wanted)}”." if wanted else NOBODY
        if empty != view.empty_text:
            view.empty_text = empty
            view.refresh()
        view.show(rows)

    def _draw_me(self, chats: list[Chat]) -> None:
        now = time.time_ns() // 1_000_000
        unread = sum(
            1 for chat in chats if chat.unread and (chat.mentioned or not (muted(chat, now) or chat.archived))
        )
        status = self._client.state.status
        dot, style = {
            "online": ("●", "$success"),
            "syncing": ("◐", "$secondary"),
            "stopped": ("○", "$error"),
        }.get(status, ("○", "$warning"))
        number = text.one_line(self._client.session.phone_number)
        me = Content.assemble((f"{dot} ", style), (number, "bold"), (f"  {status}", "$list-dim"))
        if me != self._me:
            self._me = me
            self.query_one("#me", Static).update(me)
        self.app.unread_title(unread)
