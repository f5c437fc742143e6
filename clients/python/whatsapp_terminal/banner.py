"""One line over everything: offline, syncing, signed out. Hidden while all is well."""

from __future__ import annotations

import time

from textual.content import Content
from textual.widgets import Static

from whatsapp_client import events

from . import text
from .clock import duration

#: Seconds in which a connection may come up, or a sync pass, without a word: nobody wants to see it flash.
PATIENCE = 0.7
BAR = 16


def words(state: events.State, *, left: float, most: int, queued: int, width: int) -> tuple[str, str]:
    """What to say about a state, and its look: ``waiting``, ``syncing``, ``stopped`` or empty for nothing.

    ``left``: seconds to the next attempt; ``most``: the events that this sync began with; ``queued``: messages
    in the outbox.
    """
    outbox = (
        f" · {queued:,} {'message waits' if queued == 1 else 'messages wait'} to be sent" if queued else ""
    )
    match state.status:
        case "waiting":
            when = f"trying again in {duration(left)}" if left >= 1 else "trying again"
            return f"Offline, {when}{outbox}", "waiting"
        case "connecting":
            return f"Connecting…{outbox}", "waiting"
        case "syncing":
            if not state.remaining:
                return "Syncing…", "syncing"
            done = 1 - state.remaining / max(most, state.remaining, 1)
            filled = round(done * BAR)
            bar = "  " + "━" * filled + "┄" * (BAR - filled) if width >= 50 else ""
            return f"Syncing… {state.remaining:,} left{bar}", "syncing"
        case "stopped":
            detail = text.one_line(state.detail) or "the session has ended"
            how = "Connected elsewhere" if state.code == 4409 else "Signed out" if state.code else "Stopped"
            return f"{how}: {detail} · F5", "stopped"
    return "", ""


class Banner(Static):
    DEFAULT_CSS = """
    Banner {
        display: none;
        height: auto;
        max-height: 2;
        padding: 0 1;
        text-align: center;
        text-style: bold;
        &.-waiting { display: block; background: $warning; color: $background; }
        &.-syncing { display: block; background: $secondary; color: #ffffff; }
        &.-stopped { display: block; background: $error; color: $background; }
    }
    """

    def __init__(self, *, id: str | None = None, patience: float = PATIENCE) -> None:
        super().__init__("", id=id)
        self._patience = patience
        self._state = events.State("connecting")
        self._since = time.monotonic()
        self._trouble_since = time.monotonic()  # when it was last online
        self._most = 0
        self.queued = 0
        self.said = ""

    def on_mount(self) -> None:
        self.set_interval(0.25, self.renew)

    def state(self, state: events.State) -> None:
        now = time.monotonic()
        if state.status == "syncing":
            self._most = max(self._most, state.remaining)
        else:
            self._most = 0
        if self._state.status == "online" and state.status != "online":
            self._trouble_since = now
        self._state, self._since = state, now
        self.renew()

    def renew(self) -> None:
        now = time.monotonic()
        left = self._state.retry_in - (now - self._since)
        said, look = words(
            self._state, left=left, most=self._most, queued=self.queued, width=self.app.size.width
        )
        patient = self._state.status in ("connecting", "syncing", "waiting") and self._state.remaining < 100
        if patient and now - self._trouble_since < self._patience:
            said, look = "", ""
        if said != self.said:
            self.said = said
            self.update(Content(said))
        for name in ("waiting", "syncing", "stopped"):
            self.set_class(look == name, f"-{name}")
