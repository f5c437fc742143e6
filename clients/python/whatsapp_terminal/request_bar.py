"""Over the text field of a chat with a stranger, or with somebody who is blocked: what one may do about it."""

from __future__ import annotations

from textual.app import ComposeResult
from textual.containers import Horizontal, Vertical
from textual.content import Content
from textual.message import Message
from textual.widgets import Button, Static

REQUEST = (("accept", "Accept"), ("block", "Block"), ("remove", "Delete"))
BLOCKED = (("unblock", "Unblock"), ("remove", "Delete"))


class RequestBar(Vertical):
    DEFAULT_CSS = """
    RequestBar { display: none; height: auto; background: $panel; padding: 0 1; }
    RequestBar Static { height: auto; color: $foreground; }
    RequestBar Horizontal { height: 1; }
    RequestBar Button { width: 1fr; min-width: 6; margin: 0 1 0 0; background: $field; color: $foreground; }
    RequestBar Button.-accept { background: $primary; color: $background; }
    RequestBar Button:focus { background: $list-selected; color: $foreground; text-style: bold; }
    RequestBar Button.-gone { display: none; }
    """

    class Answered(Message):
        """``what``: ``accept``, ``block``, ``unblock``, ``remove``."""

        def __init__(self, what: str) -> None:
            super().__init__()
            self.what = what

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self._shown: tuple[str, str] = ("", "")

    def compose(self) -> ComposeResult:
        yield Static("", id="request-words")
        with Horizontal():
            yield Button("Accept", id="accept", compact=True, classes="-accept")
            yield Button("Unblock", id="unblock", compact=True)
            yield Button("Block", id="block", compact=True)
            yield Button("Delete", id="remove", compact=True)

    def show(self, state: str, name: str) -> None:
        """``state``: ``request``, ``blocked``, or empty for neither."""
        if (state, name) == self._shown:
            return
        self._shown = state, name
        self.display = bool(state)
        words = {
            "request": f"{name} is not among your contacts. They do not see whether you are online or have read "
            "this until you accept or answer.",
            "blocked": f"{name} is blocked: you get nothing they write.",
        }.get(state, "")
        self.query_one("#request-words", Static).update(Content(words))
        offered = {key for key, _ in (REQUEST if state == "request" else BLOCKED if state else ())}
        for button in self.query(Button):
            button.set_class(str(button.id) not in offered, "-gone")

    def on_button_pressed(self, event: Button.Pressed) -> None:
        event.stop()
        self.post_message(self.Answered(str(event.button.id)))
