"""Which file is to be sent: its path, with what is there to choose from, and a caption."""

from __future__ import annotations

from typing import NamedTuple

from textual import events, on
from textual.app import ComposeResult
from textual.containers import Horizontal, Vertical
from textual.content import Content
from textual.widgets import Button, Input, OptionList, Static
from textual.widgets.option_list import Option

from . import text
from .completing import completions
from .sheets import Sheet, Tick, show_options

CAPTION = 1_024  # characters


class Chosen(NamedTuple):
    path: str
    caption: str
    encrypted: bool


class FileScreen(Sheet[Chosen]):
    DEFAULT_CSS = """
    FileScreen OptionList { height: auto; max-height: 10; min-height: 1; }
    FileScreen.-low OptionList { max-height: 3; }
    """

    def __init__(self, path: str = "", caption: str = "") -> None:
        super().__init__()
        self._path, self._caption = path, caption
        self._offered: list[str] = []

    def compose(self) -> ComposeResult:
        with Vertical(classes="box") as box:
            box.border_title = "Send a file"
            box.border_subtitle = "↓ chooses · Tab · Esc cancels"
            yield Input(
                self._path, id="path", max_length=4096, compact=True, placeholder="~/Pictures/beach.jpg"
            )
            yield OptionList(id="offered")
            yield Input(
                self._caption, id="caption", max_length=CAPTION, compact=True, placeholder="A caption"
            )
            yield Tick("Encrypted (the server does not look into it)", value=True, id="encrypted")
            yield Static("", classes="error")
            with Horizontal(classes="buttons"):
                yield Button("Cancel", id="no", compact=True)
                yield Button("Send", id="go", variant="primary", compact=True, classes="-last")

    def on_mount(self, event: events.Mount) -> None:
        path = self.query_one("#path", Input)
        path.focus()
        path.cursor_position = len(path.value)
        self._offer(path.value)

    def _offer(self, typed: str) -> None:
        self._offered = completions(typed)
        names = (
            path.rstrip("/").rpartition("/")[2] + ("/" if path.endswith("/") else "")
            for path in self._offered
        )
        options = [Option(Content(text.cut(text.one_line(name), 58))) for name in names]
        show_options(self.query_one("#offered", OptionList), options)

    @on(Input.Changed, "#path")
    def _typed(self, event: Input.Changed) -> None:
        self._offer(event.value)

    @on(OptionList.OptionSelected, "#offered")
    def _took(self, event: OptionList.OptionSelected) -> None:
        path = self.query_one("#path", Input)
        path.value = self._offered[event.option_index]
        path.cursor_position = len(path.value)
        (path if path.value.endswith("/") else self.query_one("#caption", Input)).focus()

    def on_key(self, event: events.Key) -> None:
        if event.key == "down" and self.query_one("#path", Input).has_focus and self._offered:
            event.stop()
            self.query_one("#offered", OptionList).focus()

    def on_input_submitted(self, event: Input.Submitted) -> None:
        self._send()

    def on_button_pressed(self, event: Button.Pressed) -> None:
        if event.button.id == "go":
            self._send()
        else:
            self.dismiss(None)

    def _send(self) -> None:
        path = self.query_one("#path", Input).value.strip()
        if not path:
            self.say("Which file? Write its path.")
            return
        if path.endswith("/"):
            self.say("This is a folder.")
            return
        caption = self.query_one("#caption", Input).value
        self.dismiss(Chosen(path, caption, self.query_one("#encrypted", Tick).value))
