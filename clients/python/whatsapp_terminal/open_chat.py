"""The conversation that is open: its window onto the history, its header, what is unread, where it is scrolled."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Any

from textual.content import Content
from textual.widgets import Static

from whatsapp_client import Chat, ClientError, Entry, Outgoing, Stopped

from . import bubbles, clock, mentions, send_bubble, text
from .cells import Block, View
from .composer import Composer
from .conversation import MessagesView
from .facts import NOTHING, Facts
from .facts_of import facts_of, facts_of_outgoing
from .frame import Frame
from .group_book import GroupBook
from .names import nameless
from .request_bar import RequestBar
from .window import KEEP, PAGE, Window
from .work import spawn

#: Why nothing can be written: words for :attr:`Chat.read_only`.
CLOSED = {
    "removed": "You were removed from this group",
    "left": "You left this group",
    "dissolved": "This group has ended",
    "announcements": "Only admins may write here",
}
STRANGERS = 20  # unknown people whose names are asked for at a time


class OpenChat:
    """Lives from the moment a chat is opened until another is; no widget of its own."""

    def __init__(self, screen: Frame, chat: Chat) -> None:
        self.id = chat.conversation_id
        self._screen = screen
        self._client = screen.client
        self._chat = chat
        self.book = (
            GroupBook(screen.client, screen.names, self.id, lambda work: spawn(screen, work, "book"))
            if chat.kind != "direct"
            else None
        )
        self.mentioned: dict[str, str] = {}  # by the name that was put in: whom it means
        self._asked: set[str] = set()  # whose names were asked for
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
        self._draw_composer()
        spawn(self._screen, self._fill, "older")
        spawn(self._screen, self._learn, "learn")
        self.renew_book()

    @property
    def title(self) -> str:
        return self._chat.title

    # -- people ------------------------------------------------------------------------------------------------
    def renew_book(self) -> None:
        """Read a group again: something of it has changed, or the server was away."""
        if self.book is not None:
            self.book.renew()

    @property
    def closed(self) -> str:
        """Why nothing can be written; empty: it can."""
        if self._chat.blocked:
            return "You have blocked this person"
        return CLOSED.get(self._chat.read_only, "")

    def happened(self, entry: Entry) -> None:
        """An event of the log."""
        if entry.target_id:
            self.amended(entry.target_id)
        if entry.type in ("member_added", "member_removed", "role", "info"):
            self.renew_book()

    async def _learn(self) -> None:
        """Names of strangers, who may have got one since: of the other one, of those who wrote what is here."""
        found = {self._chat.user_id or ""} if self._chat.kind == "direct" else set()
        for entry in self._window.entries:
            found |= {entry.sender_id, str(entry.fields.get("userId") or "")}
        names = self._screen.names
        strangers = sorted(u for u in found - self._asked - {""} if nameless(names.name(u), u))[:STRANGERS]
        self._asked.update(strangers)
        try:
            if strangers:
                await self._client.learn_names(strangers)
        except ClientError:
            self._asked.difference_update(strangers)  # offline: asked again when it is opened again
        self._screen.stale()

    def send(self, body: str, **fields: Any) -> None:
        """Raises :class:`ClientError`, ValueError."""
        if self.closed:
            raise Stopped(f"{self.closed}.")
        found: list[str] = []
        if self.book is not None and "@" in body:
            found = mentions.named(body, self.book.people(), self.mentioned)
        if found:
            fields["mentions"] = found
        self._client.send(self.id, body, **fields)
        self.mentioned.clear()

    # -- drawing -----------------------------------------------------------------------------------------------
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
        self._draw_composer()

    def _show(self, *, to: str = "") -> None:
        view = self._view
        shown = View(
            width=view.layout_width,
            now=time.time_ns() // 1_000_000,
            own_id=self._client.session.user_id,
            receipt=lambda seq: self._client.receipt_at(self.id, seq),
            name=self._screen.names.name,
            called=self._screen.names.called,
            facts=self._facts,
            sending=self._sending,
            group=self._chat.kind != "direct",
            divider=self._divider,
            unread=self._unread,
            beginning=self._window.at_beginning,
            unfolded=frozenset(self._unfolded),
        )
        blocks = bubbles.layout(self._window.entries, self._window.pending, shown, self._cache)
        if self._window.at_newest:
            blocks += [send_bubble.block(send, shown) for send in self._screen.sends.of(self.id)]
        view.show(blocks, to=to)
        self._want_previews()
        self._draw_newest()

    def _want_previews(self) -> None:
        """Small pictures of what is on the screen."""
        files = [block.facts.file for block in self._view.on_screen() if block.facts.file is not None]
        self._screen.previews.want(self.id, files)

    def _draw_title(self) -> None:
        title = text.one_line(self._chat.title) or "?"
        status = self._screen.names.status(self._chat, time.time_ns() // 1_000_000) or self._size()
        role = "$accent italic" if "typing" in status else "$success" if status == "online" else "$list-dim"
        label = self._screen.query_one("#title", Static)
        back = "‹ " if self._screen.has_class("-narrow") else ""
        room = max(4, label.size.width - 2 - text.width(back))
        said = text.cut(text.one_line(status), max(room // 2, room - text.width(title) - 2))
        name = text.cut(title, max(2, room - text.width(said) - 2))
        fence = text.FENCE if text.has_right_to_left(name) else ""
        words = Content.assemble((back, "$accent"), (name + fence, "bold"), "  ", (said, role))
        if words != self._title:
            self._title = words
            label.update(words)

    def _size(self) -> str:
        """Of a group: how many belong to it, and how many of them are here."""
        if self.book is None or self._chat.read_only in ("removed", "left", "dissolved"):
            return ""
        count = self.book.group.member_count if self.book.group is not None else self._chat.member_count
        if not count:
            return "group"
        online = self._screen.names.online_in(self.id, (member.user_id for member in self.book.members))
        words = f"{count:,} {'member' if count == 1 else 'members'}"
        return f"{words}, {online:,} online" if online else words

    def _draw_composer(self) -> None:
        composer = self._screen.query_one(Composer)
        closed = self.closed
        title = text.cut(text.one_line(self._chat.title), 40)
        # Content, not text: text would be read as markup, and others choose their names.
        timer = f"  ◷ {clock.span(self._chat.timer)}" if self._chat.timer and not closed else ""
        words = Content(f"{closed or f'Message to {title}'}{timer}")
        state = "blocked" if self._chat.blocked else "request" if self._chat.request else ""
        self._screen.query_one(RequestBar).show(state, title)
        if composer.placeholder != words:
            composer.placeholder = words
            composer.read_only = bool(closed)

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

    # -- messages ------------------------------------------------------------------------------------------------
    def _facts(self, entry: Entry) -> Facts:
        shown = self._window.shown.get(entry.message_id)
        return self._shaped(facts_of(shown, self._client.session.user_id)) if shown is not None else NOTHING

    def _shaped(self, facts: Facts) -> Facts:
        """With what is known of its file."""
        if facts.file is None:
            return facts
        shape, note = self._screen.previews.shape(self.id, facts.file), self._screen.note_of(facts.file)
        return replace(facts, shape=replace(shape, note=note))

    def _sending(self, outgoing: Outgoing) -> Facts:
        """Of a message on its way, as far as it says so itself."""
        shown = self._window.shown.get(str(outgoing.fields.get("replyTo") or ""))
        return self._shaped(facts_of_outgoing(outgoing, shown.entry if shown is not None else None))

    def block(self, key: str) -> Block | None:
        """What is shown of a message."""
        return next((block for block in self._view.blocks if block.key == key), None)

    def amended(self, message_id: str) -> None:
        """It is another now, or gone."""
        if message_id in self._window.shown:
            self._window.amended()
            self._screen.stale()

    def go_to(self, seq: int) -> None:
        """Show a message of this chat, and mark it."""
        if not self._window.around(seq):
            self._screen.app.say("This message is not on this device.", severity="warning")
            return
        self._settled = True
        self._show(to=f"m {seq}")
        self._view.pick(f"m {seq}")

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
                self._want_previews()
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
        if verb == "info":
            block = next((block for block in self._view.blocks if block.key == key), None)
            if block is not None and block.own and block.message_id:
                self._screen.message_info(self.id, block.message_id, block.message)
            return
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
