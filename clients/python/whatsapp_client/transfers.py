"""Uploads on their way, in the database; and what both directions share: progress, and who may go on after a refusal."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field, fields

from .database import Database
from .errors import RestError
from .session import new_key

Progress = Callable[[int, int], None]

#: An upload that nobody goes on with is forgotten after a week; the server keeps what it has of it for a day.
KEPT_MS = 7 * 86_400_000
#: Less than the 24 h for which the server knows the name of a request.
NAMED_MS = 23 * 3_600_000
PATIENCE = 60.0  # s. Who is told to come back later than this is told so: a limit is used up


def now_ms() -> int:
    return time.time_ns() // 1_000_000


@dataclass(slots=True)
class Transfer:
    """A row of `uploads`. ``key`` and ``spool``: of an encrypted file, otherwise empty. ``address``: "" until the server gave
    one; ``offset``: bytes that it has, as far as was heard."""

    name: str
    conversation: str
    kind: str
    media_type: str
    size: int
    sha256: str
    key: bytes = b""
    plain_size: int = 0
    spool: str = ""
    request: str = field(default_factory=new_key)
    address: str = ""
    offset: int = 0
    at: int = field(default_factory=now_ms)

    @property
    def media_id(self) -> str:
        return self.address.rpartition("/")[2]


_COLUMNS = ", ".join(each.name for each in fields(Transfer))
_PLACES = ", ".join("?" for _ in fields(Transfer))


class Transfers:
    """Each change is in the file when the call returns: the server hears of nothing that is not."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def find(self, name: str) -> Transfer | None:
        row = self._database.read(f"SELECT {_COLUMNS} FROM uploads WHERE name = ?", (name,)).fetchone()
        return Transfer(*row) if row else None

    def all(self) -> list[Transfer]:
        rows = self._database.read(f"SELECT {_COLUMNS} FROM uploads ORDER BY at, name").fetchall()
        return [Transfer(*row) for row in rows]

    def save(self, transfer: Transfer) -> None:
        values = [getattr(transfer, each.name) for each in fields(Transfer)]
        self._database.write(f"INSERT OR REPLACE INTO uploads ({_COLUMNS}) VALUES ({_PLACES})", values)
        self._database.commit()

    def forget(self, name: str) -> None:
        """With this turn of the event loop, like what is queued in it."""
        self._database.write("DELETE FROM uploads WHERE name = ?", (name,))


class Told:
    """Tells the application how far a transfer is: never less than before, and all of it at the end only."""

    def __init__(self, total: int, progress: Progress | None) -> None:
        self.total = total
        self._progress = progress
        self._best = -1

    def at(self, done: int) -> None:
        """So many bytes are on their way."""
        self._tell(min(done, self.total - 1))

    def through(self) -> None:
        self._tell(self.total)

    def _tell(self, done: int) -> None:
        if done > self._best:
            self._best = done
            if self._progress is not None:
                self._progress(done, self.total)


def passes(error: RestError) -> bool:
    """Whether it is a matter of waiting: the server is busy, or its storage is away."""
    if error.status == 429:
        return (error.retry_after or 0.0) <= PATIENCE
    # 423: how far an upload is cannot be looked up. 501: files are not taken, for how long nobody knows.
    return (error.status >= 500 and error.status != 501) or error.status in (408, 423)
