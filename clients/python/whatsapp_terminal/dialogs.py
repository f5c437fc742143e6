"""Small forms over the chat: a new chat, a name."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.content import Content
from textual.screen import ModalScreen
from textual.widgets import Button, Input, Static

from whatsapp_client import ClientError

from .explain import explain


class FormScreen(ModalScreen[str | None]):
    """A small form with a line for what went wrong."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape", "dismiss(None)", "Cancel", show=False)]
    DEFAULT_CSS = """
    FormScreen { align: center middle; background: $background 60%; }
    FormScreen > Vertical {
        width: 56; max-width: 100%; height: auto; max-height: 100%;
        background: $surface; border: round $accent; padding: 0 2;
        border-title-color: $accent; border-subtitle-color: $list-dim;
    }
    FormScreen Input { height: 1; margin: 1 0 0 0; padding: 0 1; background: $field; }
    FormScreen Input:focus { background: $list-selected; }
    FormScreen #error { color: $error; height: auto; min-height: 1; }
    FormScreen #error.-waiting { color: $list-dim; }
    FormScreen Button { width: 100%; margin-bottom: 1; }
    FormScreen .other { margin-bottom: 0; }
    """

    def on_input_submitted(self) -> None:
        self._go()

    def on_button_pressed(self, event: Button.Pressed) -> None:
        self._go()

    def _go(self) -> None:
        raise NotImplementedError

    def _say(self, words: str, *, waiting: bool = False) -> None:
        label = self.query_one("#error", Static)
        label.update(Content(words))
        label.set_class(waiting, "-waiting")


NEW_GROUP, JOIN = "new group", "join"


class NewChatScreen(FormScreen):
    """Asks for a number; dismissed with the conversation, :data:`NEW_GROUP`, :data:`JOIN` or None. ``find``: from the number
    to the conversation."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("f3", "dismiss('new group')", "New group", show=False),
        Binding("f4", "dismiss('join')", "Join", show=False),
    ]

    def __init__(self, find: Callable[[str, str], Awaitable[str]], number: str = "") -> None:
        super().__init__()
        self._find = find
        self._number = number

    def compose(self) -> ComposeResult:
        with Vertical() as box:
            box.border_title = "New chat"
            box.border_subtitle = "Esc cancels"
            yield Input(
                self._number,
                placeholder="Phone number, like +15550002",
                id="number",
                max_length=32,
                compact=True,
            )
            yield Input(
                placeholder="Name in your list (optional)", id="nickname", max_length=100, compact=True
            )
            yield Static("", id="error")
            yield Button("Start chat", variant="primary", id="go", compact=True)
            yield Button("New group · F3", id="group", compact=True, classes="other")
            yield Button("Join a group with a code · F4", id="join", compact=True, classes="other")

    def on_button_pressed(self, event: Button.Pressed) -> None:
        event.stop()
        other = {"group": NEW_GROUP, "join": JOIN}.get(str(event.button.id))
        if other is not None:
            self.dismiss(other)
        else:
            self._go()

    def _go(self) -> None:
        number = "".join(self.query_one("#number", Input).value.split())
        if not number.lstrip("+").isdigit():
            self._say("A phone number begins with + and the country code.")
            return
        self._say("Looking…", waiting=True)
        self.run_worker(self._start(number, self.query_one("#nickname", Input).value.strip()), exclusive=True)

    async def _start(self, number: str, nickname: str) -> None:
        try:
            self.dismiss(await self._find(number, nickname))
        except ClientError as error:
            if getattr(error, "code", "") == "not_found":
                self._say(f"Nobody has registered {number} yet.")
            else:
                self._say(explain(error))


class NameScreen(FormScreen):
    """Asks for a name and hands it to ``save``."""

    def __init__(
        self,
        title: str,
        hint: str,
        save: Callable[[str], Awaitable[None]],
        *,
        verb: str = "Save",
        most: int = 100,
    ) -> None:
        super().__init__()
        self._title = title
        self._hint = hint
        self._save = save
        self._verb = verb
        self._most = most

    def compose(self) -> ComposeResult:
        with Vertical() as box:
            box.border_title = Content(self._title)
            box.border_subtitle = "Esc cancels"
            yield Input(placeholder=self._hint, id="name", max_length=self._most, compact=True)
            yield Static("", id="error")
            yield Button(self._verb, variant="primary", id="go", compact=True)

    def _go(self) -> None:
        self._say("Saving…", waiting=True)
        self.run_worker(self._store(self.query_one("#name", Input).value.strip()), exclusive=True)

    async def _store(self, name: str) -> None:
        try:
            await self._save(name)
        except ClientError as error:
            self._say(explain(error))
            return
        self.dismiss(None)
