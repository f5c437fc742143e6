"""Broadcast lists: one message to many people, to each in the chat with them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import ClassVar

from textual import events
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical
from textual.content import Content
from textual.widgets import Button, Input, OptionList, Static
from textual.widgets.option_list import Option

from whatsapp_client import BroadcastList

from . import membership, text
from .backend import Backend
from .dialogs import NameScreen
from .new_group import NAME, PeopleScreen
from .sheets import ChoiceScreen, ConfirmScreen, Sheet, show_options

MOST_WORDS = 10_000  # characters of a message


class BroadcastScreen(Sheet[None]):
    """``find``: from a phone number to the user id; raises :class:`ClientError`."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("n", "new", show=False)]

    def __init__(self, client: Backend, find: Callable[[str], Awaitable[str]]) -> None:
        super().__init__()
        self._client = client
        self._find = find
        self._lists: list[BroadcastList] = []

    def compose(self) -> ComposeResult:
        with Vertical(classes="box -tall") as box:
            box.border_title = "Broadcast lists"
            box.border_subtitle = "Enter: write, delete · Esc closes"
            yield OptionList()
            yield Static(
                "Each one gets it in the chat with you, and sees nobody else of the list.", classes="dim"
            )
            yield Static("", classes="error")
            with Horizontal(classes="buttons"):
                yield Button("New list  n", id="new", compact=True)
                yield Button("Close", id="close", compact=True, classes="-last")

    def on_mount(self, event: events.Mount) -> None:
        self.query_one(OptionList).focus()
        self.attempt(self._read())

    async def _read(self) -> None:
        self._lists = list(await self._client.broadcast_lists())
        options = []
        for one in self._lists:
            names = membership.some(
                text.cut(text.one_line(self._client.name_of(user)), 20) for user in one.user_ids
            )
            name = text.cut(text.one_line(one.name), 30)
            options.append(Option(Content.assemble((name, "bold"), (f"  {names}", "$list-dim")), one.list_id))
        if not options:
            options = [Option(Content.styled("No list yet: n makes one.", "$list-dim"), disabled=True)]
        show_options(self.query_one(OptionList), options)

    def on_button_pressed(self, event: Button.Pressed) -> None:
        if event.button.id == "new":
            self.action_new()
        else:
            self.dismiss(None)

    def action_new(self) -> None:
        def done(made: str | None) -> None:
            if made:
                self.attempt(self._read())

        self.app.push_screen(NewListScreen(self._client, self._find), done)

    def on_option_list_option_selected(self, event: OptionList.OptionSelected) -> None:
        one = next((known for known in self._lists if known.list_id == event.option.id), None)
        if one is None:
            return
        choices = [("write", f"Write to {len(one.user_ids):,}"), ("remove", "Delete the list…")]
        self.app.push_screen(ChoiceScreen(one.name, choices), lambda what: self._chosen(one, what))

    def _chosen(self, one: BroadcastList, what: str | None) -> None:
        if what == "write":

            async def send(words: str) -> None:
                if words:
                    self._client.send_to_list(one.list_id, words)
                    self.say(f"On its way to {len(one.user_ids):,} people.", waiting=True)

            title = f"To {text.cut(text.one_line(one.name), 30)}"
            self.app.push_screen(NameScreen(title, "Message", send, verb="Send", most=MOST_WORDS))
        elif what == "remove":
            question = f"Delete the list {text.cut(text.one_line(one.name), 30)}? The chats stay."
            self.app.push_screen(ConfirmScreen(question, "Delete"), lambda yes: self._remove(one, yes))

    def _remove(self, one: BroadcastList, yes: bool | None) -> None:
        if yes:
            self.attempt(self._removed(one.list_id))

    async def _removed(self, list_id: str) -> None:
        await self._client.remove_broadcast_list(list_id)
        await self._read()


class NewListScreen(PeopleScreen):
    """Dismissed with the id of the new list."""

    title_words = "New broadcast list"
    verb = "Make the list"
    nobody = "A list needs somebody: choose at least one."

    def fields(self) -> ComposeResult:
        yield Input(placeholder="Name of the list", id="name", max_length=NAME, compact=True)

    def on_input_submitted(self, event: Input.Submitted) -> None:
        self.focus_next()

    def check(self) -> bool:
        if not self.query_one("#name", Input).value.strip():
            self.say("The list needs a name.")
            self.query_one("#name", Input).focus()
            return True
        return super().check()

    async def finish(self, user_ids: list[str]) -> str:
        made = await self.client.create_broadcast_list(self.query_one("#name", Input).value.strip(), user_ids)
        return made.list_id
