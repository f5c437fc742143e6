"""Whether a store answers, for pages that are asked all the time: one question is under way, and nobody waits long for it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, Final

#: Longest wait for an answer, seconds.
PATIENCE_S: Final = 1.0


class Probe:
    """``ask`` begins a question that ends by itself, within some time, and raises when there is no answer. It is not given up
    when nobody waits any more: a session that is being opened needs longer than a page has."""

    def __init__(self, ask: Callable[[], Future[Any]]) -> None:
        self._ask = ask
        self._lock = threading.Lock()
        self._asked: Future[Any] | None = None
        self._since = 0.0

    def answers(self, patience_s: float = PATIENCE_S) -> bool:
        """Whether there was an answer to the question that is under way, or to one that is asked now, ``patience_s`` after it was
        asked. Only the first who ask wait so long."""
        with self._lock:
            if self._asked is None or self._asked.done():
                self._asked, self._since = self._ask(), time.monotonic()
            asked, since = self._asked, self._since
        try:
            asked.result(max(0.0, since + patience_s - time.monotonic()))
        except Exception:  # no answer, whatever the reason
            return False
        return True
