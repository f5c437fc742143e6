"""Any emoji for a reaction: typed, pasted, or found by its name."""

from __future__ import annotations

import unicodedata
from functools import cache

from textual import events
from textual.app import ComposeResult
from textual.containers import Vertical
from textual.content import Content
from textual.widgets import Input, OptionList
from textual.widgets.option_list import Option

from . import text
from .sheets import Sheet, show_options

#: Blocks of Unicode that hold nearly all of them.
RANGES = ((0x1F600, 0x1F64F), (0x1F300, 0x1F5FF), (0x1F680, 0x1F6FF), (0x1F900, 0x1F9FF), (0x2600, 0x27BF))
LONGEST = 32  # bytes; the server takes no more
FOUND = 60  # rows of a list


@cache
def names() -> dict[str, str]:
    """Emoji → its name. Those of two cells: others are signs of a text."""
    found = {}
    for first, last in RANGES:
        for point in range(first, last + 1):
            name = unicodedata.name(chr(point), "")
            if name and unicodedata.east_asian_width(chr(point)) == "W" and "MODIFIER" not in name:
                found[chr(point)] = name.lower()
    return found


def emoji_of(typed: str) -> str:
    """What was typed, if it can be one: short, and no letters or digits alone."""
    typed = typed.strip()
    if not typed or typed.isascii() or len(typed.encode()) > LONGEST:
        return ""
    return "" if any(character.isalpha() for character in typed) else typed


class EmojiScreen(Sheet[str]):
    """Dismissed with an emoji."""

    DEFAULT_CSS = "EmojiScreen > .box { width: 46; }\nEmojiScreen > .box.-tall { max-height: 20; }"

    def compose(self) -> ComposeResult:
        with Vertical(classes="box -tall") as box:
            box.border_title = "React with"
            box.border_subtitle = "Esc cancels"
            yield Input(placeholder="Type one, or its name: party", id="emoji", max_length=64, compact=True)
            yield OptionList(id="found")

    def on_mount(self, event: events.Mount) -> None:
        self._list("")

    def on_input_changed(self, event: Input.Changed) -> None:
        self._list(event.value)

    def _list(self, typed: str) -> None:
        wanted = typed.strip().lower().split()
        options = []
        if own := emoji_of(typed):
            options.append(Option(Content(f"{text.one_line(own)}  this one"), own))
        for emoji, name in names().items():
            if all(word in name for word in wanted) and len(options) < FOUND:
                options.append(Option(Content.assemble(f"{emoji}  ", (name, "$list-dim")), emoji))
        if not options:
            options = [Option(Content.styled("No emoji is called so.", "$list-dim"), disabled=True)]
        show_options(self.query_one("#found", OptionList), options)

    def on_input_submitted(self, event: Input.Submitted) -> None:
        first = next((o.id for o in self.query_one("#found", OptionList).options if not o.disabled), None)
        if first is not None:
            self.dismiss(first)

    def on_option_list_option_selected(self, event: OptionList.OptionSelected) -> None:
        self.dismiss(event.option.id)

    def on_key(self, event: events.Key) -> None:
        if event.key == "down" and self.query_one("#emoji", Input).has_focus:
            self.query_one("#found", OptionList).focus()
