"""Joining a group with a code that somebody sent."""

from __future__ import annotations

from textual.app import ComposeResult
from textual.containers import Horizontal, Vertical
from textual.content import Content
from textual.widgets import Button, Input, Static

from whatsapp_client import ClientError, InvitePreview

from . import text
from .backend import Backend
from .invite_screen import code_in
from .sheets import Sheet

ASKED = "asked"


class JoinScreen(Sheet[str]):
    """Shows what a code leads to before one joins. Dismissed with the conversation when one has joined, with :data:`ASKED`
    when an admin has to decide."""

    DEFAULT_CSS = (
        "JoinScreen #preview { height: auto; max-height: 7; }\nJoinScreen.-high #preview { margin: 1 0 0 0; }"
    )

    def __init__(self, client: Backend) -> None:
        super().__init__()
        self._client = client
        self._code = ""  # whose preview is shown
        self._leads_to = ""

    def compose(self) -> ComposeResult:
        with Vertical(classes="box") as box:
            box.border_title = "Join a group"
            box.border_subtitle = "Esc cancels"
            yield Input(
                placeholder="Code, or the invitation with it", id="code", max_length=600, compact=True
            )
            yield Static("", id="preview")
            yield Static("", classes="error")
            with Horizontal(classes="buttons"):
                yield Button("Cancel", id="cancel", compact=True)
                yield Button("Look", id="go", variant="primary", compact=True, classes="-last")

    def on_input_changed(self, event: Input.Changed) -> None:
        if self._code and code_in(event.value) != self._code:
            self._shown("", None)

    def on_input_submitted(self, event: Input.Submitted) -> None:
        self._go()

    def on_button_pressed(self, event: Button.Pressed) -> None:
        if event.button.id == "cancel":
            self.dismiss(None)
        else:
            self._go()

    def _go(self) -> None:
        code = code_in(self.query_one("#code", Input).value)
        if not code:
            self.say("A code has 22 letters and digits. Paste it, or the whole invitation.")
        elif code == self._code:
            self.attempt(self._join(code), waiting="One moment…")
        else:
            self.attempt(self._look(code), waiting="Looking…")

    async def _look(self, code: str) -> None:
        self._shown(code, await self._client.preview_invite(code))
        self.say("")

    def _shown(self, code: str, preview: InvitePreview | None) -> None:
        self._code, self._leads_to = code, preview.conversation_id if preview is not None else ""
        words: list[str | tuple[str, str]] = []
        if preview is not None:
            count = preview.member_count
            words = [
                (text.cut(text.one_line(preview.name), 120), "bold"),
                (f"\n{count:,} {'member' if count == 1 else 'members'}", "$list-dim"),
            ]
            if preview.approval:
                words.append((" · an admin decides who may join", "$list-dim"))
            if about := text.one_line(preview.description):
                words.append(f"\n{text.cut(about, 160)}")
        self.query_one("#preview", Static).update(Content.assemble(*words))
        verb = "Look" if preview is None else "Ask to join" if preview.approval else "Join"
        self.query_one("#go", Button).label = verb

    async def _join(self, code: str) -> None:
        leads_to = self._leads_to
        state = await self._client.join(code)
        if state == "requested":
            self.dismiss(ASKED)
            return
        try:
            await self._client.refresh_chats()
        except ClientError:
            pass  # it comes with the next refresh
        self.dismiss(leads_to)
