"""Who has a message of ours, and who has read it."""

from __future__ import annotations

import time
from collections.abc import Sequence

from textual import events
from textual.app import ComposeResult
from textual.containers import Horizontal, Vertical
from textual.content import Content
from textual.widgets import Button, OptionList, Static
from textual.widgets.option_list import Option

from whatsapp_client import MemberReceipt

from . import clock, text
from .backend import Backend
from .names import Names
from .sheets import Sheet, show_options

#: Members of a group up to which everybody is told of by themselves; above it the numbers come first.
FEW = 32
AGAIN = 1.0  # seconds
TITLES = (("read", "Read by"), ("delivered", "Delivered to"), ("sent", "Not there yet"))


def time_of(receipt: MemberReceipt, status: str) -> int:
    """When, ms; 0 where the server does not tell."""
    return {"read": receipt.read_at, "delivered": receipt.delivered_at}.get(status) or 0


class MessageInfoScreen(Sheet[None]):
    """Read from the server, and again with each receipt while it is shown (:meth:`renew`)."""

    DEFAULT_CSS = """
    MessageInfoScreen #message { height: auto; max-height: 3; color: $bubble-text; background: $bubble-own; padding: 0 1; }
    MessageInfoScreen.-low #message { max-height: 1; }
    MessageInfoScreen #counts { height: auto; }
    """

    def __init__(
        self, client: Backend, names: Names, conversation_id: str, message_id: str, body: str
    ) -> None:
        super().__init__()
        self.conversation_id = conversation_id
        self._client = client
        self._names = names
        self._message_id = message_id
        self._body = body
        self._waiting = False

    def compose(self) -> ComposeResult:
        with Vertical(classes="box -tall") as box:
            box.border_title = "Message"
            box.border_subtitle = "Esc closes"
            yield Static(Content(text.cut(text.one_line(self._body), 170)), id="message")
            yield Static("", id="counts", classes="dim")
            yield OptionList(id="receipts")
            yield Static("", classes="error")
            with Horizontal(classes="buttons"):
                yield Button("Close", id="close", compact=True, classes="-last")

    def on_mount(self, event: events.Mount) -> None:
        self.query_one("#receipts", OptionList).focus()
        self.attempt(self._read(), waiting="Looking…")

    def renew(self) -> None:
        """Somebody may have read it since. However many do, the server is asked once a second."""
        if not self._waiting:
            self._waiting = True
            self.set_timer(AGAIN, self._again)

    def _again(self) -> None:
        self._waiting = False
        self.attempt(self._read())

    async def _read(self) -> None:
        receipts = await self._client.receipts(self.conversation_id, self._message_id)
        self.say("")
        self._show(receipts)

    def _show(self, receipts: Sequence[MemberReceipt]) -> None:
        now = time.time_ns() // 1_000_000
        groups: dict[str, list[MemberReceipt]] = {status: [] for status, _ in TITLES}
        for receipt in receipts:
            groups.get(receipt.status, groups["sent"]).append(receipt)
        total, read = len(receipts), len(groups["read"])
        words = f"✓✓ read by {read:,} of {total:,}" if total else "There is nobody else."
        if total > FEW:
            words += f", on the devices of {read + len(groups['delivered']):,}"
        self.query_one("#counts", Static).update(Content(words))
        options = []
        for status, title in TITLES:
            if not groups[status]:
                continue
            options.append(Option(Content(f"{title} ({len(groups[status]):,})"), disabled=True))
            for receipt in sorted(groups[status], key=self._order):
                at = time_of(receipt, status)
                name = text.cut(text.one_line(self._names.name(receipt.user_id)), 40)
                when = f"  {clock.day(at, now)} {clock.time_of_day(at)}" if at else ""
                options.append(Option(Content.assemble(name, (when, "$list-dim")), f"{receipt.user_id}"))
        show_options(self.query_one("#receipts", OptionList), options)

    def _order(self, receipt: MemberReceipt) -> tuple[int, str]:
        return -time_of(receipt, receipt.status), self._names.name(receipt.user_id).casefold()

    def on_button_pressed(self, event: Button.Pressed) -> None:
        self.dismiss(None)
