"""The devices of an account: which there are, unlink one, let a new one in."""

from __future__ import annotations

import time
from typing import Any, ClassVar

from textual import events
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical
from textual.content import Content
from textual.widgets import Button, Input, OptionList, Static
from textual.widgets.option_list import Option

from whatsapp_client import ClientError

from . import clock, text
from .backend import Backend
from .security_screens import asks_pin
from .sheets import ChoiceScreen, ConfirmScreen, Sheet, show_options
from .shell import Shell

#: How much of the past a new device is given, in days.
HISTORY = ((0, "Nothing of the past"), (7, "The last 7 days"), (30, "The last 30 days"))


def device_news(kind: str, data: dict[str, Any], now: int) -> str:
    """What a notice about a device of one's own says; ``now``: ms."""
    name = f"“{text.cut(text.one_line(str(data.get('name') or 'a device')), 30)}”"
    if kind == "device_linked":
        return f"{name} was added to your account. If that was not you, unlink it: F9, Linked devices."
    if kind == "device_idle":
        days = max(1, round((_ms(data.get("unlinkAt")) - now) / 86_400_000))
        return f"{name} will be unlinked in {days} day{'s' if days > 1 else ''} unless it is used."
    idle = ", because it was not used" if data.get("reason") == "idle" else ""
    return f"{name} was unlinked from your account{idle}."


class DevicesScreen(Sheet[None]):
    app: Shell

    BINDINGS: ClassVar[list[BindingType]] = [Binding("l", "link", show=False)]

    def __init__(self, client: Backend) -> None:
        super().__init__()
        self._client = client
        self._devices: list[dict[str, Any]] = []

    def compose(self) -> ComposeResult:
        with Vertical(classes="box -tall") as box:
            box.border_title = "Linked devices"
            box.border_subtitle = "Enter unlinks · Esc closes"
            yield OptionList()
            yield Static("", classes="error")
            with Horizontal(classes="buttons"):
                yield Button("Link a device  l", id="link", compact=True)
                yield Button("Close", id="close", compact=True, classes="-last")

    def on_mount(self, event: events.Mount) -> None:
        self.query_one(OptionList).focus()
        self.attempt(self._read(), waiting="Looking…")

    def read_again(self) -> None:
        """Something has changed, here or elsewhere."""
        self.run_worker(self._attempt(self._read()), exclusive=True, group="again")  # ends no other attempt

    async def _read(self) -> None:
        self._devices = list(await self._client.rest.devices())
        self.say("")
        now = time.time_ns() // 1_000_000
        options = [Option(self._words(device, now), str(device["deviceId"])) for device in self._devices]
        show_options(self.query_one(OptionList), options)

    def _called(self, device: dict[str, Any]) -> str:
        return text.cut(text.one_line(str(device.get("name") or "a device")), 30)

    def _words(self, device: dict[str, Any], now: int) -> Content:
        here, first = bool(device.get("current")), bool(device.get("primary"))
        what = "this one" if here else clock.last_seen(_ms(device.get("lastSeenAt")), now)
        sign = ("▸ ", "$accent") if here else ("  ", "")
        kind = "  primary" if first else ""
        return Content.assemble(
            sign, (self._called(device), "bold"), (kind, "$accent"), (f"  {what}", "$list-dim")
        )

    def on_option_list_option_selected(self, event: OptionList.OptionSelected) -> None:
        device = next((d for d in self._devices if d["deviceId"] == event.option.id), None)
        if device is None:
            return
        if device.get("current"):
            self.say(
                "This is the one you sit at. Leave with Ctrl+Q; unlink it from another one.", waiting=True
            )
            return

        def answered(yes: bool | None) -> None:
            if yes:
                self.attempt(self._unlink(str(device["deviceId"])), waiting="One moment…")

        question = f"Unlink {self._called(device)}? It is signed out at once."
        self.app.push_screen(ConfirmScreen(question, "Unlink"), answered)

    async def _unlink(self, device_id: str) -> None:
        await self._client.rest.remove_device(device_id)
        await self._read()

    def on_button_pressed(self, event: Button.Pressed) -> None:
        if event.button.id == "link":
            self.action_link()
        else:
            self.dismiss(None)

    def action_link(self) -> None:
        def done(linked: bool | None) -> None:
            if linked:
                self.attempt(self._read())
                self.app.say("The new device may come in now.")

        self.app.push_screen(LinkScreen(self._client), done)


class LinkScreen(Sheet[bool]):
    """The text of the code that the new device shows; dismissed with True once it is let in."""

    DEFAULT_CSS = "LinkScreen #pin { display: none; }\nLinkScreen.-pin #pin { display: block; }"

    def __init__(self, client: Backend) -> None:
        super().__init__()
        self._client = client
        self._days = 0

    def compose(self) -> ComposeResult:
        with Vertical(classes="box") as box:
            box.border_title = "Link a device"
            box.border_subtitle = "Esc cancels"
            yield Static(
                "On the new device choose “Link to a phone” where it asks for a number. Paste the text of its code here.",
                classes="dim",
            )
            yield Input(placeholder="wa-link:1:…", id="code", max_length=600, compact=True)
            yield Input(placeholder="Your PIN", id="pin", password=True, max_length=64, compact=True)
            yield Static("", classes="error")
            with Horizontal(classes="buttons"):
                yield Button("Cancel", id="cancel", compact=True)
                yield Button("Next", id="go", variant="primary", compact=True, classes="-last")

    def on_mount(self, event: events.Mount) -> None:
        self.query_one("#code", Input).focus()

    @property
    def _code(self) -> str:
        return "".join(self.query_one("#code", Input).value.split())

    def on_input_submitted(self, event: Input.Submitted) -> None:
        self._next()

    def on_button_pressed(self, event: Button.Pressed) -> None:
        if event.button.id == "cancel":
            self.dismiss(None)
        else:
            self._next()

    def _next(self) -> None:
        if not self._code:
            self.say("Paste the text that the new device shows.")
        elif self.has_class("-pin"):
            self.attempt(self._approve(), waiting="One moment…")
        else:
            self.attempt(self._look(), waiting="Looking…")

    async def _look(self) -> None:
        """Who asks is shown before it is let in."""
        asked = await self._client.look_at_link(self._code)
        self.say("")
        name = text.cut(text.one_line(asked.device_name or "a device"), 30)
        where = "" if asked.same_address else " It asks from ANOTHER place than yours."
        ago = max(0, time.time_ns() // 1_000_000 - asked.asked_at) / 1000
        when = f" It asked {clock.duration(ago)} ago." if ago < 600 else ""  # older: the clocks differ
        question = f"Let “{name}” read and write everything of yours?{when}{where}"

        def answered(yes: bool | None) -> None:
            if yes:
                self._history()

        self.app.push_screen(ConfirmScreen(question, "Let it in"), answered)

    def _history(self) -> None:
        def chosen(days: str | None) -> None:
            if days is not None:
                self._days = int(days)
                self.attempt(self._approve(), waiting="One moment…")

        choices = [(str(days), words) for days, words in HISTORY]
        self.app.push_screen(ChoiceScreen("What does it get to see?", choices), chosen)

    async def _approve(self) -> None:
        pin = self.query_one("#pin", Input).value
        try:
            await self._client.approve_link(self._code, history_days=self._days, pin=pin or None)
        except ClientError as error:
            if asks_pin(error) and not pin:
                self.add_class("-pin")
                self.query_one("#pin", Input).focus()
                self.say("Your PIN, please.", waiting=True)
                return
            raise
        self.dismiss(True)


def _ms(value: object) -> int:
    return value if isinstance(value, int) else 0
