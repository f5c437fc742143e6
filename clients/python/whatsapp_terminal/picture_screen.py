"""A picture as large as the window: fetched whole, decoded in a process of its own, drawn with half blocks."""

from __future__ import annotations

import pathlib
import tempfile
from typing import ClassVar

from rich.segment import Segment
from rich.style import Style
from textual import events
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.content import Content
from textual.screen import ModalScreen
from textual.strip import Strip
from textual.widget import Widget
from textual.widgets import Static

from whatsapp_client import ClientError

from . import halfblocks, text
from .attachment import File, size_words
from .backend import Backend
from .cells import Row
from .conversation import ink_style
from .decoding import decode
from .explain import explain
from .pixels import Pixels

MOST = 64 * 2**20  # bytes of a picture that is shown


class Drawing(Widget):
    """Rows of half blocks in the middle."""

    def __init__(self) -> None:
        super().__init__(id="drawing")
        self.rows: list[Row] = []
        self._width = 0

    def show(self, pixels: Pixels) -> None:
        self.rows, self._width = halfblocks.rows(pixels), pixels.width
        self.refresh()

    def render_line(self, y: int) -> Strip:
        ground = self.rich_style
        above = max(0, (self.size.height - len(self.rows)) // 2)
        if not 0 <= y - above < len(self.rows):
            return Strip.blank(self.size.width, ground)
        left = max(0, (self.size.width - self._width) // 2)
        segments = [Segment(" " * left, ground)]
        for span in self.rows[y - above]:
            segments.append(Segment(span.text, ground + (ink_style(span.ink) if span.ink else Style())))
        return Strip(segments).adjust_cell_length(self.size.width, ground)


class PictureScreen(ModalScreen[None]):
    """``small``: what is shown until the whole is here."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,q,p,enter", "dismiss(None)", "Close", show=False),
    ]
    DEFAULT_CSS = """
    PictureScreen { background: $background; }
    PictureScreen #about { height: 1; padding: 0 1; background: $panel; text-wrap: nowrap; }
    PictureScreen #drawing { height: 1fr; background: $background; }
    """

    def __init__(self, client: Backend, conversation_id: str, file: File, small: Pixels | None) -> None:
        super().__init__()
        self._client, self._conversation, self._file, self._small = client, conversation_id, file, small
        self._folder = tempfile.TemporaryDirectory(prefix="whatsapp-chat-")
        self._here = False

    def compose(self) -> ComposeResult:
        yield Static("", id="about")
        yield Drawing()

    def on_mount(self, event: events.Mount) -> None:
        self._say("Fetching…")
        if self._small is not None:
            self.query_one(Drawing).show(self._small)
        self.run_worker(self._fetch(), group="fetch")

    def on_unmount(self) -> None:
        self._folder.cleanup()

    def on_resize(self, event: events.Resize) -> None:
        if self._here:
            self.run_worker(self._draw(), group="draw", exclusive=True)

    @property
    def _place(self) -> pathlib.Path:
        return pathlib.Path(self._folder.name, "picture")

    def _say(self, words: str) -> None:
        facts = [text.cut(self._file.title, 40), size_words(self._file.size), words, "Esc closes"]
        self.query_one("#about", Static).update(Content("  ·  ".join(each for each in facts if each)))

    async def _fetch(self) -> None:
        file = self._file
        if file.size > MOST:
            self._say("Too large to be shown here; w saves it")
            return
        try:
            await self._client.media.download(
                file.url, self._place, conversation_id=self._conversation, key=file.sealed, most=MOST + MOST // 64,
                progress=lambda done, total: self._say(f"Fetching… {100 * done // max(1, total)} %"),
            )  # fmt: skip
        except (ClientError, OSError, ValueError) as error:
            self._say(explain(error) if isinstance(error, ClientError) else text.one_line(str(error))[:100])
            return
        self._here = True
        await self._draw()

    async def _draw(self) -> None:
        room = self.query_one(Drawing).size
        pixels = await decode(self._place, room.width, 2 * room.height)
        if pixels is None:
            self._say("This cannot be drawn here; w saves it")
            return
        self._say(text.one_line(self._file.caption)[:80])
        self.query_one(Drawing).show(pixels)
