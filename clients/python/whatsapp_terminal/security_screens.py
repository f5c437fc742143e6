"""The PIN of an account, and its move to another number."""

from __future__ import annotations

import time

from textual import events
from textual.app import ComposeResult
from textual.containers import Horizontal, Vertical
from textual.content import Content
from textual.widgets import Button, Input, Static

from whatsapp_client import ClientError, RestError

from . import clock, text
from .backend import Backend
from .sheets import ConfirmScreen, Sheet
from .shell import Shell
from .signin import is_number

#: What the notice ``pin`` tells, by its event.
PIN_NEWS = {
    "set": "Another device of yours has set the PIN.",
    "changed": "Another device of yours has changed the PIN.",
    "removed": "The PIN was removed from your account.",
    "failed": "Somebody had a code for your number, but not the PIN. Tell nobody your codes.",
}
PIN_LEAST, PIN_MOST = 6, 20  # ASCII letters, digits, signs


def asks_pin(error: ClientError) -> bool:
    """Whether the server wants the PIN, or another one than was given."""
    details = error.details if isinstance(error, RestError) else None
    return isinstance(details, dict) and bool(details.get("pinRequired") or details.get("pinWrong"))


def asked_terms(error: ClientError) -> str:
    """The version of the terms that the server wants to be agreed to, "" if it is not that."""
    details = error.details if isinstance(error, RestError) else None
    return str(details.get("termsRequired") or "")[:64] if isinstance(details, dict) else ""


def wrong_pin(pin: str) -> str:
    """What is wrong with a new PIN; empty: nothing that can be seen here."""
    if not PIN_LEAST <= len(pin) <= PIN_MOST or not pin.isascii() or not pin.isprintable() or " " in pin:
        return f"A PIN has {PIN_LEAST} to {PIN_MOST} letters, digits or signs."
    return ""


class PinScreen(Sheet[None]):
    """Says whether there is one; who has none is not asked for it."""

    DEFAULT_CSS = "PinScreen.-none #old, PinScreen.-none #remove { display: none; }"

    def __init__(self, client: Backend) -> None:
        super().__init__()
        self._client = client

    def on_mount(self, event: events.Mount) -> None:
        self.attempt(self._read())

    async def _read(self) -> None:
        me = await self._client.rest.me()
        self._has(bool(me.get("pinSet")))
        failed = me.get("pinFailedAt")
        now = time.time_ns() // 1_000_000
        if isinstance(failed, int) and failed:
            when = f"{clock.day(failed, now)}, {clock.time_of_day(failed)}"
            self.say(f"You have a PIN. Somebody with a code for your number gave a wrong one: {when}.")
        else:
            self.say("You have a PIN." if me.get("pinSet") else "You have none yet.", waiting=True)

    def _has(self, pin: bool) -> None:
        self.set_class(not pin, "-none")
        old = self.query_one("#old", Input)
        if pin:
            old.placeholder = "The PIN now"
        elif old.has_focus:
            self.query_one("#new", Input).focus()

    def compose(self) -> ComposeResult:
        with Vertical(classes="box") as box:
            box.border_title = "PIN"
            box.border_subtitle = "Esc closes"
            yield Static(
                "Besides the code of an SMS a new device needs the PIN then. Nobody can tell you a forgotten one.",
                classes="dim",
            )
            yield Input(
                placeholder="The PIN now, if there is one",
                id="old",
                password=True,
                max_length=64,
                compact=True,
            )
            yield Input(
                placeholder="A new PIN, 6 characters or more",
                id="new",
                password=True,
                max_length=PIN_MOST,
                compact=True,
            )
            yield Input(
                placeholder="The new PIN again", id="again", password=True, max_length=PIN_MOST, compact=True
            )
            yield Static("", classes="error")
            with Horizontal(classes="buttons"):
                yield Button("Cancel", id="cancel", compact=True)
                yield Button("Remove", id="remove", compact=True)
                yield Button("Set", id="go", variant="primary", compact=True, classes="-last")

    def _value(self, field: str) -> str:
        return self.query_one(f"#{field}", Input).value

    def on_input_submitted(self, event: Input.Submitted) -> None:
        if event.input.id == "again":
            self._set()
        else:
            self.focus_next()

    def on_button_pressed(self, event: Button.Pressed) -> None:
        match event.button.id:
            case "cancel":
                self.dismiss(None)
            case "remove":
                self.attempt(self._remove(), waiting="One moment…")
            case _:
                self._set()

    def _set(self) -> None:
        if words := wrong_pin(self._value("new")):
            self.say(words)
        elif self._value("new") != self._value("again"):
            self.say("The two are not the same.")
        else:
            self.attempt(self._save(), waiting="Saving…")

    async def _save(self) -> None:
        await self._client.set_pin(self._value("new"), self._value("old") or None)
        self._done("The PIN is set.", pin=True)

    async def _remove(self) -> None:
        await self._client.remove_pin(self._value("old"))
        self._done("There is no PIN any more.", pin=False)

    def _done(self, words: str, *, pin: bool) -> None:
        self._has(pin)
        for field in self.query(Input):
            field.value = ""
        self.say(words, waiting=True)


