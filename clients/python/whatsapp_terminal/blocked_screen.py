"""Whom this user has blocked."""

from __future__ import annotations

from textual import events
from textual.app import ComposeResult
from textual.containers import Vertical
from textual.content import Content
from textual.widgets import OptionList, Static
from textual.widgets.option_list import Option

from . import text
from .backend import Backend
from .sheets import ConfirmScreen, Sheet, show_options


class BlockedScreen(Sheet[None]):
    """Enter unblocks."""

    def __init__(self, client: Backend) -> None:
        super().__init__()
        self._client = client
        self._names: dict[str, str] = {}

    def compose(self) -> ComposeResult:
        with Vertical(classes="box -tall") as box:
            box.border_title = "Blocked people"
            box.border_subtitle = "Enter unblocks · Esc closes"
            yield OptionList()
            yield Static("What they wrote meanwhile does not come after all.", classes="dim")
            yield Static("", classes="error")

    def on_mount(self, event: events.Mount) -> None:
        self.query_one(OptionList).focus()
        self.attempt(self._read(), waiting="Looking…")

    async def _read(self) -> None:
        found = [str(user) for user in await self._client.blocks()]
        self._names = {user: text.cut(text.one_line(self._client.name_of(user)), 50) for user in found}
        self.say("")
        options = [
            Option(Content.assemble(("⊗ ", "$error"), name), user) for user, name in self._names.items()
        ]
        if not options:
            options = [Option(Content.styled("Nobody is blocked.", "$list-dim"), disabled=True)]
        show_options(self.query_one(OptionList), options)

    def on_option_list_option_selected(self, event: OptionList.OptionSelected) -> None:
        user = str(event.option.id)

        def answered(yes: bool | None) -> None:
            if yes:
                self.attempt(self._unblock(user), waiting="One moment…")

        self.app.push_screen(ConfirmScreen(f"Unblock {self._names.get(user, 'them')}?", "Unblock"), answered)

    async def _unblock(self, user: str) -> None:
        await self._client.unblock(user)
        await self._read()
