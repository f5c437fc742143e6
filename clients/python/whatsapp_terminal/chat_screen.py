"""The main screen: chats at the left, a conversation at the right; one of both where there is little room."""

from __future__ import annotations

import asyncio
import time

from textual import events, on
from textual.app import ComposeResult
from textual.containers import Horizontal, Vertical
from textual.content import Content
from textual.geometry import Size
from textual.widgets import Footer, Input, Static

from whatsapp_client import Chat, ClientError, Entry, Outgoing
from whatsapp_client import events as ev

from . import text
from .attention import Attention
from .backend import Backend
from .banner import Banner
from .chat_actions import ChatActionScreen
from .chat_list import HEADS, ChatList
from .chat_style import CSS
from .composer import Composer
from .context_bar import ContextBar, Writing
from .conversation import MessagesView
from .explain import explain
from .mention_box import MentionBox
from .names import Names
from .open_chat import OpenChat
from .request_bar import RequestBar
from .rows import muted
from .shell import Shell
from .side import Side
from .work import spawn

#: What was refused, by its kind.
CHANGES = {
    "edit": "The message was not edited",
    "delete": "The message was not deleted",
    "reaction": "The reaction was not given",
    "vote": "The vote does not count",
}
REDRAW = 1 / 30
ASK_EVERY = 2.0
#: Presence is watched of those who wrote last: a server bounds how many one may watch.
WATCHED = 200


