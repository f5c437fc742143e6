"""What the server holds of oneself: an archive of all of it, and what was agreed to."""

from __future__ import annotations

import datetime
import pathlib

from textual.content import Content
from textual.widgets import OptionList
from textual.widgets.option_list import Option

from whatsapp_client import Consents

from . import text
from .backend import Backend
from .clock import local
from .saving import keep
from .sheets import ListSheet, show_options

EXPORT = "export"
TERMS = "terms"


class DataScreen(ListSheet):
    """Enter saves the archive, or says yes or no to a purpose. ``folder``: where files are saved."""

    HEADING = "My data"
    KEYS = "Enter chooses · Esc closes"
    HINT = "The archive has what the server knows of you. Encrypted messages are encrypted in it, too."
    DEFAULT_CSS = """
    DataScreen > .box { width: 64; }
    DataScreen OptionList { height: auto; max-height: 16; }
    DataScreen.-high .dim { margin: 1 0 0 0; }
    """

    def __init__(self, client: Backend, folder: pathlib.Path) -> None:
        super().__init__()
        self._client = client
        self._folder = folder
        self._consents: Consents | None = None

    async def read(self) -> None:
        self._take(await self._client.consents())

    def _take(self, consents: Consents) -> None:
        self._consents = consents
        self.say("")
        self.show()

    def show(self) -> None:
        options = [
            Option(
                Content.assemble((f"{'Save an archive':<22}", "bold"), ("once a day", "$list-dim")), EXPORT
            )
        ]
        for document in self._consents.documents if self._consents is not None else ():
            said = self._said(document)
            options.append(
                Option(Content.assemble(f"{text.one_line(document):<22}", (said, "bold $accent")), document)
            )
        show_options(self.query_one(OptionList), options)

    def _said(self, document: str) -> str:
        assert self._consents is not None
        for one in self._consents.given:
            if one.document == document and one.withdrawn_at is None:
                day = local(one.given_at).date()
                return f"Yes, since {day} (version {text.one_line(one.version)})"
        return "No"

    def on_option_list_option_selected(self, event: OptionList.OptionSelected) -> None:
        key = str(event.option.id)
        if key == EXPORT:
            self.attempt(self._export(), waiting="Asked for; it is being made…")
        elif key == TERMS:
            self.say("You agreed to the terms when you signed in.", waiting=True)
        elif self._consents is not None:
            self.attempt(self._change(key), waiting="Saving…")

    async def _change(self, document: str) -> None:
        assert self._consents is not None
        if self._consents.holds(document):
            self._take(await self._client.withdraw_consent(document))
        else:
            self._take(await self._client.agree(document, "1"))

    async def _export(self) -> None:
        name = f"my-data-{datetime.datetime.now().astimezone().date()}.zip"
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            arrived = self._folder / f".{name}.whole"
            await self._client.export(arrived, progress=self._so_far)
            path = keep(arrived, self._folder, name)
        except OSError as error:
            self.say(f"Not saved: {text.one_line(str(error))[:200]}")
            return
        self.say(f"Saved as {text.one_line(str(path))}", waiting=True)

    def _so_far(self, done: int, size: int) -> None:
        if size and not self.closing:
            self.say(f"Fetching… {100 * done // size} %", waiting=True)
