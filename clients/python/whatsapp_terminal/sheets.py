"""What the dialogs of groups are made of: a box with a line for what went wrong, a choice, a question."""

from __future__ import annotations

from collections.abc import Coroutine, Sequence
from typing import Any, ClassVar, TypeVar

from textual import events
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical
from textual.content import Content
from textual.css.query import NoMatches
from textual.screen import ModalScreen
from textual.widgets import Button, Checkbox, OptionList, Static
from textual.widgets.option_list import Option

from whatsapp_client import ClientError

from . import text
from .explain import explain

Result = TypeVar("Result")


class Sheet(ModalScreen[Result | None]):
    """A box in the middle; it takes the whole window where that is small. Dismissed with None by Esc."""

    VERTICAL_BREAKPOINTS = [(0, "-low"), (24, "-high")]
    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape", "dismiss(None)", "Close", show=False)]
    DEFAULT_CSS = """
    Sheet { align: center middle; background: $background 60%; }
    Sheet > .box {
        width: 64; max-width: 100%; height: auto; max-height: 100%;
        background: $surface; border: round $accent; padding: 0 1;
        border-title-color: $accent; border-subtitle-color: $list-dim;
    }
    Sheet > .box.-tall { height: 100%; max-height: 36; }
    Sheet Input { height: 1; padding: 0 1; background: $field; }
    Sheet Input:focus { background: $list-selected; }
    Sheet.-high Input { margin: 1 0 0 0; }
    Sheet OptionList {
        height: 1fr; min-height: 2; border: none; padding: 0; background: $surface;
        scrollbar-size-vertical: 1; scrollbar-color: $scrollbar-thumb; scrollbar-background: $surface;
        text-wrap: nowrap; text-overflow: ellipsis;
        & > .option-list--option-highlighted { background: $panel; color: $foreground; text-style: none; }
        & > .option-list--option-disabled { color: $accent; text-style: bold; }
        &:focus { border: none; background-tint: $foreground 0%; }
        &:focus > .option-list--option-highlighted { background: $list-selected; color: $foreground; text-style: none; }
    }
    Sheet.-high OptionList { margin: 1 0 0 0; }
    Sheet Checkbox { border: none; padding: 0; background: $surface; width: 100%; height: 1; }
    Sheet Checkbox > .toggle--button { color: $foreground; background: $field; text-style: none; }
    Sheet Checkbox.-on > .toggle--button { color: $accent; background: $field; text-style: bold; }
    Sheet Checkbox:focus { border: none; background: $list-selected; }
    Sheet .dim { color: $list-dim; height: auto; }
    Sheet .error { color: $error; height: auto; min-height: 1; max-height: 3; }
    Sheet .error.-waiting { color: $list-dim; }
    Sheet .buttons { height: 1; }
    Sheet .buttons Button { width: 1fr; min-width: 4; margin: 0 1 0 0; background: $field; color: $foreground; }
    Sheet .buttons Button.-primary { background: $primary; color: $background; }
    Sheet .buttons Button.-error { background: $error; color: $background; }
    Sheet .buttons Button:focus { background: $list-selected; color: $foreground; text-style: bold; }
    Sheet .buttons Button:disabled { background: $surface; color: $list-dim; text-style: none; }
    Sheet .buttons .-last { margin: 0; }
    Sheet.-high .buttons { margin: 1 0 0 0; }
    """

    @property
    def closing(self) -> bool:
        """It is being taken away. What is in it goes first, while it still counts as mounted."""
        return not self.is_attached or self not in self.app.screen_stack

    def say(self, words: str, *, waiting: bool = False) -> None:
        """Below the form. ``waiting``: it is no error."""
        for label in self.query(".error").results(Static):
            label.update(Content(words))
            label.set_class(waiting, "-waiting")

    def attempt(self, work: Coroutine[Any, Any, Any], *, waiting: str = "") -> None:
        """Run something that asks the server; what it refuses is said in the sheet. One at a time."""
        if waiting:
            self.say(waiting, waiting=True)
        self.run_worker(self._attempt(work), exclusive=True, group="attempt")

    async def _attempt(self, work: Coroutine[Any, Any, Any]) -> None:
        try:
            await work
        except ClientError as error:
            self.say(explain(error))
        except ValueError as error:  # the library says what is wrong with what was given
            self.say(text.one_line(str(error))[:200])
        except NoMatches:
            if not self.closing:  # else the answer came too late, and nobody looks at it
                raise


