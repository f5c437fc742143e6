"""Links into a group, and who asks to be let in."""

from __future__ import annotations

import re
import time
from typing import ClassVar

from textual import events
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical
from textual.content import Content
from textual.widgets import Button, Checkbox, Input, OptionList, Static
from textual.widgets.option_list import Option

from whatsapp_client import Invite, JoinRequest

from . import clock, text
from .backend import Backend
from .sheets import ChoiceScreen, ConfirmScreen, Sheet, Tick, show_options
from .shell import Shell

UNITS = {"": 3_600, "m": 60, "h": 3_600, "d": 86_400, "w": 7 * 86_400}
LONGEST = 366 * 86_400  # seconds that the server lets a link live
MOST_USES = 100_000
REQUESTS = 100  # a page
_DURATION = re.compile(r"(\d{1,7})\s*([mhdw]?)(?:in|ours?|ays?|eeks?)?s?")
_CODE = re.compile(r"(?<![A-Za-z0-9_-])[A-Za-z0-9_-]{22}(?![A-Za-z0-9_-])")


def seconds(typed: str) -> int | None:
    """``12h``, ``7 d``, ``30m``, a number of hours; None for nothing. Raises ValueError with a sentence."""
    if not typed.strip():
        return None
    match = _DURATION.fullmatch(typed.strip().lower())
    found = int(match[1]) * UNITS[match[2]] if match else 0
    if not 0 < found <= LONGEST:
        raise ValueError("How long the link works is a number and m, h, d or w, at most a year: 12h, 7d.")
    return found


def uses(typed: str) -> int | None:
    """None for nothing. Raises ValueError with a sentence."""
    if not typed.strip():
        return None
    if not typed.strip().isdecimal() or not 0 < int(typed) <= MOST_USES:
        raise ValueError(f"How many may use it is a whole number from 1 to {MOST_USES:,}.")
    return int(typed)


def code_in(typed: str) -> str:
    """The code of an invite in what somebody pasted; empty: there is none."""
    found = _CODE.findall(typed)
    return str(found[-1]) if found else ""


def invitation(name: str, code: str) -> str:
    """What one sends to whom one invites."""
    return f"Join “{text.one_line(name)}” with this code (F4 in the terminal client): {code}"


def described(invite: Invite, now: int) -> str:
    """``ends in 12 h · used 3 of 10 · an admin decides``."""
    parts = []
    if invite.expires_at is not None:
        parts.append(f"ends in {clock.duration(max(0, invite.expires_at - now) / 1000)}")
    limit = f" of {invite.max_uses:,}" if invite.max_uses else ""
    parts.append(f"used {invite.uses:,}{limit}" if invite.uses or limit else "not used yet")
    if invite.approval:
        parts.append("an admin decides")
    return " · ".join(parts)


class NewInviteScreen(Sheet[Invite]):
    """Dismissed with the new link."""

    def __init__(self, client: Backend, conversation_id: str) -> None:
        super().__init__()
        self._client = client
        self._conversation_id = conversation_id

    def compose(self) -> ComposeResult:
        with Vertical(classes="box") as box:
            box.border_title = "New link"
            box.border_subtitle = "Esc cancels"
            yield Input(
                placeholder="Works for, like 12h or 7d (no end)", id="for", max_length=12, compact=True
            )
            yield Input(placeholder="How many may use it (any number)", id="uses", max_length=8, compact=True)
            yield Tick("An admin decides about each", id="approval", compact=True)
            yield Static("", classes="error")
            with Horizontal(classes="buttons"):
                yield Button("Cancel", id="cancel", compact=True)
                yield Button("Make the link", id="go", variant="primary", compact=True, classes="-last")

    def on_input_submitted(self, event: Input.Submitted) -> None:
        self._make()

    def on_button_pressed(self, event: Button.Pressed) -> None:
        if event.button.id == "cancel":
            self.dismiss(None)
        else:
            self._make()

    def _make(self) -> None:
        try:
            lifetime = seconds(self.query_one("#for", Input).value)
            most = uses(self.query_one("#uses", Input).value)
        except ValueError as error:
            self.say(str(error))
            return
        approval = self.query_one("#approval", Checkbox).value
        self.attempt(self._send(lifetime, most, approval), waiting="One moment…")

    async def _send(self, lifetime: int | None, most: int | None, approval: bool) -> None:
        self.dismiss(
            await self._client.create_invite(
                self._conversation_id, expires_in=lifetime, max_uses=most, approval=approval
            )
        )


