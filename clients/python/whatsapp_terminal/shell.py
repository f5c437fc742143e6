"""What every screen knows of the app: its settings, toasts, sounds, the window's title, the theme."""

from __future__ import annotations

import pathlib
import time
from typing import ClassVar

from textual.app import App
from textual.binding import Binding, BindingType
from textual.notifications import SeverityLevel

from . import text, themes
from .chat_style import CONTRAST
from .settings import Settings

ALERT_EVERY = 1.0  # seconds: a hundred messages at once ring once


class Shell(App[int]):
    """The app without what it shows."""

    TITLE = "chat"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("ctrl+t", "next_theme", "Theme", priority=True, show=False),
    ]
    CSS = f"Toast {{ max-width: 90%; }}\n{CONTRAST}"

    def __init__(self) -> None:
        self.settings = Settings()  # before the theme's variables are asked for
        super().__init__()
        self._path: pathlib.Path | None = None
        self._shown_title = ""
        self._alerted = float("-inf")
        for theme in themes.OWN:
            self.register_theme(theme)
        self.theme = themes.DEFAULT

    def get_theme_variable_defaults(self) -> dict[str, str]:
        return themes.derived(self.current_theme)

    async def action_sign_in_again(self) -> None:
        """Leave the ended session and ask for a code."""
        raise NotImplementedError

    def load_settings(self, path: pathlib.Path | None) -> None:
        self._path = path
        self.settings = Settings.load(path)
        if self.settings.theme in self.available_themes:
            self.theme = self.settings.theme

    def say(self, words: str, *, severity: SeverityLevel = "information", timeout: float = 6.0) -> None:
        """A toast; never markup, since others may have chosen the words."""
        self.notify(text.clean(words), severity=severity, timeout=timeout, markup=False)

    def save_settings(self) -> None:
        self.settings.save(self._path)

    def watch_theme(self, theme: str) -> None:
        if self._path is not None and theme != self.settings.theme:
            self.settings.theme = theme
            self.settings.save(self._path)

    def action_next_theme(self) -> None:
        names = [theme.name for theme in themes.OWN]
        following = names.index(self.theme) + 1 if self.theme in names else 0
        self.theme = names[following % len(names)]
        self.say(f"Theme: {self.theme}. More with Ctrl+P.", timeout=2)

    def set_alert(self, alert: str) -> None:
        self.settings.alert = alert
        self.settings.save(self._path)
        self.say(f"New messages: {alert}", timeout=2)

    def alert(self, name: str) -> None:
        """A message came that is not seen."""
        now = time.monotonic()
        if now - self._alerted < ALERT_EVERY:
            return
        self._alerted = now
        if self.settings.alert == "bell":
            self.bell()
        elif self.settings.alert == "desktop":
            # OSC 9, as iTerm2, kitty, WezTerm, foot and others know it; no word of the message itself.
            self._tell_terminal(f"\x1b]9;New message from {text.cut(text.one_line(name), 40)}\x07")

    def unread_title(self, unread: int) -> None:
        """The window's title counts the chats with something new."""
        title = f"({unread}) chat" if unread else "chat"
        if title != self._shown_title:
            self._shown_title = title
            self._tell_terminal(f"\x1b]2;{title}\x07")

    def _tell_terminal(self, sequence: str) -> None:
        if self._driver is not None and not self.is_headless:
            self._driver.write(sequence)
