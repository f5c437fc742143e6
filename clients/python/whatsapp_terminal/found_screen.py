"""Lists of messages that lead to their place: what a search found, what has a star."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar

from textual import events
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.content import Content
from textual.widgets import Input, OptionList, Static
from textual.widgets.option_list import Option

from . import clock, text
from .sheets import Sheet, show_options

LIMIT = 50
PAUSE = 0.15  # seconds of no key before a search


@dataclass(frozen=True, slots=True)
class Place:
    """A message to go to."""

    conversation_id: str
    seq: int


@dataclass(frozen=True, slots=True)
class Hit:
    """``who``: sender and chat. ``marks``: where in ``words`` is what was searched for."""

    place: Place
    who: str
    at: int
    words: str
    marks: tuple[tuple[int, int], ...] = ()


def lines(hits: Sequence[Hit], width: int, now: int) -> list[Option]:
    """Two rows each: where and when, then the words."""
    made = []
    for number, hit in enumerate(hits):
        day = clock.day(hit.at, now)
        when = clock.time_of_day(hit.at) if day == "Today" else day
        who = text.cut(text.one_line(hit.who), max(4, width - text.width(when) - 2))
        fill = " " * max(1, width - text.width(who) - text.width(when) - 1)
        words = Content(text.cut(hit.words, max(4, width - 2)))
        for begin, end in hit.marks:
            words = words.stylize("bold $accent", begin, min(end, len(words)))
        made.append(
            Option(Content.assemble((who, "bold"), fill, (when, "$list-dim"), "\n", words), str(number))
        )
    return made


class FoundScreen(Sheet[Place]):
    """Dismissed with the place to go to."""

    DEFAULT_CSS = "FoundScreen > .box { width: 76; }\nFoundScreen OptionList { min-height: 4; }"
    hits: Sequence[Hit] = ()

    def show_hits(self, hits: Sequence[Hit], nothing: str) -> None:
        self.hits = hits
        view = self.query_one(OptionList)
        width = max(20, self.query_one(".box").size.width - 3)
        options = lines(hits, width, time.time_ns() // 1_000_000)
        if not options:
            options = [Option(Content.styled(nothing, "$list-dim"), disabled=True)]
        show_options(view, options)

    def on_option_list_option_selected(self, event: OptionList.OptionSelected) -> None:
        self.dismiss(self.hits[int(str(event.option.id))].place)


class StarredScreen(FoundScreen):
    """What has a star, the newest first."""

    def __init__(self, hits: Sequence[Hit]) -> None:
        super().__init__()
        self._hits = hits

    def compose(self) -> ComposeResult:
        with Vertical(classes="box -tall") as box:
            box.border_title = "★ Starred messages"
            box.border_subtitle = "Enter goes there · Esc closes"
            yield OptionList(id="hits")

    def on_mount(self, event: events.Mount) -> None:
        self.query_one(OptionList).focus()
        self.call_after_refresh(
            self.show_hits, self._hits, "Nothing has a star yet: choose a message and press s."
        )


class SearchScreen(FoundScreen):
    """``search``: from words, and a conversation or none, to hits. ``here``: the chat that is open, with its title."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("ctrl+f", "scope", "Everywhere", show=False, priority=True),
        Binding("down", "results", show=False),
    ]

    def __init__(
        self, search: Callable[[str, str], Sequence[Hit]], here: tuple[str, str] = ("", ""), words: str = ""
    ) -> None:
        super().__init__()
        self._search = search
        self._here, self._title = here
        self._everywhere = not self._here
        self._words = words

    def compose(self) -> ComposeResult:
        with Vertical(classes="box -tall") as box:
            box.border_title = "Search"
            box.border_subtitle = "Enter goes there · Esc closes"
            yield Input(
                self._words, placeholder="Words of a message", id="wanted", max_length=200, compact=True
            )
            yield Static("", id="scope", classes="dim")
            yield OptionList(id="hits")

    def on_mount(self, event: events.Mount) -> None:
        self._scope()
        self.call_after_refresh(self._look)

    def action_scope(self) -> None:
        if self._here:
            self._everywhere = not self._everywhere
            self._scope()
            self._look()

    def _scope(self) -> None:
        title = text.cut(text.one_line(self._title), 40)
        if not self._here:
            words = "In all chats"
        elif self._everywhere:
            words = f"In all chats · Ctrl+F: only “{title}”"
        else:
            words = f"In “{title}” · Ctrl+F: in all chats"
        self.query_one("#scope", Static).update(Content(words))

    def on_click(self, event: events.Click) -> None:
        if event.widget is not None and event.widget.id == "scope":
            self.action_scope()

    def on_input_changed(self, event: Input.Changed) -> None:
        self.set_timer(PAUSE, self._look)

    def _look(self) -> None:
        if self.closing:
            return
        wanted = self.query_one("#wanted", Input).value.strip()
        found = self._search(wanted, "" if self._everywhere else self._here) if wanted else []
        self.show_hits(
            found, "Nothing found." if wanted else "All of your own history on this device is searched."
        )

    def action_results(self) -> None:
        self.query_one(OptionList).focus()

    def on_input_submitted(self, event: Input.Submitted) -> None:
        self._look()
        if self.hits:
            self.dismiss(self.hits[0].place)
