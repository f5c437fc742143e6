"""Lines for people who are not registered yet, kept over the end of the program."""

from __future__ import annotations

import contextlib
import json
import os
from pathlib import Path


class Kept:
    """In ``file``, readable by its owner only; there is none while nothing waits. Without a file nothing is kept."""

    def __init__(self, file: Path | None = None) -> None:
        self._file = file

    @property
    def lasts(self) -> bool:
        return self._file is not None

    def load(self) -> dict[str, list[str]]:
        """Lines by number, in the order in which they were written."""
        if self._file is None:
            return {}
        try:
            found = json.loads(self._file.read_text())
        except (OSError, ValueError):
            return {}
        return {
            str(number): [str(line) for line in lines] for number, lines in found.items() if lines
        } if isinstance(found, dict) else {}  # fmt: skip

    def save(self, lines: dict[str, list[str]]) -> None:
        """Instead of what was there. Raises ``OSError``."""
        if self._file is None:
            return
        if not lines:
            with contextlib.suppress(FileNotFoundError):
                self._file.unlink()
            return
        draft = self._file.with_name(f".{self._file.name}-{os.getpid()}")
        with open(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as out:
            json.dump(lines, out)
        draft.replace(self._file)
