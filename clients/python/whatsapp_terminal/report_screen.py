"""What is wrong with somebody or something, and whether they are blocked, or a group is left, as well."""

from __future__ import annotations

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
from .sheets import Sheet, Tick

#: Category of the server, words; the most usual first.
CATEGORIES = (
    ("spam", "Spam"),
    ("fraud", "Fraud or a trick"),
    ("harassment", "Harassment or threats"),
    ("hate", "Hate"),
    ("impersonation", "Pretends to be somebody else"),
    ("violence", "Violence"),
    ("self_harm", "Suicide or self-harm"),
    ("child_safety", "A child is in danger"),
    ("other", "Something else"),
)


@dataclass(frozen=True, slots=True)
class Reported:
    category: str
    also: bool


class ReportScreen(Sheet[Reported]):
    """Two steps: what is wrong, then yes or no, so that no slip of a finger accuses anybody. ``also``: what may be done with it,
    "" for nothing; ``ticked``: unless one takes the tick away."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("left,right", "app.focus_next", show=False)]
    DEFAULT_CSS = """
    ReportScreen > .box { width: 56; }
    ReportScreen OptionList { height: auto; max-height: 9; }
    ReportScreen #told { height: auto; margin: 1 0 0 0; }
    ReportScreen.-low #told { margin: 0; }
    ReportScreen .buttons Button:disabled { text-style: none; }
    """

    def __init__(self, title: str, told: str, also: str = "", *, ticked: bool = True) -> None:
        super().__init__()
        self._title = text.cut(text.one_line(title), 48)
        self._told = told
        self._also = also
        self._ticked = ticked
        self._category = ""

    def compose(self) -> ComposeResult:
        with Vertical(classes="box") as box:
            box.border_title = Content(self._title)
            box.border_subtitle = "Enter chooses · Esc cancels"
            yield OptionList(*(Option(Content(words), key) for key, words in CATEGORIES))
            yield Static(Content(self._told), id="told", classes="dim")
            if self._also:
                yield Tick(Content(self._also), value=self._ticked, id="also")
            with Horizontal(classes="buttons"):
                yield Button("Cancel", id="no", compact=True)
                yield Button(
                    "Report", id="yes", variant="error", compact=True, classes="-last", disabled=True
                )

    def on_mount(self, event: events.Mount) -> None:
        self.query_one(OptionList).focus()

    def on_option_list_option_selected(self, event: OptionList.OptionSelected) -> None:
        self._category = str(event.option.id)
        words = dict(CATEGORIES)[self._category]
        button = self.query_one("#yes", Button)
        button.label = f"Report: {words}"
        button.disabled = False
        button.focus()

    def on_button_pressed(self, event: Button.Pressed) -> None:
        if event.button.id == "no" or not self._category:
            self.dismiss(None)
            return
        also = bool(self._also) and self.query_one("#also", Tick).value
        self.dismiss(Reported(self._category, also))
