"""Who the other one of a chat is, and what one may do about them."""

from __future__ import annotations

from textual import events
from textual.app import ComposeResult
from textual.containers import Vertical
from textual.content import Content
from textual.widgets import OptionList, Static
from textual.widgets.option_list import Option

from whatsapp_client import Chat, ClientError

from . import clock, text
from .backend import Backend
from .sheets import Sheet


class ContactScreen(Sheet[str]):
    """Dismissed with what is to be done: ``name``, ``timer``, ``search``, ``block``, ``unblock``, ``accept``, ``report``,
    ``remove``."""

    DEFAULT_CSS = """
    ContactScreen > .box { width: 52; }
    ContactScreen #facts { height: auto; }
    ContactScreen OptionList { height: auto; max-height: 10; }
    """

    def __init__(self, client: Backend, chat: Chat) -> None:
        super().__init__()
        self._client = client
        self._chat = chat

    def compose(self) -> ComposeResult:
        chat = self._chat
        with Vertical(classes="box") as box:
            box.border_title = Content(text.cut(text.one_line(chat.title), 44))
            box.border_subtitle = "Esc closes"
            yield Static(Content("…"), id="facts", classes="dim")
            timer = clock.span(chat.timer) if chat.timer else "off"
            options = [("accept", "Accept the request")] if chat.request else []
            options += [
                ("name", "Name this contact"),
                ("timer", f"Disappearing messages: {timer}"),
                ("search", "Search in this chat"),
                ("unblock", "Unblock") if chat.blocked else ("block", "Block…"),
                ("report", "Report…"),
                ("remove", "Delete this chat…"),
            ]
            yield OptionList(*(Option(Content(words), key) for key, words in options))
            yield Static("", classes="error")

    def on_mount(self, event: events.Mount) -> None:
        self.query_one(OptionList).focus()
        self.run_worker(self._read(), group="profile")

    async def _read(self) -> None:
        try:
            profile = await self._client.profile(self._chat.user_id or "")
        except ClientError:
            words = "The profile cannot be read now."
        else:
            name = text.cut(text.one_line(profile.name), 40) or "has not set a name"
            about = text.cut(text.one_line(profile.about), 140) or "Nothing about them."
            words = f"~{name}\n{about}" if profile.name else f"{name}\n{about}"
            if profile.photo:
                words += "\nHas a photo, which a terminal does not show."
        if not self.closing:
            self.query_one("#facts", Static).update(Content(words))

    def on_option_list_option_selected(self, event: OptionList.OptionSelected) -> None:
        self.dismiss(event.option.id)
