"""What the terminal client remembers of its user: theme, bell, drafts. A file beside the session."""

from __future__ import annotations

import contextlib
import json
import os
import pathlib
from dataclasses import asdict, dataclass, field
from typing import Any

MAX_DRAFTS = 200
MAX_DRAFT = 65_536  # characters
ALERTS = ("bell", "desktop", "off")


@dataclass(slots=True)
class Settings:
    """``alert``: what a message that is not on screen does: ``bell``, ``desktop`` (a notification by the
    terminal, OSC 9) or ``off``."""

    theme: str = ""
    alert: str = "bell"
    drafts: dict[str, str] = field(default_factory=dict)
    #: Files on their way (:class:`sends.Wish`), and where those of others are saved; "": ``~/Downloads``.
    sends: list[dict[str, Any]] = field(default_factory=list)
    folder: str = ""

    @classmethod
    def load(cls, path: pathlib.Path | None) -> Settings:
        """What was saved; the defaults for what is missing or makes no sense."""
        known = cls()
        if path is None:
            return known
        try:
            data: Any = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return known
        if not isinstance(data, dict):
            return known
        if isinstance(data.get("theme"), str):
            known.theme = data["theme"]
        if data.get("alert") in ALERTS:
            known.alert = data["alert"]
        if isinstance(data.get("drafts"), dict):
            known.drafts = {str(k): v for k, v in data["drafts"].items() if isinstance(v, str)}
        if isinstance(data.get("sends"), list):
            known.sends = [each for each in data["sends"] if isinstance(each, dict)]
        if isinstance(data.get("folder"), str):
            known.folder = data["folder"]
        return known

    def save(self, path: pathlib.Path | None) -> None:
        """Write it atomically, for its owner only; a disk that refuses is no reason to stop."""
        if path is None:
            return
        self.drafts = {k: v for k, v in list(self.drafts.items())[-MAX_DRAFTS:] if v.strip()}
        self.drafts = {k: v[:MAX_DRAFT] for k, v in self.drafts.items()}
        with contextlib.suppress(OSError):
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            part = path.with_name(f".{path.name}.{os.getpid()}")
            with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
                json.dump(asdict(self), file, indent=1)
            os.replace(part, path)
