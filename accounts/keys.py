"""The keys of access tokens: those of ``TOKEN_KEYS``, or of ``TOKEN_KEYS_FILE``, which is read again when it changes.

So keys are changed while everything runs: sockets stay open and tokens of the earlier key are good until it is taken out. A
file that cannot be read changes nothing and is told in the log.
"""

from __future__ import annotations

import logging
import math
import os
import time
from typing import Final

from django.conf import settings

from whatsapp.infra.token_keys import parse

log = logging.getLogger(__name__)

#: The file is looked at once a second at most, and at once for a key that is not known.
_LOOK_S: Final = 1.0


class KeyFile:
    """``kid → secret`` in a file; the first signs."""

    def __init__(self, path: str, keys: dict[str, str]) -> None:
        self.path = path
        self.keys = keys
        self._seen: tuple[int, int, int] | None = None
        self._looked = -math.inf  # the clock may have just begun

    def look(self, *, at_once: bool = False) -> dict[str, str]:
        now = time.monotonic()
        if at_once or now - self._looked >= _LOOK_S:
            self._looked = now
            try:
                found = os.stat(self.path)
                seen = (found.st_mtime_ns, found.st_size, found.st_ino)
                if seen != self._seen:
                    with open(self.path, encoding="ascii") as file:
                        self.keys = parse(file.read())
                    self._seen = seen
            except (OSError, ValueError) as error:
                # Neither the text nor its parts: they are secrets.
                log.error(
                    "TOKEN_KEYS_FILE cannot be read, the keys stay as they are: %s", type(error).__name__
                )
        return self.keys


_file: KeyFile | None = None


def _current(*, at_once: bool = False) -> dict[str, str]:
    global _file
    path = settings.TOKEN_KEYS_FILE
    if not path:
        return dict(settings.TOKEN_KEYS)
    if _file is None or _file.path != path:
        _file = KeyFile(path, settings.TOKEN_KEYS)
    return _file.look(at_once=at_once)


def signing() -> tuple[str, str]:
    """(kid, secret) of new tokens."""
    return next(iter(_current().items()))


def secret_of(kid: str) -> str | None:
    """The secret of a key that is still good."""
    found = _current().get(kid)
    if found is None and settings.TOKEN_KEYS_FILE:
        # Another process has seen a new file before this one.
        found = _current(at_once=True).get(kid)
    return found
