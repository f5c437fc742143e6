"""The file of a device: what it has, what it wants to send, how far it is.

All writes of one turn of the event loop are one transaction. It is committed when the turn is over, and in
any case before a frame goes out, so the server never hears of anything that is not in the file yet.
"""

from __future__ import annotations

import asyncio
import os
import pathlib
import sqlite3
import time
from collections.abc import Callable, Iterable
from typing import Any, Protocol

from . import search_index
from .copies import Copies
from .errors import DatabaseBroken, DatabaseError, DatabaseInUse
from .schema import APPLICATION_ID, MIGRATIONS

KEEP = 100_000
KEEP_TOTAL = 500_000


class Savable(Protocol):
    def save(self) -> None:
        """Write what has changed."""


class Database:
    """SQLite in WAL mode. One process at a time, one device a file.

    ``path``: a file, made with mode 600 if there is none; ``":memory:"`` for none. ``keep``: entries kept of
    each conversation, ``keep_total`` of all; the oldest go, and can be read again from the server.
    ``synchronous``: ``NORMAL`` survives the death of the process at any moment, ``FULL`` also a power cut, for
    an fsync each turn (after one, ``NORMAL`` may be some turns behind: received messages are asked for again, the
    last queued ones may be missing).

    Raises :class:`DatabaseInUse` when another process (or another object) has it open, and
    :class:`DatabaseError` for a file that is none of ours or newer than this version.
    """

    def __init__(
        self,
        path: str | os.PathLike[str] = ":memory:",
        *,
        keep: int = KEEP,
        keep_total: int = KEEP_TOTAL,
        synchronous: str = "NORMAL",
    ) -> None:
        if synchronous not in ("NORMAL", "FULL"):
            raise ValueError("synchronous is NORMAL or FULL")
        self.path = os.fspath(path)
        self.keep = max(1, keep)
        self.keep_total = max(self.keep, keep_total)
        self.broken: DatabaseBroken | None = None
        #: Called after each commit, and when the database can no longer be written.
        self.on_commit: Callable[[], None] | None = None
        self.on_broken: Callable[[DatabaseBroken], None] | None = None
        #: Called when something is to be done later: a message will vanish, or the file is to be cleaned.
        self.on_later: Callable[[], None] | None = None
        #: What is not in the file any more, for reports.
        self.copies = Copies()
        self.commits = 0
        self._dirty: dict[Savable, None] = {}
        self._in_turn = False
        self._scheduled: asyncio.Handle | None = None
        self._sql = self._open(synchronous)
        self._entries = self._count()
        self._ahead = int(self.get("ahead", "0"))

    # -- life ----------------------------------------------------------------------------------------------
    def _open(self, synchronous: str) -> sqlite3.Connection:
        if self.path != ":memory:":
            pathlib.Path(self.path).parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            os.close(os.open(self.path, os.O_RDWR | os.O_CREAT, 0o600))
        sql = sqlite3.connect(self.path, timeout=0, isolation_level=None, cached_statements=64)
        try:
            # Before anything is read: then SQLite needs no shared memory, and the lock lasts until the end.
            sql.execute("PRAGMA locking_mode = EXCLUSIVE")
            sql.execute("PRAGMA journal_mode = WAL").fetchone()
            sql.execute(f"PRAGMA synchronous = {synchronous}")
            sql.execute("PRAGMA secure_delete = ON")  # a deleted message is not left in a free page
            sql.execute("BEGIN IMMEDIATE")
            search_index.prepare(sql)
            self._migrate(sql)
            self._index(sql)
            sql.execute("COMMIT")
        except sqlite3.OperationalError as error:
            sql.close()
            if "locked" in str(error):
                raise DatabaseInUse(f"{self.path} is in use by another process") from None
            raise DatabaseError(f"{self.path} cannot be opened: {error}") from None
        except sqlite3.DatabaseError as error:
            sql.close()
            raise DatabaseError(f"{self.path} is not a database: {error}") from None
        except BaseException:
            sql.close()
            raise
        return sql

    def _migrate(self, sql: sqlite3.Connection) -> None:
        version = sql.execute("PRAGMA user_version").fetchone()[0]
        application = sql.execute("PRAGMA application_id").fetchone()[0]
        tables = sql.execute("SELECT count(*) FROM sqlite_schema").fetchone()[0]
        if application != APPLICATION_ID and (tables or version):
            raise DatabaseError(f"{self.path} is a database of another program")
        if version > len(MIGRATIONS):
            raise DatabaseError(
                f"{self.path} has schema {version}, made by a newer version; this one knows {len(MIGRATIONS)}"
            )
        for script in MIGRATIONS[version:]:
            for statement in _statements(script):  # executescript() would commit
                sql.execute(statement)
        sql.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        sql.execute(f"PRAGMA user_version = {len(MIGRATIONS)}")

    def _index(self, sql: sqlite3.Connection) -> None:
        row = sql.execute("SELECT value FROM meta WHERE name = 'search'").fetchone()
        version = search_index.install(sql, row[0] if row else "")
        if version is not None:
            sql.execute("INSERT OR REPLACE INTO meta VALUES ('search', ?)", (version,))

    def claim(self, user_id: str, device_id: str) -> None:
        """The file belongs to this device from now on. Raises :class:`DatabaseError` if it belongs to
        another."""
        owner = f"{user_id} {device_id}"
        known = self.get("owner")
        if known and known != owner:
            raise DatabaseError(f"{self.path} belongs to another device; each device needs a file of its own")
        if not known:
            self.put("owner", owner)
            self.commit()

    def close(self) -> None:
        """Commit and close; a second call does nothing."""
        try:
            if self.broken is None:
                self.commit()
                while self.scrub():
                    pass
        finally:
            self.abandon()

    def abandon(self) -> None:
        """Close without a commit, as if the process had been killed."""
        if self._scheduled is not None:
            self._scheduled.cancel()
            self._scheduled = None
        self._dirty.clear()
        self._in_turn = False
        self._sql.close()
        self.broken = self.broken or DatabaseBroken("the database is closed")

    def __enter__(self) -> Database:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    # -- statements ----------------------------------------------------------------------------------------
    def read(self, statement: str, values: Iterable[Any] = ()) -> sqlite3.Cursor:
        """A query; it sees what this turn has written."""
        if self.broken is not None:
            raise self.broken
        return self._sql.execute(statement, tuple(values))

    def write(self, statement: str, values: Iterable[Any] = ()) -> sqlite3.Cursor:
        """A change, in the transaction of this turn. Raises :class:`DatabaseBroken` when it cannot be made;
        then nothing of the turn is kept, and nothing can be written any more."""
        self.begin()
        try:
            return self._sql.execute(statement, tuple(values))
        except sqlite3.Error as error:
            raise self._break(error) from error

    def write_many(self, statement: str, rows: Iterable[Iterable[Any]]) -> None:
        self.begin()
        try:
            self._sql.executemany(statement, [tuple(row) for row in rows])
        except sqlite3.Error as error:
            raise self._break(error) from error

    def dirty(self, what: Savable) -> None:
        """``what.save()`` is called once before the next commit."""
        self._dirty[what] = None
        self.begin()

    # -- the turn ------------------------------------------------------------------------------------------
    def begin(self) -> None:
        """Open the transaction of this turn, if it is not."""
        if self._in_turn:
            return
        if self.broken is not None:
            raise self.broken
        try:
            self._sql.execute("BEGIN")
        except sqlite3.Error as error:
            raise self._break(error) from error
        self._in_turn = True
        if self._scheduled is None:
            try:
                self._scheduled = asyncio.get_running_loop().call_soon(self._turn_over)
            except RuntimeError:
                pass  # no event loop: the caller commits

    def commit(self) -> None:
        """Everything written so far is in the file when this returns. Raises :class:`DatabaseBroken`."""
        if not self._in_turn:
            if self.broken is not None:
                raise self.broken
            return
        try:
            while self._dirty:
                changed, self._dirty = self._dirty, {}
                for what in changed:
                    what.save()
            self._sql.execute("COMMIT")
        except sqlite3.Error as error:
            raise self._break(error) from error
        self._in_turn = False
        self.commits += 1
        if self._scheduled is not None:
            self._scheduled.cancel()
            self._scheduled = None
        if self.on_commit is not None:
            self.on_commit()

    def _turn_over(self) -> None:
        self._scheduled = None
        try:
            self.commit()
        except DatabaseBroken:
            pass  # on_broken has been told

    def _break(self, error: sqlite3.Error) -> DatabaseBroken:
        if self.broken is None:
            self.broken = DatabaseBroken(f"{self.path} cannot be written: {error}")
            self._dirty.clear()
            self._in_turn = False
            try:
                if self._sql.in_transaction:
                    self._sql.execute("ROLLBACK")
            except sqlite3.Error:
                pass
            if self.on_broken is not None:
                self.on_broken(self.broken)
        return self.broken

    # -- size ----------------------------------------------------------------------------------------------
    def stored(self) -> None:
        """One more entry is here. Beyond ``keep_total`` each conversation keeps its fair share."""
        self._entries += 1
        if self._entries > self.keep_total + self.keep_total // 10:
            numbers = [row[0] for row in self.read("SELECT number FROM conversations")]
            share = max(50, self.keep_total // len(numbers))
            for number in numbers:
                self.write(
                    "DELETE FROM entries WHERE flags & 20 = 0 AND conversation = ? AND seq < (SELECT seq FROM entries "
                    "WHERE conversation = ? ORDER BY seq DESC LIMIT 1 OFFSET ?)",
                    (number, number, share - 1),
                )
            self._entries = self._count()

    def removed(self, count: int) -> None:
        """So many entries less are here."""
        self._entries -= count

    def _count(self) -> int:
        return int(self._sql.execute("SELECT count(*) FROM entries").fetchone()[0])

    # -- no trace ------------------------------------------------------------------------------------------
    def scrub_soon(self) -> None:
        """Something was taken out that must not be found in the file any more; :meth:`scrub` will see to it, if need be
        in the next process."""
        if self.get("unclean") != "yes":
            self.put("unclean", "yes")
            self.later()

    def later(self) -> None:
        if self.on_later is not None:
            self.on_later()

    @property
    def unclean(self) -> bool:
        return self.get("unclean") != ""

    def scrub(self) -> bool:
        """Take deleted words out of the index of texts, a part of it a call, and at last out of the write-ahead log. False when
        the file is clean. Raises :class:`DatabaseBroken`."""
        state = self.get("unclean")
        if not state:
            return False
        self.begin()
        try:
            more = search_index.scrub(self._sql, begin=state == "yes")
        except sqlite3.Error as error:
            raise self._break(error) from error
        self.put("unclean", "going" if more else "")
        self.commit()
        if not more:
            try:
                self._sql.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
            except sqlite3.Error as error:
                raise self._break(error) from error
        return more

    # -- time ----------------------------------------------------------------------------------------------
    def now_ms(self) -> int:
        """The server's clock, as far as this device knows it (ms)."""
        return time.time_ns() // 1_000_000 + self._ahead

    def told_time(self, server_time: int) -> None:
        """The server says what time it is. Kept over restarts: messages vanish by its clock, also while there is no server."""
        ahead = server_time - time.time_ns() // 1_000_000
        if abs(ahead - self._ahead) > 1_000:
            self._ahead = ahead
            self.put("ahead", str(ahead))
            self.later()

    # -- small facts ---------------------------------------------------------------------------------------
    def get(self, name: str, default: str = "") -> str:
        row = self.read("SELECT value FROM meta WHERE name = ?", (name,)).fetchone()
        return str(row[0]) if row else default

    def put(self, name: str, value: str) -> None:
        self.write("INSERT OR REPLACE INTO meta VALUES (?, ?)", (name, value))

    def conversations(self) -> list[str]:
        """Ids of all conversations this file knows."""
        return [row[0] for row in self.read("SELECT id FROM conversations ORDER BY number")]


def _statements(script: str) -> list[str]:
    lines = [line for line in script.splitlines() if not line.strip().startswith("--")]
    return [part for part in "\n".join(lines).split(";") if part.strip()]
