"""Where a message is to be forwarded: up to five chats, one when it has been forwarded many times."""

from __future__ import annotations

from collections.abc import Sequence

from textual import events
from textual.app import ComposeResult
from textual.containers import Horizontal, Vertical
from textual.content import Content
from textual.widgets import Button, Input, OptionList, Static
from textual.widgets.option_list import Option

from whatsapp_client import Chat

from . import membership, text
from .sheets import Sheet, show_options

MOST = 5


class ForwardScreen(Sheet[list[str]]):
    """Dismissed with conversation ids. ``chats``: those one may write to."""

    def __init__(self, words: str, chats: Sequence[Chat], *, most: int = MOST) -> None:
        super().__init__()
        self._words = text.cut(text.one_line(words), 120)
        self._titles = {chat.conversation_id: text.one_line(chat.title) or "?" for chat in chats}
        self._most = most
        self.chosen: list[str] = []

    def compose(self) -> ComposeResult:
        with Vertical(classes="box -tall") as box:
            box.border_title = "Forward to"
            box.border_subtitle = "Enter marks · Esc cancels"
            yield Static(Content(self._words), classes="dim")
            yield Input(placeholder="Find a chat", id="find", max_length=64, compact=True)
            yield OptionList(id="targets")
            yield Static("", classes="error")
            with Horizontal(classes="buttons"):
                yield Button("Cancel", id="cancel", compact=True)
                yield Button("Forward", id="go", variant="primary", compact=True, classes="-last")

    def on_mount(self, event: events.Mount) -> None:
        self.query_one("#targets", OptionList).focus()
        if self._most == 1:
            self.say("Forwarded many times already: to one chat at a time.", waiting=True)
        self._list()

    def _list(self) -> None:
        wanted = self.query_one("#find", Input).value.strip().casefold()
        options = [
            Option(
                Content.assemble(
                    ("[✓] ", "$accent bold") if key in self.chosen else ("[ ] ", "$list-dim"),
                    text.cut(title, 50),
                ),
                key,
            )
            for key, title in self._titles.items()
            if wanted in title.casefold()
        ]
        if not options:
            options = [Option(Content.styled("No chat is called so.", "$list-dim"), disabled=True)]
        show_options(self.query_one("#targets", OptionList), options)
        self.query_one("#go", Button).disabled = not self.chosen

    def on_input_changed(self, event: Input.Changed) -> None:
        self._list()

    def on_input_submitted(self, event: Input.Submitted) -> None:
        self.query_one("#targets", OptionList).focus()

    def on_option_list_option_selected(self, event: OptionList.OptionSelected) -> None:
        key = str(event.option.id)
        if key in self.chosen:
            self.chosen.remove(key)
        elif self._most == 1:
            self.chosen = [key]
        elif len(self.chosen) == self._most:
            self.say(f"At most {self._most} chats at a time.")
            return
        else:
            self.chosen.append(key)
        names = membership.some(text.cut(self._titles[key], 24) for key in self.chosen)
        self.say(f"{len(self.chosen)} of {self._most}: {names}" if self.chosen else "", waiting=True)
        self._list()

    def on_button_pressed(self, event: Button.Pressed) -> None:
        self.dismiss(self.chosen if event.button.id == "go" else None)