class ListSheet(Sheet[None]):
    """A list that is read from the server when it is opened, a word about it, and a button that closes it."""

    HEADING: ClassVar[str]
    KEYS: ClassVar[str]
    HINT: ClassVar[str]

    def compose(self) -> ComposeResult:
        with Vertical(classes="box") as box:
            box.border_title = self.HEADING
            box.border_subtitle = self.KEYS
            yield OptionList()
            yield Static(Content(self.HINT), classes="dim")
            yield Static("", classes="error")
            with Horizontal(classes="buttons"):
                yield Button("Close", id="close", compact=True, classes="-last")

    def on_mount(self, event: events.Mount) -> None:
        self.query_one(OptionList).focus()
        self.show()
        self.attempt(self.read(), waiting="Looking…")

    def on_button_pressed(self, event: Button.Pressed) -> None:
        self.dismiss(None)

    async def read(self) -> None:
        """Ask the server, and show what it says."""

    def show(self) -> None:
        """The list, of what is known."""


class Tick(Checkbox):
    """A box that is empty when it is not ticked, in every theme."""

    @property
    def _button(self) -> Content:
        style = self.get_visual_style("toggle--button")
        return Content.assemble(("[✓]" if self.value else "[ ]", style))


class ChoiceScreen(Sheet[str]):
    """Some things to do; dismissed with the first part of the chosen one."""

    DEFAULT_CSS = """
    ChoiceScreen > .box { width: 44; }
    ChoiceScreen OptionList { height: auto; max-height: 14; }
    ChoiceScreen.-high OptionList { margin: 0; }
    """

    def __init__(self, title: str, choices: Sequence[tuple[str, str]]) -> None:
        super().__init__()
        self._title = text.cut(text.one_line(title), 38)
        self._choices = choices

    def compose(self) -> ComposeResult:
        with Vertical(classes="box") as box:
            box.border_title = Content(self._title)
            box.border_subtitle = "Esc cancels"
            yield OptionList(*(Option(Content(words), key) for key, words in self._choices))

    def on_option_list_option_selected(self, event: OptionList.OptionSelected) -> None:
        self.dismiss(event.option.id)


class ConfirmScreen(Sheet[bool]):
    """A question before something that cannot be undone; dismissed with True for yes."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("y", "dismiss(True)", "Yes", show=False),
        Binding("n", "dismiss(None)", "No", show=False),
        Binding("left,right", "app.focus_next", show=False),
    ]
    DEFAULT_CSS = (
        "ConfirmScreen > .box { width: 52; }\nConfirmScreen #question { height: auto; margin: 0 0 1 0; }"
    )

    def __init__(self, question: str, verb: str) -> None:
        super().__init__()
        self._question = question
        self._verb = verb

    def compose(self) -> ComposeResult:
        with Vertical(classes="box") as box:
            box.border_title = "Really?"
            box.border_subtitle = "y · n"
            yield Static(Content(text.one_line(self._question)), id="question")
            with Horizontal(classes="buttons"):
                yield Button("Cancel", id="no", compact=True)
                yield Button(self._verb, id="yes", variant="error", compact=True, classes="-last")

    def on_mount(self, event: events.Mount) -> None:
        self.query_one("#no", Button).focus()

    def on_button_pressed(self, event: Button.Pressed) -> None:
        self.dismiss(True if event.button.id == "yes" else None)


def show_options(view: OptionList, options: list[Option]) -> None:
    """Replace what a list shows; the cursor stays on its row, or near where it was."""
    at = view.highlighted
    chosen = view.get_option_at_index(at).id if at is not None and at < view.option_count else None
    top = view.scroll_offset.y
    view.clear_options()
    view.add_options(options)
    if not options:
        return
    ids = [option.id for option in options]
    if chosen in ids:
        view.highlighted = ids.index(chosen)
        view.scroll_to(y=top, animate=False)
    elif at is not None:
        view.highlighted = min(at, len(options) - 1)
    if view.highlighted is None or options[view.highlighted].disabled:
        view.action_first()