class InviteScreen(Sheet[None]):
    """Open links and requests in one list. For admins."""

    app: Shell

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("n", "new", "New link", show=False),
        Binding("c,y", "copy", "Copy", show=False),
    ]

    def __init__(self, client: Backend, conversation_id: str, name: str) -> None:
        super().__init__()
        self._client = client
        self._conversation_id = conversation_id
        self._group_name = name
        self._invites: dict[str, Invite] = {}
        self._requests: dict[str, JoinRequest] = {}
        self._more: str | None = None

    def compose(self) -> ComposeResult:
        with Vertical(classes="box -tall") as box:
            box.border_title = "Invite"
            box.border_subtitle = "⏎ chooses · c copies · Esc closes"
            yield OptionList(id="links")
            yield Static("", classes="error")
            with Horizontal(classes="buttons"):
                yield Button("New link", id="new", variant="primary", compact=True)
                yield Button("Close", id="close", compact=True, classes="-last")

    def on_mount(self, event: events.Mount) -> None:
        self.query_one("#links", OptionList).focus()
        self.renew()

    def renew(self) -> None:
        """Somebody may have asked to join since."""
        self.attempt(self._read())

    async def _read(self) -> None:
        self._invites = {
            f"link {invite.code}": invite for invite in await self._client.invites(self._conversation_id)
        }
        page = await self._client.join_requests(self._conversation_id, limit=REQUESTS)
        self._requests = {f"user {request.user_id}": request for request in page.items}
        self._more = page.next
        self._show()

    async def _next(self) -> None:
        page = await self._client.join_requests(self._conversation_id, after=self._more, limit=REQUESTS)
        self._requests |= {f"user {request.user_id}": request for request in page.items}
        self._more = page.next
        self._show()

    def _show(self) -> None:
        now = time.time_ns() // 1_000_000
        options = []
        if self._requests:
            options.append(Option(Content("Asking to join"), disabled=True))
            for key, request in self._requests.items():
                asked = f"  since {clock.short(request.requested_at, now)}"
                options.append(Option(Content.assemble(self._asker(request), (asked, "$list-dim")), key))
        if self._more:
            options.append(Option(Content.styled("More…", "$accent"), "more"))
        options.append(Option(Content("Links"), disabled=True))
        for key, invite in self._invites.items():
            words = Content.assemble((invite.code, "bold"), (f"\n{described(invite, now)}", "$list-dim"))
            options.append(Option(words, key))
        if not self._invites:
            options.append(Option(Content.styled("There is none. n makes one.", "$list-dim"), disabled=True))
        show_options(self.query_one("#links", OptionList), options)

    def _asker(self, request: JoinRequest) -> str:
        return text.cut(text.one_line(request.name), 30) or f"user {request.user_id[-8:]}"

    def _chosen_link(self) -> Invite | None:
        view = self.query_one("#links", OptionList)
        if view.highlighted is None:
            return None
        return self._invites.get(str(view.get_option_at_index(view.highlighted).id))

    # -- what is done ------------------------------------------------------------------------------------------
    def on_button_pressed(self, event: Button.Pressed) -> None:
        if event.button.id == "new":
            self.action_new()
        else:
            self.dismiss(None)

    def action_new(self) -> None:
        self.app.push_screen(NewInviteScreen(self._client, self._conversation_id), self._made)

    def _made(self, invite: Invite | None) -> None:
        if invite is not None:
            self.attempt(self._read())
            self._copy(
                invitation(self._group_name, invite.code),
                "The link is made; an invitation to paste is copied.",
            )

    def action_copy(self) -> None:
        invite = self._chosen_link()
        if invite is not None:
            self._copy(invitation(self._group_name, invite.code), "Copied.")

    def _copy(self, words: str, said: str) -> None:
        self.app.copy_to_clipboard(words)
        self.app.say(said, timeout=4)

    def on_option_list_option_selected(self, event: OptionList.OptionSelected) -> None:
        key = str(event.option.id)
        if key == "more":
            self.attempt(self._next())
        elif invite := self._invites.get(key):
            choices = [("text", "Copy an invitation"), ("code", "Copy the code"), ("end", "End this link")]
            self.app.push_screen(ChoiceScreen(invite.code, choices), lambda what: self._link(invite, what))
        elif request := self._requests.get(key):
            choices = [("accept", "Let in"), ("refuse", "Refuse")]
            self.app.push_screen(
                ChoiceScreen(self._asker(request), choices), lambda what: self._answer(request, what)
            )

    def _link(self, invite: Invite, what: str | None) -> None:
        match what:
            case "text":
                self._copy(invitation(self._group_name, invite.code), "Copied.")
            case "code":
                self._copy(invite.code, "Copied.")
            case "end":

                def sure(yes: bool | None) -> None:
                    if yes:
                        self.attempt(self._end(invite.code))

                question = "End this link? Nobody can use it any more; who has joined stays."
                self.app.push_screen(ConfirmScreen(question, "End it"), sure)

    async def _end(self, code: str) -> None:
        await self._client.revoke_invite(self._conversation_id, code)
        await self._read()

    def _answer(self, request: JoinRequest, what: str | None) -> None:
        if what is not None:
            self.attempt(self._decide(request.user_id, what == "accept"), waiting="One moment…")

    async def _decide(self, user_id: str, accept: bool) -> None:
        await self._client.answer_request(self._conversation_id, user_id, accept)
        self.say("")
        await self._read()
