"""On a new device: the code that a phone, or any device that is signed in, reads to let this one in."""

from __future__ import annotations

from textual import events
from textual.app import ComposeResult
from textual.containers import Vertical
from textual.content import Content
from textual.widgets import Button, Static

from whatsapp_client import ClientError, Gone, Session

from . import qr
from .explain import explain
from .sheets import Sheet
from .signin import Registrar


class ShowLinkScreen(Sheet[Session]):
    """Dismissed with the session. A code that is too old is followed by another one."""

    DEFAULT_CSS = """
    ShowLinkScreen > .box { width: 70; align-horizontal: center; }
    ShowLinkScreen #qr { width: auto; height: auto; color: #ffffff; background: #000000; margin: 0 0 1 0; }
    ShowLinkScreen #code { height: auto; max-height: 4; width: 100%; background: $field; padding: 0 1; }
    ShowLinkScreen.-low #qr { display: none; }
    ShowLinkScreen.-small #qr { display: none; }
    """

    def __init__(self, registrar: Registrar) -> None:
        super().__init__()
        self._registrar = registrar
        self._code = ""

    def compose(self) -> ComposeResult:
        with Vertical(classes="box") as box:
            box.border_title = "Link to a phone"
            box.border_subtitle = "c copies the text · Esc goes back"
            yield Static(
                "Scan this, or paste the text there: Settings, Linked devices, Link a device.", classes="dim"
            )
            yield Static("", id="qr")
            yield Static("", id="code")
            yield Static("", classes="error")
            yield Button("Copy the text", id="copy", compact=True)

    def on_mount(self, event: events.Mount) -> None:
        self.query_one("#copy", Button).focus()
        self.run_worker(self._follow(), exclusive=True)

    async def _follow(self) -> None:
        self.say("Asking the server…", waiting=True)
        while True:
            try:
                async with self._registrar.link() as offer:
                    self._show(offer.qr)
                    session = await offer.wait()
                await self._registrar.keep(session)
                self.dismiss(session)
                return
            except Gone:
                continue  # it was shown for too long
            except ClientError as error:
                self.say(explain(error))
                return

    def _show(self, code: str) -> None:
        self._code = code
        self.query_one("#code", Static).update(Content(code))
        rows = qr.half_blocks(code) if qr.can_draw() else []
        width, height = (len(rows[0]), len(rows)) if rows else (0, 0)
        # A code that is cut off is of no use; the text is.
        self.set_class(not rows or width > self.size.width - 6 or height + 9 > self.size.height, "-small")
        self.query_one("#qr", Static).update(Content("\n".join(rows)))
        self.say("Waiting until it is let in…", waiting=True)

    def on_button_pressed(self, event: Button.Pressed) -> None:
        self.key_c()

    def key_c(self) -> None:
        if self._code:
            self.app.copy_to_clipboard(self._code)
            self.app.notify("Copied", timeout=2)
