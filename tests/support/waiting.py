"""Until somebody waits for a lock of PostgreSQL: who comes second in a test of two at once has come as far as it can."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

from django.db import connection

from tests.support.patience import PATIENCE

# In this database: beside this test others run on the same server.
_BLOCKED = """SELECT pg_stat_clear_snapshot(), count(*) FROM pg_stat_activity
WHERE datname = current_database() AND cardinality(pg_blocking_pids(pid)) > 0"""


class Beside(threading.Thread):
    """``deed`` in a thread, on a connection of its own; when the thread has ended, ``answers`` has what it returned."""

    def __init__(self, deed: Callable[[], Any]) -> None:
        super().__init__()
        self._deed = deed
        self.answers: list[Any] = []

    def run(self) -> None:
        try:
            self.answers.append(self._deed())
        finally:
            connection.close()


def until_it_waits(thread: threading.Thread) -> None:
    """``thread`` has to come to a lock that somebody has."""
    until_it_waits_or_ends(thread)
    assert thread.is_alive(), "it did not wait"


def until_it_waits_or_ends(thread: threading.Thread) -> None:
    """``thread`` may come to a lock that somebody has, or may not, which is what the test asks."""
    deadline = time.monotonic() + PATIENCE
    while thread.is_alive() and not _somebody_waits():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def _somebody_waits() -> bool:
    with connection.cursor() as cursor:
        cursor.execute(_BLOCKED)
        return bool(cursor.fetchone()[1])