class ChatScreen(ChatActionScreen):
    """Events of the client in, drawing out. At most thirty times a second, whatever comes."""

    app: Shell
    HORIZONTAL_BREAKPOINTS = [
        (0, "-narrow"), (72, "-wide"), (130, "-very-wide"),
    ]  # fmt: skip
    VERTICAL_BREAKPOINTS = [(0, "-low"), (24, "-high")]
    CSS = CSS

    def __init__(self, client: Backend, *, to: str = "") -> None:
        super().__init__()
        self.client = client
        self.names = Names(client.session.user_id, client.name_of)
        self.attention = Attention(time.monotonic())
        self.chats: dict[str, Chat] = {}
        self.open: OpenChat | None = None
        self.writing = Writing()
        self._to = to
        self.watched: set[str] = set()
        self._scheduled = False
        self._unknown = self._asking = False
        self._took = 0.0  # seconds of the last drawing: it may take a fifth of the time, not all of it

    def compose(self) -> ComposeResult:
        yield Banner(id="banner")
        with Horizontal(id="columns"):
            yield Side(self.client, self.names, id="side")
            with Vertical(id="main"):
                yield Static("", id="title")
                yield Static("", id="nothing")
                yield MessagesView(id="messages")
                yield Static("", id="newest")
                yield RequestBar(id="request")
                yield ContextBar(id="context")
                yield MentionBox(id="names")
                yield Composer(id="composer")
        yield Footer(compact=True)

    def on_resize(self, event: events.Resize) -> None:
        self._fit(event.size)
        self.stale()

    def _fit(self, size: Size) -> None:
        """Nothing, while the widgets are not there yet or any more."""
        for footer in self.query(Footer):
            if footer.show_command_palette != (size.width >= 72):
                footer.show_command_palette = size.width >= 72
                self.refresh_bindings()
        for chats in self.query(ChatList):
            chats.gap = 1 if size.height >= 24 else 0

    async def on_mount(self) -> None:
        if not self.query(Composer):
            return  # the app ends before this was shown: it takes the widgets away first
        self.query_one(Composer).text = ""
        self.query_one("#nothing", Static).update(
            Content("Choose a chat, or start one with Ctrl+N, a group with F3.\n\nF1 shows all keys.")
        )
        self._fit(self.size)
        self.set_focus(self.query_one(ChatList))
        self.begin_files()
        self.app.theme_changed_signal.subscribe(self, lambda theme: self.stale())
        self.set_interval(1.0, self._second)
        self.set_interval(30.0, self.stale)  # "3 min ago", and the day turns
        self.set_interval(10.0, self.save_draft)  # a terminal may be closed without a word
        self._draw()
        self.listen()

    # -- events of the client --------------------------------------------------------------------------------
    def listen(self) -> None:
        spawn(self, self._listen, "events", exclusive=True)

    async def _listen(self) -> None:
        stream = self.client.events()
        self._tell_presence()
        await self.client.start()
        self._state(self.client.state)
        self._refresh_later()
        if self._to:
            number, self._to = self._to, ""
            self.run_worker(self.talk_to(number), group="talk")
        async for event in stream:
            self._on_event(event)
        self._state(self.client.state)

    def _on_event(self, event: ev.Event) -> None:
        match event:
            case ev.State():
                self._state(event)
            case ev.Message(entry=entry, own=own):
                if not own:
                    self.names.typing(ev.Typing(entry.conversation_id, entry.sender_id, False))
                    self._alert(entry)
                if entry.conversation_id not in self.chats:
                    self._refresh_later()
            case ev.Change(entry=entry):
                if self.open is not None and self.open.id == entry.conversation_id:
                    self.open.happened(entry)
                if entry.conversation_id not in self.chats:
                    self._refresh_later()
            case ev.Receipt():
                self.receipt(event)
            case ev.Sent(outgoing=outgoing):
                if self.open is not None and self.open.id == outgoing.conversation_id:
                    self.open.sent(outgoing)
            case ev.Failed(outgoing=outgoing, code=code, message=message):
                self._failed(outgoing, message or code)
            case ev.Typing():
                self.names.typing(event)
            case ev.Presence():
                self.names.presence(event)
            case ev.Problem(code=code, message=message, ref=ref) if ref != "read":
                self.app.say(text.one_line(message or code), severity="warning")
            case ev.Notice():
                self.noticed(event)
        self.stale()

    def _state(self, state: ev.State) -> None:
        banner = self.query_one(Banner)
        banner.state(state)
        if state.status == "online":
            self._refresh_later()
            if self.open is not None:
                self.open.renew_book()
        elif state.status in ("waiting", "stopped"):
            self.names.disconnected()
        self.refresh_bindings()
        self.stale()

    def _failed(self, outgoing: Outgoing, why: str) -> None:
        chat = self.chats.get(outgoing.conversation_id)
        title = text.one_line(chat.title) if chat is not None else "somebody"
        opened = self.open is not None and self.open.id == outgoing.conversation_id
        if not outgoing.is_message:
            self.app.say(f"{CHANGES.get(outgoing.kind, 'Not done')}: {text.one_line(why)}", severity="error")
            if opened and self.open is not None:
                self.open.amended(outgoing.target_id)
        elif not opened:
            self.app.say(f"A message to {title} was not sent: {text.one_line(why)}", severity="error")

    def _alert(self, entry: Entry) -> None:
        """A message that nobody sees as it comes. What is mute or archived rings only for who is mentioned."""
        shown = self.open is not None and self.open.id == entry.conversation_id and self._conversation_shown()
        if shown and self.attention.present(time.monotonic()):
            return
        if self.client.state.status == "syncing":
            return  # the backlog is no news by the hundred
        chat = self.chats.get(entry.conversation_id)
        quiet = chat is not None and (
            chat.archived or chat.request or muted(chat, time.time_ns() // 1_000_000)
        )
        if quiet and self.client.session.user_id not in (entry.fields.get("mentions") or ()):
            return
        self.app.alert(text.one_line(self.names.name(entry.sender_id)))

    def _refresh_later(self) -> None:
        """Ask the server for names soon: one question at a time, however many unknown people write at once."""
        self._unknown = True
        if not self._asking:
            self._asking = True
            spawn(self, self._ask, "chats")

    async def _ask(self) -> None:
        try:
            while self._unknown:
                self._unknown = False
                await self.refresh_chats()
                await asyncio.sleep(ASK_EVERY)
        finally:
            self._asking = False

    async def refresh_chats(self) -> None:
        try:
            await self.client.refresh_chats()
        except ClientError:
            pass  # the banner tells that we are offline, and what is stored is shown
        self.stale()

    # -- drawing -----------------------------------------------------------------------------------------------
    def stale(self) -> None:
        """Draw soon."""
        if not self._scheduled:
            self._scheduled = True
            self.set_timer(max(REDRAW, 4 * self._took), self._draw)

    def _draw(self) -> None:
        self._scheduled = False
        if not self.is_mounted:
            return
        began = time.perf_counter()
        chats = self.client.chats()
        self.chats = {chat.conversation_id: chat for chat in chats}
        users = {
            chat.user_id for chat in chats[:WATCHED] if chat.kind == "direct" and chat.user_id
        } - self.watched
        if users:
            self.watched |= users
            self.client.watch_presence(users)
        self.query_one(Side).draw(chats, self.open.id if self.open is not None else "")
        if self.open is not None:
            self.open.draw()
            self._see()
        self.query_one(Banner).queued = sum(
            outgoing.state != "failed"
            for chat in chats
            for outgoing in self.client.pending(chat.conversation_id)
        )
        self._took = time.perf_counter() - began

    def _second(self) -> None:
        self._tell_presence()
        if self.open is not None:
            self._see()

    # -- attention -----------------------------------------------------------------------------------------------
    def _tell_presence(self) -> None:
        status = self.attention.presence(time.monotonic())
        if status is not None:
            self.client.set_presence(status)

    def attend(self) -> None:
        """Somebody touched a key or the mouse."""
        self.attention.touch(time.monotonic())
        self._tell_presence()

    def focus_changed(self, focused: bool) -> None:
        self.attention.focus(focused, time.monotonic())
        self._tell_presence()
        self.stale()

    def _conversation_shown(self) -> bool:
        """Whether the messages are on screen: not under a dialog, not behind the list in a narrow window."""
        hidden = self.has_class("-narrow") and not self.has_class("-talking")
        return self.app.screen is self and not hidden

    def _see(self) -> None:
        """Tell that what is on screen has been read."""
        opened = self.open
        if opened is None:
            return
        seq = opened.seen()
        if self.attention.read(opened.id, seq, time.monotonic(), shown=self._conversation_shown()):
            self.client.mark_read(opened.id, seq)
            self.stale()

    # -- chats ---------------------------------------------------------------------------------------------------
    @on(ChatList.Chosen)
    def _chosen(self, event: ChatList.Chosen) -> None:
        if event.conversation_id in HEADS:
            self.action_folded(event.conversation_id)
        else:
            self.open_chat(event.conversation_id)

    def open_chat(self, conversation_id: str) -> None:
        """Show a conversation and put the cursor into its text field."""
        self.leave_chat()
        chat = self.chats.get(conversation_id) or next(
            (chat for chat in self.client.chats() if chat.conversation_id == conversation_id), None
        )
        if chat is None:
            return
        self.chats[conversation_id] = chat
        self.open = OpenChat(self, chat)
        self.query_one(ChatList).opened = conversation_id
        self.add_class("-talking", "-open")
        composer = self.query_one(Composer)
        composer.put(self.app.settings.drafts.pop(conversation_id, ""))
        self.set_focus(composer)
        self.client.open_chat(conversation_id)
        self.open.start()
        self.stale()

    def save_draft(self) -> None:
        """Keep what is in the text field, also in the file."""
        draft = self.query_one(Composer).text if self.open is not None else ""
        if self.writing.edit is not None:
            draft = self.writing.draft
        if self.open is not None and draft != self.app.settings.drafts.get(self.open.id, ""):
            self.app.settings.drafts[self.open.id] = draft
            self.app.save_settings()

    def leave_chat(self) -> None:
        """Keep the draft of the conversation that is open."""
        opened = self.open
        if opened is None:
            return
        self.cancel_writing()
        self.save_draft()
        if self.attention.stopped_typing(opened.id):
            self.client.typing(opened.id, False)
        self.client.close_chat(opened.id)
        self.names.closed(opened.id)
        self.no_names()
        self.open = None

    # -- input ---------------------------------------------------------------------------------------------------
    @on(Composer.Submitted)
    def _submitted(self, event: Composer.Submitted) -> None:
        if self.open is None:
            return
        try:
            self.submit(event.text)
        except (ValueError, ClientError) as error:
            self.app.say(explain(error) if isinstance(error, ClientError) else str(error), severity="error")
            composer = self.query_one(Composer)
            if not composer.text:
                composer.put(event.text)
            return
        if self.attention.stopped_typing(self.open.id):
            self.client.typing(self.open.id, False)
        self.stale()

    @on(Composer.Changed)
    def _changed(self, event: Composer.Changed) -> None:
        if (
            self.open is None
            or self.client.state.status != "online"
            or not self.query_one(Composer).has_focus
        ):
            return
        if event.text_area.text:
            if self.attention.typed(self.open.id, time.monotonic()):
                self.client.typing(self.open.id, True)
        elif self.attention.stopped_typing(self.open.id):
            self.client.typing(self.open.id, False)

    @on(Composer.Paged)
    def _paged(self, event: Composer.Paged) -> None:
        view = self.query_one(MessagesView)
        view.scroll_relative(y=event.step * max(1, view.size.height - 2), animate=False)

    @on(MessagesView.Wanted)
    def _wanted(self, event: MessagesView.Wanted) -> None:
        if self.open is not None:
            self.open.wanted(event.what)
            self._see()

    @on(MessagesView.Acted)
    def _acted(self, event: MessagesView.Acted) -> None:
        if self.open is not None and not self.message_action(event.action):
            self.open.act(event.action)
            self.stale()

    @on(Input.Changed, "#search")
    def _searched(self) -> None:
        self.stale()

    @on(Input.Submitted, "#search")
    def _search_done(self) -> None:
        self._draw()
        view = self.query_one(ChatList)
        first = next((row for row in view.rows if row.conversation_id not in HEADS), None)
        if first is not None:
            self.query_one("#search", Input).value = ""
            self.open_chat(first.conversation_id)
