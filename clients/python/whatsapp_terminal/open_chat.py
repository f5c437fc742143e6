"""The conversation that is open: its window onto the history, its header, what is unread, where it is scrolled."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from textual.content import Content
from textual.widgets import Static

from whatsapp_client import Chat, ClientError, Outgoing

from . import bubbles, text
from .conversation import MessagesView
from .window import KEEP, PAGE, Window
from .work import spawn

if TYPE_CHECKING:
    from .chat_screen import ChatScreen


class OpenChat:
    """Lives from the moment a chat is opened until another is; no widget of its own."""

    def __init__(self, screen: ChatScreen, chat: Chat) -> None:
        self.id = chat.conversation_id
        self._screen = screen
        self._client = screen.client
        self._chat = chat
        self._window = Window(screen.client, self.id)
        self._unread = chat.unread
        self._divider = chat.read_up_to + 1 if chat.unread else 0
        self._below = 0  # came while the reader was further up
        self._unfolded: set[str] = set()
        self._cache: bubbles.Cache = {}
        self._loading = False
        self._settled = False
        self._signature: object = None
        self._title: Content | None = None

    @property
    def _view(self) -> MessagesView:
        return self._screen.query_one(MessagesView)

    @property
    def scrolled_up(self) -> bool:
        return not self._view.at_end or not self._window.at_newest

    @property
    def failed(self) -> bool:
        return any(outgoing.state == "failed" for outgoing in self._window.pending)

    def start(self) -> None:
        """Show the end, or the first unread message."""
        self._window.newest()
        self._show(to=self._target())
        spawn(self._screen, self._fill, "older")

    def _target(self) -> str:
        """Where to go at the start: the first unread message, as soon as it is in the window."""
        first = self._window.entries[0].seq if self._window.entries else 0
        return "unread" if self._unread and first and self._divider >= first else "end"

    async def _fill(self) -> None:
        """Enough to fill the screen and to begin at what is unread, from the server if need be. What is unread by
        more than a window begins at its end."""
        far = not 0 < self._unread <= KEEP - 2 * PAGE
        try:
            while len(self._window.entries) <= KEEP - PAGE:
                full = self._view.virtual_size.height > 2 * self._view.size.height
                if self._screen.open is not self or (full and (far or self._target() == "unread")):
                    return
                if not await self._older():
                    return
                self._show(to=self._target())
        finally:
            self._settled = True
            self._screen.stale()

    def draw(self) -> None:
        """Bring everything up to date."""
        self._chat = self._screen.chats.get(self.id, self._chat)
        added = self._window.renew()
        if added and not self._view.at_end:
            self._below += 1
        self._show()
        self._draw_title()

    def _show(self, *, to: str = "") -> None:
        view = self._view
        shown = bubbles.View(
            width=view.layout_width,
            now=time.time_ns() // 1_000_000,
            own_id=self._client.session.user_id,
            receipt=lambda seq: self._client.receipt_at(self.id, seq),
            name=self._screen.names.name,
            group=self._chat.kind != "direct",
            divider=self._divider,
            unread=self._unread,
            beginning=self._window.at_beginning,
            unfolded=frozenset(self._unfolded),
        )
        view.show(bubbles.layout(self._window.entries, self._window.pending, shown, self._cache), to=to)
        self._draw_newest()

    def _draw_title(self) -> None:
        title = text.one_line(self._chat.title) or "?"
        status = self._screen.names.status(self._chat, time.time_ns() // 1_000_000)
        role = "$accent italic" if "typing" in status else "$success" if status == "online" else "$list-dim"
        label = self._screen.query_one("#title", Static)
        back = "‹ " if self._screen.has_class("-narrow") else ""
        room = max(4, label.size.width - 2 - text.width(back))
        said = text.cut(status, room // 2)
        name = text.cut(title, max(2, room - text.width(said) - 2))
        fence = text.FENCE if text.has_right_to_left(name) else ""
        words = Content.assemble((back, "$accent"), (name + fence, "bold"), "  ", (said, role))
        if words != self._title:
            self._title = words
            label.update(words)

    def _draw_newest(self) -> None:
        away = not self._view.at_end or not self._window.at_newest
        if not away:
            self._below = 0
        label = self._screen.query_one("#newest", Static)
        label.display = away
        if away:
            words = f" ↓ {self._below} new · Ctrl+G " if self._below else " ↓ Newest · Ctrl+G "
            label.update(Content(words))
        if self._signature != (away, self.failed):
            self._signature = (away, self.failed)
            self._screen.refresh_bindings()

    # -- what happens --------------------------------------------------------------------------------------------
    def sent(self, outgoing: Outgoing) -> None:
        self._window.keep(outgoing)

    def seen(self) -> int:
        """What was on screen, once it is settled where the screen begins."""
        return self._view.seen() if self._settled else 0

    def to_newest(self) -> None:
        if not self._window.at_newest:
            self._window.newest()
        else:
            self._window.renew()
        self._divider = 0
        self._show(to="end")

    def wanted(self, what: str) -> None:
        view = self._view
        match what:
            case "newest":
                self.to_newest()
            case "resized":
                self._show()
                self._draw_title()
            case "moved":
                if view.near_top and not self._window.at_beginning:
                    spawn(self._screen, self._older, "older")
                elif view.at_end and not self._window.at_newest and self._window.newer():
                    self._show(to=view.blocks[-1].key if view.blocks else "")
                self._draw_newest()

    async def _older(self) -> int:
        if self._loading or self._screen.open is not self:
            return 0
        self._loading = True
        try:
            added = await self._window.older()
        except ClientError:
            return 0  # offline: asked again at the next scroll
        finally:
            self._loading = False
        if self._screen.open is self:
            self._show()
        return added

    def act(self, action: str) -> None:
        """A click on a button of a message, or its key."""
        verb, _, key = action.partition(" ")
        if verb == "unfold":
            self._unfolded ^= {key}
            self._show()
            return
        for outgoing in self._client.pending(self.id):
            if outgoing.message_id == key and outgoing.state == "failed":
                if verb == "retry":
                    self._client.retry(outgoing)
                elif verb == "discard":
                    self._client.discard(outgoing)
        self._window.renew()
        self._show()
