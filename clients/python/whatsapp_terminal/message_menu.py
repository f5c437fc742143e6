"""What can be done with a message, as a menu: a row of emojis, then the actions with their keys."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from textual import events
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical
from textual.content import Content
from textual.widgets import Button, OptionList, Static
from textual.widgets.option_list import Option

from . import text
from .cells import Block
from .facts import CLOSED
from .sheets import Sheet

#: One touch away. ``…`` has all the others.
QUICK = ("👍", "❤️", "😂", "😮", "😢", "🙏")
EDITABLE_MS = 15 * 60_000
DELETABLE_MS = 48 * 3_600_000


@dataclass(frozen=True, slots=True)
class Allowed:
    """What this user may do in the chat. ``write``: say something; ``admin``: delete what others wrote."""

    write: bool = True
    admin: bool = False


#: What a menu offers: verb, words, key.
Choice = tuple[str, str, str]


def choices(block: Block, allowed: Allowed, now: int, *, kept: bool = True) -> list[Choice]:
    """For one message, the most usual first. ``now``: ms; ``kept``: there is a copy to report, also where nothing is shown any
    more."""
    entry, facts = block.entry, block.facts
    if entry is None:  # on its way
        return [("copy", "Copy", "y")] if block.message else []
    found: list[Choice] = []
    alive = not block.facts.deleted
    if facts.once == CLOSED and not block.own:
        found.append(("once", "Open; it can be seen once", "o"))
    if alive and allowed.write:
        found.append(("reply", "Reply", "r"))
    if facts.quote is not None and facts.quote.seq:
        found.append(("original", "Go to the original", "o"))
    if editable(block, now) and allowed.write:
        found.append(("edit", "Edit", "e"))
    if alive and facts.file is not None and facts.file.url:
        found += _of_file(facts.file.kind)
    if alive and (block.message or facts.file is not None) and not facts.once:
        found.append(("forward", "Forward", "f"))
    if alive and not facts.once:
        found.append(("star", "Take the star away" if facts.starred else "Star", "s"))
    if block.message:
        found.append(("copy", "Copy", "y"))
    if block.own and block.message_id:
        found.append(("info", "Who has got and read it", "i"))
    if kept and not block.own:
        found.append(("report", "Report…", "t"))
        if alive and facts.file is not None and facts.file.url:
            found.append(("report_file", "Report the file…", "u"))
    found.append(("delete", "Delete…", "d"))
    return found


def _of_file(kind: str) -> list[Choice]:
    looked_at = [("look", "Look at it", "p")] if kind in ("image", "sticker") else []
    return [*looked_at, ("save", "Save the file", "w"), ("elsewhere", "Open in another program", "x")]


def editable(block: Block, now: int) -> bool:
    """Whether its text may still be changed; the server has the last word."""
    entry = block.entry
    return (
        entry is not None and block.own and not block.facts.deleted and entry.kind == "text" and not block.facts.once
        and now - entry.server_timestamp < EDITABLE_MS
    )  # fmt: skip


def deletions(block: Block, allowed: Allowed, now: int) -> list[tuple[str, str]]:
    """Ways to delete it."""
    entry = block.entry
    if entry is None:
        return []
    found = []
    recent = now - entry.server_timestamp < DELETABLE_MS
    if not block.facts.deleted and recent and (block.own or allowed.admin):
        found.append(("everyone", "Delete for everyone"))
    return [*found, ("me", "Delete for me, on this device")]


class MessageMenu(Sheet[str]):
    """Dismissed with a verb, ``react EMOJI`` or ``react`` for any emoji. ``mine``: one's own reaction as it is."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("left", "emoji(-1)", show=False),
        Binding("right", "emoji(1)", show=False),
        *(Binding(str(n), f"quick({n - 1})", show=False) for n in range(1, len(QUICK) + 1)),
        Binding("plus", "quick(6)", show=False),
        *(Binding(key, f"key('{key}')", show=False) for key in "vroefsyidpwxtu"),
    ]
    DEFAULT_CSS = """
    MessageMenu > .box { width: 46; }
    MessageMenu #preview { height: auto; max-height: 2; color: $list-dim; }
    MessageMenu #emojis { height: 1; margin: 1 0 0 0; }
    MessageMenu.-low #emojis { margin: 0; }
    MessageMenu #emojis Button { width: 1fr; min-width: 4; background: $field; color: $foreground; text-style: none; }
    MessageMenu #emojis Button.-mine { background: $primary; color: $background; }
    MessageMenu #emojis Button:focus { background: $list-selected; text-style: reverse; }
    MessageMenu OptionList { height: auto; max-height: 12; }
    """

    def __init__(self, words: str, found: Sequence[Choice], *, react: bool, mine: str = "") -> None:
        super().__init__()
        self._words = text.cut(text.one_line(words), 80)
        self._choices = found
        self._react = react
        self._mine = mine

    def compose(self) -> ComposeResult:
        with Vertical(classes="box") as box:
            box.border_title = "Message"
            box.border_subtitle = "Esc closes"
            if self._words:
                yield Static(Content(self._words), id="preview")
            if self._react:
                with Horizontal(id="emojis"):
                    for number, emoji in enumerate(QUICK):
                        mine = "-mine" if emoji == self._mine else ""
                        yield Button(text.one_line(emoji), id=f"e{number}", compact=True, classes=mine)
                    other = self._mine and self._mine not in QUICK
                    label = text.cut(text.one_line(self._mine), 3) if other else "…"
                    yield Button(label or "…", id="e6", compact=True, classes="-mine" if other else "")
            yield OptionList(*(Option(self._line(words, key), verb) for verb, words, key in self._choices))

    def _line(self, words: str, key: str) -> Content:
        fill = " " * max(1, 40 - text.width(words) - len(key))
        return Content.assemble(words, fill, (key, "$list-dim"))

    def on_mount(self, event: events.Mount) -> None:
        self.query_one(OptionList).focus()

    def action_quick(self, number: int) -> None:
        if self._react:
            self.dismiss(f"react {QUICK[number]}" if number < len(QUICK) else "react")

    def action_key(self, key: str) -> None:
        for verb, _, known in self._choices:
            if known == key:
                self.dismiss(verb)
                return

    def action_emoji(self, step: int) -> None:
        """Along the row of emojis."""
        buttons = list(self.query("#emojis Button").results(Button))
        if buttons:
            at = next((n for n, button in enumerate(buttons) if button.has_focus), -1 if step > 0 else 0)
            buttons[(at + step) % len(buttons)].focus()

    def on_button_pressed(self, event: Button.Pressed) -> None:
        self.action_quick(int(str(event.button.id)[1:]))

    def on_option_list_option_selected(self, event: OptionList.OptionSelected) -> None:
        self.dismiss(event.option.id)
