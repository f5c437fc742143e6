"""What may be looked at once, while one looks at it."""

from __future__ import annotations

from textual.app import ComposeResult
from textual.containers import Horizontal, Vertical, VerticalScroll
from textual.content import Content
from textual.widgets import Button, Static

from . import text
from .sheets import Sheet

MOST = 20_000  # characters


class OnceScreen(Sheet[None]):
    """Gone for good when it is closed: the file of this device holds it no more."""

    DEFAULT_CSS = """
    OnceScreen VerticalScroll { height: auto; max-height: 20; margin: 1 0; }
    OnceScreen.-low VerticalScroll { max-height: 6; margin: 0; }
    OnceScreen #content { height: auto; color: $bubble-text; background: $bubble-other; padding: 0 1; }
    """

    def __init__(self, name: str, content: bytes) -> None:
        super().__init__()
        self._who = text.cut(text.one_line(name), 30)
        self._words = text.clean(content.decode("utf-8", "replace")[:MOST])

    def compose(self) -> ComposeResult:
        with Vertical(classes="box") as box:
            box.border_title = Content(f"① {self._who}, once")
            box.border_subtitle = "Esc closes it for good"
            with VerticalScroll(can_focus=False):
                yield Static(Content(self._words), id="content")
            yield Static(
                "It is not kept on this device: closed, it is gone. You can still report it.", classes="dim"
            )
            with Horizontal(classes="buttons"):
                yield Button("Close", id="close", compact=True, classes="-last")

    def on_button_pressed(self, event: Button.Pressed) -> None:
        self.dismiss(None)
