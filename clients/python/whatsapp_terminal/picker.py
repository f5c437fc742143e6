"""Choosing people: from those one knows, or by phone number."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable

from textual.app import ComposeResult
from textual.containers import Vertical
from textual.content import Content
from textual.widgets import Input, OptionList
from textual.widgets.option_list import Option

from whatsapp_client import ClientError

from . import membership, text
from .backend import Backend
from .explain import explain
from .sheets import Sheet, show_options

LOOK_UP = "look up"  # the id of a row; no user has it


def acquaintances(client: Backend) -> dict[str, str]:
    """Whom this user talks to: user id → name."""
    return {chat.user_id: chat.title for chat in client.chats() if chat.kind == "direct" and chat.user_id}


class PeoplePicker(Vertical):
    """A search field over a list with a mark for the chosen. ``people``: user id → name. ``find``: from a phone number to
    the user id; raises :class:`ClientError`. ``without``: who is not offered."""

    DEFAULT_CSS = "PeoplePicker { height: 1fr; min-height: 4; }"

    def __init__(
        self,
        people: dict[str, str],
        find: Callable[[str], Awaitable[str]],
        *,
        without: Iterable[str] = (),
        id: str | None = None,
    ) -> None:
        super().__init__(id=id)
        self._without = set(without)
        self._people = {user: name for user, name in people.items() if user not in self._without}
        self._find = find
        self.chosen: dict[str, str] = {}

    def compose(self) -> ComposeResult:
        yield Input(placeholder="Search, or a number like +15550002", id="who", max_length=64, compact=True)
        yield OptionList(id="people")

    def on_mount(self) -> None:
        self.renew()

    def offer(self, people: dict[str, str]) -> None:
        """More people than were known at first."""
        for user, name in people.items():
            if user not in self._without and name:
                self._people.setdefault(user, name)
        self.renew()

    def _number(self) -> str:
        typed = "".join(self.query_one("#who", Input).value.split())
        return typed if typed.startswith("+") and typed[1:].isdigit() else ""

    def renew(self) -> None:
        wanted = self.query_one("#who", Input).value.strip().casefold()
        chosen = list(self.chosen.items()) if not wanted else []
        rest = [
            (user, name)
            for user, name in sorted(self._people.items(), key=lambda item: item[1].casefold())
            if wanted in name.casefold() and (user not in self.chosen or wanted)
        ]
        options = [Option(self._words(user, name), user) for user, name in [*chosen, *rest]]
        if number := self._number():
            options.append(Option(Content(f"+ Look for {number}"), LOOK_UP))
        if not options:
            hint = (
                "Nobody of that name; a number finds others."
                if wanted
                else "Type a phone number like +15550002."
            )
            options.append(Option(Content.styled(hint, "$list-dim"), disabled=True))
        show_options(self.query_one("#people", OptionList), options)

    def _words(self, user: str, name: str) -> Content:
        mark = ("[✓] ", "$accent bold") if user in self.chosen else ("[ ] ", "$list-dim")
        return Content.assemble(mark, text.one_line(name) or "?")

    def on_input_changed(self, event: Input.Changed) -> None:
        event.stop()
        self.renew()

    def on_input_submitted(self, event: Input.Submitted) -> None:
        """Enter takes the first of what is shown."""
        event.stop()
        view = self.query_one("#people", OptionList)
        first = next((option.id for option in view.options if not option.disabled), None)
        if first is not None and event.value.strip():
            self._take(first)

    def on_option_list_option_selected(self, event: OptionList.OptionSelected) -> None:
        event.stop()
        if event.option.id is not None:
            self._take(event.option.id)

    def _take(self, user: str) -> None:
        if user == LOOK_UP:
            number = self._number()
            self.run_worker(self._look(number), exclusive=True)
            return
        if user in self.chosen:
            del self.chosen[user]
        else:
            self.chosen[user] = self._people.get(user, user)
        self._settled()

    async def _look(self, number: str) -> None:
        self._say(f"Looking for {number}…", waiting=True)
        try:
            user = await self._find(number)
        except ClientError as error:
            known = getattr(error, "code", "") == "not_found"
            self._say(f"Nobody has registered {number} yet." if known else explain(error))
            return
        if user in self._without:
            self._say(f"{number} is in the group already.")
            return
        self._people.setdefault(user, number)
        self.chosen[user] = self._people[user]
        self._settled()

    def _settled(self) -> None:
        field = self.query_one("#who", Input)
        if field.value:
            field.value = ""  # renews the list
        else:
            self.renew()
        count = len(self.chosen)
        names = membership.some(text.cut(text.one_line(name), 24) for name in self.chosen.values())
        self._say(f"{count:,} chosen: {names}" if count else "", waiting=True)

    def _say(self, words: str, *, waiting: bool = False) -> None:
        sheet = self.screen
        if isinstance(sheet, Sheet):
            sheet.say(text.one_line(words), waiting=waiting)
