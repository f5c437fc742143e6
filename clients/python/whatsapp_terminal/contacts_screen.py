"""The contacts of this user: add, rename, remove, and find those of an address book."""

from __future__ import annotations

import pathlib
import re
from typing import ClassVar

from textual import events
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical
from textual.content import Content
from textual.widgets import Button, Input, OptionList, Static
from textual.widgets.option_list import Option

from whatsapp_client import ClientError, Contact

from . import text
from .backend import Backend
from .dialogs import NameScreen
from .sheets import ChoiceScreen, ConfirmScreen, Sheet, show_options

MOST = 1_000  # numbers in one sync
_NUMBER = re.compile(r"\+[0-9][0-9 ()./-]{3,24}")


class NoNumbers(ClientError):
    """Nothing in there can be a phone number."""


def numbers_in(words: str) -> list[str]:
    """Every phone number in a text (``+`` and digits): typed, or a vCard or a CSV."""
    found = ("+" + re.sub(r"\D", "", match) for match in _NUMBER.findall(words))
    return list(dict.fromkeys(number for number in found if 5 <= len(number) <= 16))[:MOST]


class ContactsScreen(Sheet[None]):
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("a", "add", show=False),
        Binding("s", "sync", show=False),
        Binding("slash", "find", show=False),
    ]

    def __init__(self, client: Backend) -> None:
        super().__init__()
        self._client = client
        self._people: list[Contact] = []

    def compose(self) -> ComposeResult:
        with Vertical(classes="box -tall") as box:
            box.border_title = "Contacts"
            box.border_subtitle = "Enter: rename, remove · Esc closes"
            yield Input(placeholder="Find a contact", id="find", max_length=64, compact=True)
            yield OptionList()
            yield Static("", classes="error")
            with Horizontal(classes="buttons"):
                yield Button("Add  a", id="add", compact=True)
                yield Button("Sync  s", id="sync", compact=True)
                yield Button("Close", id="close", compact=True, classes="-last")

    def on_mount(self, event: events.Mount) -> None:
        self.query_one(OptionList).focus()
        self.attempt(self._read(), waiting="Looking…")

    async def _read(self, said: str = "") -> None:
        self._people = list(await self._client.contacts())
        self._people.sort(key=lambda person: self._called(person).casefold())
        self.say(said, waiting=True)
        self._list()

    def _called(self, person: Contact) -> str:
        found = person.nickname or person.name or self._client.name_of(person.user_id)
        return text.cut(text.one_line(found), 40)

    def _list(self) -> None:
        wanted = self.query_one("#find", Input).value.strip().casefold()
        options = []
        for person in self._people:
            name, profile = self._called(person), text.cut(text.one_line(person.name), 30)
            if wanted in name.casefold() or wanted in profile.casefold():
                other = f"  ~{profile}" if profile and profile != name else ""
                options.append(Option(Content.assemble(name, (other, "$list-dim")), person.user_id))
        if not options:
            words = "No contact is called so." if wanted else "No contacts yet: a adds one."
            options = [Option(Content.styled(words, "$list-dim"), disabled=True)]
        show_options(self.query_one(OptionList), options)

    def on_input_changed(self, event: Input.Changed) -> None:
        self._list()

    def on_input_submitted(self, event: Input.Submitted) -> None:
        self.query_one(OptionList).focus()

    def action_find(self) -> None:
        self.query_one("#find", Input).focus()

    def on_button_pressed(self, event: Button.Pressed) -> None:
        match event.button.id:
            case "add":
                self.action_add()
            case "sync":
                self.action_sync()
            case _:
                self.dismiss(None)

    def action_add(self) -> None:
        async def save(number: str) -> None:
            found = numbers_in(number)
            if not found:
                raise NoNumbers("A phone number is + and digits, like +15550002.")
            await self._client.add_contact(found[0], "")
            self.attempt(self._read(f"{found[0]} is added."))

        self.app.push_screen(NameScreen("Add a contact", "Phone number, like +15550002", save, verb="Add"))

    def action_sync(self) -> None:
        async def save(given: str) -> None:
            found = numbers_in(_contents(given))
            if not found:
                raise NoNumbers("There is no phone number in it.")
            known = len(self._people)
            await self._client.sync_contacts(found)
            await self._read()
            new = max(0, len(self._people) - known)
            self.say(f"{len(found):,} numbers looked for, {new:,} new.", waiting=True)

        hint = "Numbers, or a file with them (vCard, CSV)"
        self.app.push_screen(
            NameScreen("Find people of an address book", hint, save, verb="Sync", most=20_000)
        )

    def on_option_list_option_selected(self, event: OptionList.OptionSelected) -> None:
        person = next((p for p in self._people if p.user_id == event.option.id), None)
        if person is None:
            return
        choices = [("rename", "Rename"), ("remove", "Remove from contacts…")]
        self.app.push_screen(
            ChoiceScreen(self._called(person), choices), lambda what: self._chosen(person, what)
        )

    def _chosen(self, person: Contact, what: str | None) -> None:
        user, name = person.user_id, self._called(person)
        if what == "rename":

            async def save(nickname: str) -> None:
                await self._client.rename_contact(user, nickname)
                self.attempt(self._read())

            self.app.push_screen(NameScreen(f"Rename {name}", "Only you see it", save))
        elif what == "remove":
            question = f"Remove {name} from your contacts? The chat stays."
            self.app.push_screen(ConfirmScreen(question, "Remove"), lambda yes: self._removed(user, yes))

    def _removed(self, user: str, yes: bool | None) -> None:
        if yes:
            self.attempt(self._remove(user), waiting="One moment…")

    async def _remove(self, user: str) -> None:
        await self._client.remove_contact(user)
        await self._read()


def _contents(given: str) -> str:
    """Of the file with this name, if it is one. Raises :class:`NoNumbers`."""
    try:
        path = pathlib.Path(given).expanduser()
        return path.read_text(errors="replace") if given and path.is_file() else given
    except OSError as error:
        raise NoNumbers(f"This file cannot be read: {error.strerror or error}.") from None
