"""The settings of an account: a menu, and who may see what."""

from __future__ import annotations

import pathlib
from collections.abc import Awaitable, Callable
from typing import Any

from textual.app import ComposeResult
from textual.containers import Vertical
from textual.content import Content
from textual.widgets import OptionList
from textual.widgets.option_list import Option

from . import text
from .backend import Backend
from .blocked_screen import BlockedScreen
from .broadcast_screen import BroadcastScreen
from .contacts_screen import ContactsScreen
from .data_screen import DataScreen
from .devices_screen import DevicesScreen
from .profile_screen import ProfileScreen
from .security_screens import NumberScreen, PinScreen
from .sheets import ListSheet, Sheet, show_options

MENU = (
    ("profile", "Profile", "name, about, photo"),
    ("privacy", "Privacy", "who sees when you are here, what you read"),
    ("blocked", "Blocked people", "see and unblock them"),
    ("contacts", "Contacts", "add, rename, remove, sync"),
    ("lists", "Broadcast lists", "one message to many people"),
    ("devices", "Linked devices", "link one, unlink one"),
    ("pin", "PIN", "asked for on a new device"),
    ("number", "Phone number", "move to another one"),
    ("data", "My data", "save an archive, what I agreed to"),
    ("starred", "Starred messages", "F8"),
    ("theme", "Next theme", "Ctrl+T"),
)


class SettingsScreen(Sheet[str]):
    """Dismissed with ``starred`` or ``theme``. ``find``: from a phone number to the user id. ``folder``: where files are
    saved."""

    DEFAULT_CSS = (
        "SettingsScreen > .box { width: 70; }\nSettingsScreen OptionList { height: auto; max-height: 24; }"
    )

    def __init__(self, client: Backend, find: Callable[[str], Awaitable[str]], folder: pathlib.Path) -> None:
        super().__init__()
        self._folder = folder
        self._client = client
        self._find = find

    def compose(self) -> ComposeResult:
        number = text.one_line(self._client.session.phone_number)
        with Vertical(classes="box") as box:
            box.border_title = Content(f"Settings · {number}")
            box.border_subtitle = "Esc closes"
            yield OptionList(
                *(
                    Option(Content.assemble((f"{words:<18}", "bold"), (hint, "$list-dim")), key)
                    for key, words, hint in MENU
                )
            )

    def _title_again(self, _: object) -> None:
        """The number may be another one."""
        number = text.one_line(self._client.session.phone_number)
        self.query_one(".box").border_title = Content(f"Settings · {number}")

    def on_option_list_option_selected(self, event: OptionList.OptionSelected) -> None:
        client = self._client
        made: dict[str, Callable[[], Sheet[Any]]] = {
            "profile": lambda: ProfileScreen(client),
            "privacy": lambda: PrivacyScreen(client),
            "blocked": lambda: BlockedScreen(client),
            "contacts": lambda: ContactsScreen(client),
            "lists": lambda: BroadcastScreen(client, self._find),
            "devices": lambda: DevicesScreen(client),
            "pin": lambda: PinScreen(client),
            "data": lambda: DataScreen(client, self._folder),
            "number": lambda: NumberScreen(client),
        }
        key = str(event.option.id)
        if key in made:
            self.app.push_screen(made[key](), self._title_again)
        else:
            self.dismiss(key)


#: What may be seen, as the wire calls it, and as people do.
SEEN = (
    ("lastSeen", "Last seen"),
    ("online", "Online"),
    ("photo", "Profile photo"),
    ("about", "About"),
    ("readReceipts", "Read receipts"),
)
BY = {"everyone": "Everyone", "contacts": "My contacts", "nobody": "Nobody"}
BOTH_WAYS = "Last seen and read receipts are hidden both ways: what you do not show you do not see. Groups are exempt."


class PrivacyScreen(ListSheet):
    """Enter goes to the next of everyone, contacts, nobody."""

    HEADING = "Privacy · who sees"
    KEYS = "Enter changes · Esc closes"
    HINT = BOTH_WAYS
    DEFAULT_CSS = """
    PrivacyScreen > .box { width: 56; }
    PrivacyScreen OptionList { height: auto; }
    PrivacyScreen.-high .dim { margin: 1 0 0 0; }
    """

    def __init__(self, client: Backend) -> None:
        super().__init__()
        self._client = client
        self._set: dict[str, str] = {}

    async def read(self) -> None:
        self._take(await self._client.privacy())

    def _take(self, found: dict[str, str]) -> None:
        self._set = {key: str(found.get(key) or "everyone") for key, _ in SEEN}
        self.say("")
        self.show()

    def show(self) -> None:
        options = [
            Option(
                Content.assemble(f"{words:<20}", (BY.get(self._set.get(key, ""), "…"), "bold $accent")), key
            )
            for key, words in SEEN
        ]
        show_options(self.query_one(OptionList), options)

    def on_option_list_option_selected(self, event: OptionList.OptionSelected) -> None:
        key = str(event.option.id)
        if key in self._set:
            order = list(BY)
            following = (
                order[(order.index(self._set[key]) + 1) % len(order)] if self._set[key] in BY else order[0]
            )
            self.attempt(self._change(key, following), waiting="Saving…")

    async def _change(self, key: str, to: str) -> None:
        self._take(await self._client.set_privacy(**{key: to}) or {**self._set, key: to})
