"""Making a group, adding people to one, and changing what it is called and allows."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from typing import Any

from textual import events
from textual.app import ComposeResult
from textual.containers import Horizontal, Vertical
from textual.widgets import Button, Checkbox, Input, Static

from whatsapp_client import ClientError, Group

from .backend import Backend
from .group_book import GroupBook
from .picker import PeoplePicker, acquaintances
from .sheets import Sheet, Tick

NAME, ABOUT = 256, 512  # characters of a name and of a description
ONLY_ADMINS = {
    "whoSends": "Only admins may write",
    "whoEdits": "Only admins may edit the info",
    "whoAdds": "Only admins may add members",
}


def settings_of(group: Group) -> dict[str, str]:
    """By their names on the wire."""
    allowed = group.settings
    return {"whoSends": allowed.who_sends, "whoEdits": allowed.who_edits, "whoAdds": allowed.who_adds}


class PeopleScreen(Sheet[Any]):
    """A form with a :class:`PeoplePicker`; dismissed with what :meth:`finish` returns."""

    title_words = ""
    verb = ""
    nobody = "Choose somebody first."

    def __init__(
        self, client: Backend, find: Callable[[str], Awaitable[str]], *, without: Iterable[str] = ()
    ) -> None:
        super().__init__()
        self.client = client
        self._picker = PeoplePicker(
            acquaintances(client), find, without={*without, client.session.user_id}, id="picker"
        )

    def fields(self) -> ComposeResult:
        """What stands above the people."""
        return iter(())

    def compose(self) -> ComposeResult:
        with Vertical(classes="box -tall") as box:
            box.border_title = self.title_words
            box.border_subtitle = "⏎ chooses · Esc cancels"
            yield from self.fields()
            yield self._picker
            yield Static("", classes="error")
            with Horizontal(classes="buttons"):
                yield Button("Cancel", id="cancel", compact=True)
                yield Button(self.verb, id="go", variant="primary", compact=True, classes="-last")

    def on_mount(self, event: events.Mount) -> None:
        self.run_worker(self._more(), group="people")

    async def _more(self) -> None:
        """Contacts with whom there is no chat yet."""
        try:
            contacts = await self.client.rest.contacts()
        except ClientError:
            return
        self._picker.offer(
            {
                str(contact["userId"]): str(contact.get("nickname") or contact.get("name") or "")
                for contact in contacts
            }
        )

    def on_button_pressed(self, event: Button.Pressed) -> None:
        if event.button.id == "cancel":
            self.dismiss(None)
        elif not self.check():
            self.attempt(self._go(), waiting="One moment…")

    def check(self) -> bool:
        """Whether something is missing; it has been said then."""
        if not self._picker.chosen:
            self.say(self.nobody)
        return not self._picker.chosen

    async def _go(self) -> None:
        self.dismiss(await self.finish(list(self._picker.chosen)))

    async def finish(self, user_ids: list[str]) -> Any:
        """Do it. Raises :class:`ClientError`."""
        raise NotImplementedError


class NewGroupScreen(PeopleScreen):
    """Dismissed with the conversation of the new group."""

    title_words = "New group"
    verb = "Make the group"
    nobody = "A group needs somebody besides you: choose at least one."

    def fields(self) -> ComposeResult:
        yield Input(placeholder="Name of the group", id="name", max_length=NAME, compact=True)
        yield Input(placeholder="What it is about (optional)", id="about", max_length=ABOUT, compact=True)

    def on_input_submitted(self, event: Input.Submitted) -> None:
        self.focus_next()

    def check(self) -> bool:
        if not self.query_one("#name", Input).value.strip():
            self.say("The group needs a name.")
            self.query_one("#name", Input).focus()
            return True
        return super().check()

    async def finish(self, user_ids: list[str]) -> str:
        name, about = (self.query_one(f"#{field}", Input).value.strip() for field in ("name", "about"))
        made = await self.client.create_group(name, user_ids, description=about or None)
        try:
            await self.client.refresh_chats()
        except ClientError:
            pass  # the group is there; its name follows with the next refresh
        return made


class AddScreen(PeopleScreen):
    """Dismissed with the number of people who were added."""

    title_words = "Add members"
    verb = "Add"

    def __init__(
        self,
        client: Backend,
        find: Callable[[str], Awaitable[str]],
        conversation_id: str,
        without: Iterable[str],
    ) -> None:
        super().__init__(client, find, without=without)
        self._conversation_id = conversation_id

    async def finish(self, user_ids: list[str]) -> int:
        await self.client.add_members(self._conversation_id, user_ids)
        return len(user_ids)


class EditScreen(Sheet[bool]):
    """Name and description for whom the group allows it, settings for admins. Only what was changed is sent. Dismissed
    with True."""

    def __init__(self, client: Backend, book: GroupBook) -> None:
        super().__init__()
        self._client = client
        self._book = book
        assert book.group is not None
        self._before: dict[str, Any] = {
            "name": book.group.name,
            "description": book.group.description,
            "settings": settings_of(book.group),
        }

    def compose(self) -> ComposeResult:
        with Vertical(classes="box") as box:
            box.border_title = "Edit the group"
            box.border_subtitle = "Esc cancels"
            if self._book.may_edit:
                yield Input(
                    self._before["name"], placeholder="Name", id="name", max_length=NAME, compact=True
                )
                yield Input(
                    self._before["description"],
                    placeholder="What it is about",
                    id="about",
                    max_length=ABOUT,
                    compact=True,
                )
            if self._book.is_admin:
                for setting, words in ONLY_ADMINS.items():
                    only = self._before["settings"].get(setting) == "admins"
                    yield Tick(words, only, id=setting, compact=True)
            yield Static("", classes="error")
            with Horizontal(classes="buttons"):
                yield Button("Cancel", id="cancel", compact=True)
                yield Button("Save", id="go", variant="primary", compact=True, classes="-last")

    def on_input_submitted(self, event: Input.Submitted) -> None:
        self._save()

    def on_button_pressed(self, event: Button.Pressed) -> None:
        if event.button.id == "cancel":
            self.dismiss(None)
        else:
            self._save()

    def _save(self) -> None:
        after: dict[str, Any] = {}
        for field, key in (("name", "name"), ("about", "description")):
            for given in self.query(f"#{field}").results(Input):
                after[key] = given.value.strip()
        if after.get("name") == "":
            self.say("The group needs a name.")
            return
        settings = {
            str(box.id): "admins" if box.value else "all"
            for box in self.query(Checkbox)
            if box.id in ONLY_ADMINS
        }
        changes = {key: value for key, value in after.items() if value != self._before[key]}
        different = {
            key: value for key, value in settings.items() if value != self._before["settings"].get(key)
        }
        if different:
            changes["settings"] = different
        if not changes:
            self.dismiss(None)
            return
        self.attempt(self._send(changes), waiting="Saving…")

    async def _send(self, changes: dict[str, Any]) -> None:
        await self._client.update_group(self._book.id, **changes)
        self.dismiss(True)
