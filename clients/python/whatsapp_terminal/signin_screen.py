"""The first screen of who is not signed in: number, then code."""

from __future__ import annotations

from typing import ClassVar

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.content import Content
from textual.screen import Screen
from textual.widgets import Button, Footer, Input, Static

from whatsapp_client import ClientError, Session

from . import text
from .explain import explain
from .link_screen import ShowLinkScreen
from .security_screens import asked_terms, asks_pin
from .signin import Registrar, is_number
from .work import spawn


class SignInScreen(Screen[Session]):
    """Dismissed with the session. ``reason``: why one has to sign in again."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "back", "Other number"),
        Binding("f2", "link", "Link to a phone"),
    ]
    DEFAULT_CSS = """
    SignInScreen { align: center middle; background: $background; }
    SignInScreen #box {
        width: 60; max-width: 100%; height: auto; max-height: 100%;
        background: $surface; border: round $accent; padding: 1 2;
        border-title-color: $accent;
    }
    SignInScreen Input { height: 1; padding: 0 1; background: $panel; }
    SignInScreen Input:focus { background: $list-selected; }
    SignInScreen #hello { margin-bottom: 1; height: auto; }
    SignInScreen #said { height: auto; margin-top: 1; color: $list-dim; }
    SignInScreen #said.-error { color: $error; text-style: bold; }
    SignInScreen Button { width: 100%; margin-top: 1; }
    SignInScreen #code { display: none; }
    SignInScreen #pin { display: none; margin-top: 1; }
    SignInScreen.-pin #pin { display: block; }
    SignInScreen.-code #code { display: block; }
    SignInScreen.-code #link { display: none; }
    SignInScreen.-code #number { display: none; }
    SignInScreen:ansi #box { border: round $accent; }
    """

    def __init__(
        self, registrar: Registrar, number: str = "", *, reason: str = "", at_once: bool = False
    ) -> None:
        super().__init__()
        self._registrar = registrar
        self._number = number
        self._terms = ""  # the version that the next Enter agrees to
        self._reason = reason
        self._at_once = at_once

    def compose(self) -> ComposeResult:
        with Vertical(id="box") as box:
            box.border_title = "Sign in"
            yield Static("", id="hello")
            yield Input(self._number, placeholder="+15550001", id="number", max_length=24, compact=True)
            yield Input(
                placeholder="The 6 digits of the SMS",
                id="code",
                max_length=6,
                restrict=r"[0-9]*",
                compact=True,
            )
            yield Input(
                placeholder="The PIN of this account", id="pin", password=True, max_length=64, compact=True
            )
            yield Static("", id="said")
            yield Button("Send me a code", variant="primary", id="go", compact=True)
            yield Button("Link to a phone · F2", id="link", compact=True)
        yield Footer()

    def on_mount(self) -> None:
        self._ask_number()
        if self._reason:
            self._say(self._reason, error=True)
        if self._at_once and self._number:
            self._request()

    # -- number --------------------------------------------------------------------------------------------
    def _ask_number(self) -> None:
        self.remove_class("-code", "-pin")
        self.query_one("#pin", Input).value = ""
        self._hello("Your phone number, with + and the country code. The server sends a code to it.")
        self.query_one("#go", Button).label = "Send me a code"
        self.query_one("#number", Input).focus()

    def action_back(self) -> None:
        self.workers.cancel_all()
        self._say("")
        self._ask_number()

    @on(Input.Submitted, "#number")
    def _number_entered(self) -> None:
        self._request()

    @on(Button.Pressed, "#go")
    def _pressed(self) -> None:
        if self.has_class("-code"):
            self._verify()
        else:
            self._request()

    @on(Button.Pressed, "#link")
    def action_link(self) -> None:
        """Come in by a code that a device of this account reads."""
        self.workers.cancel_all()
        self.app.push_screen(ShowLinkScreen(self._registrar), self._linked)

    def _linked(self, session: Session | None) -> None:
        if session is not None:
            self.dismiss(session)

    def _request(self) -> None:
        self._number = "".join(self.query_one("#number", Input).value.split())
        if not is_number(self._number):
            self._say("A phone number is + and digits, like +15550001.", error=True)
            return
        self._say("Asking the server…")
        spawn(self, self._ask_code, "sign in", exclusive=True)

    async def _ask_code(self) -> None:
        try:
            await self._registrar.request(self._number)
        except ClientError as error:
            self._say(explain(error), error=True)
            return
        self.add_class("-code")
        self._hello(f"A code is on its way to {self._number}.")
        self._say("Enter sends it. Esc: another number, or a new code.")
        self.query_one("#go", Button).label = "Sign in"
        field = self.query_one("#code", Input)
        field.value = ""
        field.focus()
        code = await self._registrar.code(self._number)
        if code and not field.value:
            field.value = code
            self._say("Read from the development system's sms.jsonl.")
            await self._try(code)

    # -- code ----------------------------------------------------------------------------------------------
    @on(Input.Submitted, "#code")
    def _code_entered(self) -> None:
        self._verify()

    @on(Input.Submitted, "#pin")
    def _pin_entered(self) -> None:
        self._verify()

    def _verify(self) -> None:
        code = self.query_one("#code", Input).value
        if len(code) != 6:
            self._say("The code has 6 digits.", error=True)
            return
        self.run_worker(self._try(code), exclusive=True)

    async def _try(self, code: str) -> None:
        self._say("Checking…")
        pin = self.query_one("#pin", Input)
        try:
            session = await self._registrar.verify(self._number, code, pin=pin.value, terms=self._terms)
        except ClientError as error:
            if terms := asked_terms(error):
                # The code is still good.
                self._terms = terms
                self._say(
                    f"Who signs in agrees to the terms, version {text.one_line(terms)}: Enter says yes."
                )
                self.query_one("#go", Button).label = "Agree and sign in"
                return
            if asks_pin(error):
                # The code is still good.
                self.add_class("-pin")
                self._say(
                    explain(error) if pin.value else "This account has a PIN: write it, too.",
                    error=bool(pin.value),
                )
                pin.value = ""
                pin.focus()
                return
            self._say(explain(error), error=True)
            field = self.query_one("#code", Input)
            field.value = ""
            field.focus()
            return
        self.dismiss(session)

    def _hello(self, words: str) -> None:
        self.query_one("#hello", Static).update(Content(words))

    def _say(self, words: str, *, error: bool = False) -> None:
        label = self.query_one("#said", Static)
        label.update(Content(words))
        label.set_class(error, "-error")