class NumberScreen(Sheet[None]):
    """First the new number, then the code that was sent to it, and the PIN if there is one."""

    app: Shell

    DEFAULT_CSS = """
    NumberScreen #code { display: none; }
    NumberScreen #pin { display: none; }
    NumberScreen.-code #code { display: block; }
    NumberScreen.-pin #pin { display: block; }
    """

    def __init__(self, client: Backend) -> None:
        super().__init__()
        self._client = client
        self._number = ""
        self._replace = False

    def compose(self) -> ComposeResult:
        with Vertical(classes="box") as box:
            box.border_title = "Phone number"
            box.border_subtitle = "Esc closes"
            now = text.one_line(self._client.session.phone_number)
            yield Static(
                Content(
                    f"Now {now}. Chats, groups and settings stay; your contacts are told the new number."
                ),
                classes="dim",
            )
            yield Input(
                placeholder="The new number, like +15550009", id="number", max_length=24, compact=True
            )
            yield Input(
                placeholder="The 6 digits sent to the new number",
                id="code",
                max_length=6,
                restrict=r"[0-9]*",
                compact=True,
            )
            yield Input(placeholder="Your PIN", id="pin", password=True, max_length=64, compact=True)
            yield Static("", classes="error")
            with Horizontal(classes="buttons"):
                yield Button("Cancel", id="cancel", compact=True)
                yield Button("Send a code", id="go", variant="primary", compact=True, classes="-last")

    def on_mount(self, event: events.Mount) -> None:
        self.query_one("#number", Input).focus()

    def on_input_submitted(self, event: Input.Submitted) -> None:
        self._next()

    def on_button_pressed(self, event: Button.Pressed) -> None:
        if event.button.id == "cancel":
            self.dismiss(None)
        else:
            self._next()

    def _next(self) -> None:
        number = "".join(self.query_one("#number", Input).value.split())
        code = self.query_one("#code", Input).value
        if not is_number(number):
            self.say("A phone number is + and digits, like +15550009.")
        elif number != self._number:
            self.attempt(self._ask(number), waiting="Asking the server…")
        elif len(code) != 6:
            self.say("The code has 6 digits.")
        else:
            self.attempt(self._change(), waiting="Moving…")

    async def _ask(self, number: str) -> None:
        await self._client.rest.register(number)
        self._number, self._replace = number, False
        self.add_class("-code")
        self.query_one("#go", Button).label = "Change number"
        self.query_one("#code", Input).focus()
        self.say(f"A code is on its way to {number}.", waiting=True)

    async def _change(self) -> None:
        pin = self.query_one("#pin", Input).value or None
        code = self.query_one("#code", Input).value
        try:
            await self._client.change_number(self._number, code, pin=pin, replace=self._replace)
        except RestError as error:
            details = error.details if isinstance(error.details, dict) else {}
            if asks_pin(error) and not pin:
                self.add_class("-pin")
                self.query_one("#pin", Input).focus()
                self.say("Your PIN, please.", waiting=True)
                return
            if details.get("taken"):
                self._taken()
                return
            raise
        self.app.say(f"Your number is {self._number} now.")
        self.dismiss(None)

    def _taken(self) -> None:
        def answered(yes: bool | None) -> None:
            if yes:
                self._replace = True
                self.attempt(self._change(), waiting="Moving…")
            else:
                self.say("Nothing was changed.")

        question = f"{self._number} has an account already, which would end. Is it yours, and is it to end?"
        self.app.push_screen(ConfirmScreen(question, "End it"), answered)
