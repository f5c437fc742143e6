"""Making a poll, and voting in one."""

from __future__ import annotations

from textual import events
from textual.app import ComposeResult
from textual.containers import Horizontal, Vertical, VerticalScroll
from textual.content import Content
from textual.widgets import Button, Input, OptionList, Static
from textual.widgets.option_list import Option

from . import text
from .facts import Poll
from .sheets import Sheet, Tick, show_options

QUESTION, OPTION = 255, 100  # characters, as docs/wire.md says
FEWEST, MOST = 2, 12
FIRST = 3  # fields to begin with; another one comes when the last is written in

#: A question, its options, whether several may be chosen.
Draft = tuple[str, list[str], bool]


class PollScreen(Sheet[Draft]):
    """Dismissed with what is to be asked."""

    DEFAULT_CSS = """
    PollScreen #options { height: auto; max-height: 14; }
    PollScreen.-low #options { max-height: 5; }
    PollScreen.-high #options Input { margin: 0; }
    PollScreen.-high #options { margin: 1 0; }
    """

    def compose(self) -> ComposeResult:
        with Vertical(classes="box") as box:
            box.border_title = "New poll"
            box.border_subtitle = "Esc cancels"
            yield Input(
                placeholder="What do you want to know?", id="question", max_length=QUESTION, compact=True
            )
            with VerticalScroll(id="options", can_focus=False):
                for number in range(1, FIRST + 1):
                    yield self._field(number)
            yield Tick("More than one may be chosen", id="multiple", compact=True)
            yield Static("", classes="error")
            with Horizontal(classes="buttons"):
                yield Button("Cancel", id="cancel", compact=True)
                yield Button("Send", id="go", variant="primary", compact=True, classes="-last")

    def _field(self, number: int) -> Input:
        return Input(placeholder=f"Option {number}", max_length=OPTION, compact=True, classes="option")

    def _fields(self) -> list[Input]:
        return list(self.query(".option").results(Input))

    async def on_input_changed(self, event: Input.Changed) -> None:
        fields = self._fields()
        if event.input is fields[-1] and event.value and len(fields) < MOST:
            await self.query_one("#options").mount(self._field(len(fields) + 1))

    def on_input_submitted(self, event: Input.Submitted) -> None:
        ready = sum(1 for field in self._fields() if field.value.strip()) >= FEWEST
        if ready and event.input.has_class("option") and not event.value.strip():
            self.query_one("#go", Button).focus()  # no more options: Enter again sends it
        else:
            self.focus_next()

    def on_button_pressed(self, event: Button.Pressed) -> None:
        if event.button.id == "cancel":
            self.dismiss(None)
            return
        question = self.query_one("#question", Input).value.strip()
        options = [field.value.strip() for field in self._fields() if field.value.strip()]
        if not question:
            self.say("A poll asks something.")
        elif len(options) < FEWEST:
            self.say(f"At least {FEWEST} options.")
        elif len(set(options)) < len(options):
            self.say("Two options are the same.")
        else:
            self.dismiss((question, options, self.query_one("#multiple", Tick).value))


class VoteScreen(Sheet[list[str]]):
    """Dismissed with the words of what is chosen; an empty list takes the vote back."""

    DEFAULT_CSS = "VoteScreen OptionList { height: auto; max-height: 16; }"

    def __init__(self, poll: Poll) -> None:
        super().__init__()
        self._poll = poll
        self._chosen = [option.words for option in poll.options if option.mine]

    def compose(self) -> ComposeResult:
        with Vertical(classes="box") as box:
            box.border_title = "Vote"
            box.border_subtitle = "Enter marks · Esc cancels"
            yield Static(Content(text.one_line(self._poll.question)), classes="dim")
            yield OptionList(id="options")
            with Horizontal(classes="buttons"):
                yield Button("Cancel", id="cancel", compact=True)
                yield Button("Vote", id="go", variant="primary", compact=True, classes="-last")

    def on_mount(self, event: events.Mount) -> None:
        self.query_one(OptionList).focus()
        self._list()

    def _list(self) -> None:
        options = []
        for number, option in enumerate(self._poll.options):
            chosen = option.words in self._chosen
            mark = ("■" if chosen else "□") if self._poll.multiple else ("◉" if chosen else "○")
            words = text.cut(text.one_line(option.words), 48)
            count = f"  {option.votes:,}" if option.votes else ""
            options.append(
                Option(Content.assemble((f"{mark} ", "$accent"), words, (count, "$list-dim")), str(number))
            )
        show_options(self.query_one(OptionList), options)

    def on_option_list_option_selected(self, event: OptionList.OptionSelected) -> None:
        words = self._poll.options[int(str(event.option.id))].words
        self._chosen = chosen_with(self._chosen, words, multiple=self._poll.multiple)
        self._list()

    def on_button_pressed(self, event: Button.Pressed) -> None:
        self.dismiss(self._chosen if event.button.id == "go" else None)


def chosen_with(chosen: list[str], words: str, *, multiple: bool) -> list[str]:
    """What is chosen once this option is touched: again takes it back, without ``multiple`` it takes the other's place."""
    if words in chosen:
        return [other for other in chosen if other != words]
    return [*chosen, words] if multiple else [words]
