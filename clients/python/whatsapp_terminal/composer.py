"""The field in which a message is written: several lines, Enter sends, Up brings back what was sent."""

from __future__ import annotations

from textual import events
from textual.message import Message
from textual.widgets import TextArea

NEWLINE_KEYS = ("shift+enter", "alt+enter", "ctrl+j", "ctrl+enter")
#: What chooses among names while they are shown.
OFFER_KEYS = ("up", "down", "tab", "enter", "escape")
MAX_HISTORY = 200


class Composer(TextArea):
    DEFAULT_CSS = """
    Composer {
        height: auto;
        min-height: 1;
        max-height: 8;
        border: none;
        border-left: thick $panel;
        padding: 0 1;
        background: $panel;
        scrollbar-size-vertical: 1;
        & .text-area--placeholder { color: $list-dim; text-style: italic; }
        &:focus { border: none; border-left: thick $accent; background: $panel; }
    }
    """

    class Submitted(Message):
        def __init__(self, text: str) -> None:
            super().__init__()
            self.text = text

    class Paged(Message):
        """PageUp or PageDown: the messages are to scroll. ``step``: -1 or 1."""

        def __init__(self, step: int) -> None:
            super().__init__()
            self.step = step

    class Offered(Message):
        """A key for the list of names that is shown over the field."""

        def __init__(self, key: str) -> None:
            super().__init__()
            self.key = key

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id, soft_wrap=True, show_line_numbers=False, highlight_cursor_line=False)
        self._sent: list[str] = []
        self._back = 0  # how far back in what was sent; 0: at the draft
        self._draft = ""
        self.offering = False  # whether names to mention are shown over the field

    def remember(self, text: str) -> None:
        """A sent message, for Up."""
        if text and (not self._sent or self._sent[-1] != text):
            self._sent.append(text)
            del self._sent[:-MAX_HISTORY]
        self._back = 0

    def put(self, text: str) -> None:
        """Replace everything; the cursor goes to the end."""
        self.load_text(text)
        self.move_cursor(self.document.end)
        self._back = 0

    def before_cursor(self) -> str:
        """The line up to the cursor."""
        row, column = self.cursor_location
        return self.document.get_line(row)[:column]

    def complete(self, typed: str, written: str) -> None:
        """Put a name for what was typed of it before the cursor."""
        row, column = self.cursor_location
        self.replace(f"{written} ", (row, column - len(typed)), (row, column))

    async def _on_key(self, event: events.Key) -> None:
        if self.offering and event.key in OFFER_KEYS:
            event.stop()
            event.prevent_default()
            self.post_message(self.Offered(event.key))
        elif event.key == "enter":
            event.stop()
            event.prevent_default()
            self._submit()
        elif event.key in NEWLINE_KEYS:
            event.stop()
            event.prevent_default()
            if not self.read_only:
                self.insert("\n")
        elif event.key in ("pageup", "pagedown"):
            event.stop()
            event.prevent_default()
            self.post_message(self.Paged(-1 if event.key == "pageup" else 1))
        elif event.key == "up" and self._may_go_back():
            event.stop()
            event.prevent_default()
            self._go(1)
        elif event.key == "down" and self._back:
            event.stop()
            event.prevent_default()
            self._go(-1)
        else:
            if event.is_printable or event.key in ("backspace", "delete"):
                self._back = 0
            await super()._on_key(event)

    def _submit(self) -> None:
        """The field is empty at once: what is typed next must not meet the message that was just sent."""
        text = self.text.strip("\n")
        if text.strip():
            self.remember(text)
            self.put("")
            self.post_message(self.Submitted(text))

    def _may_go_back(self) -> bool:
        """Up moves the cursor inside of a draft; it goes back from an empty field, and from there on."""
        return self._back < len(self._sent) and (bool(self._back) or not self.text)

    def _go(self, step: int) -> None:
        if not self._back:
            self._draft = self.text
        back = self._back + step
        self.put(self._sent[-back] if back else self._draft)
        self._back = back
