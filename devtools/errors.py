"""The one kind of error a user of ``./dev`` sees: a sentence, never a traceback."""

from __future__ import annotations


class DevError(Exception):
    """Something the user can act on. ``str(error)`` is one clear sentence; the command exits with ``code``."""

    def __init__(self, message: str, *, code: int = 1) -> None:
        super().__init__(message)
        self.code = code
