"""What happens by time alone: messages vanish, what is too old goes, and what was taken out leaves no trace.

Messages vanish by the server's clock, also those whose time came while this program did not run: they are gone before
anything is read.
"""

from __future__ import annotations

import asyncio

from .chats import Chats
from .database import Database
from .errors import DatabaseBroken
from .history import History
from .rewriting import vanish

YEARS = 2
KEPT_MS = YEARS * 366 * 86_400_000
EVERY_MS = 86_400_000  # how often what is too old is looked for
AT_ONCE = 500  # entries that go in one turn of the event loop
#: Between two cleanings of the file, in seconds: one of 100,000 messages takes 0.1 s.
CLEAN_PAUSE = 5.0
CLEAN_SOON = 0.5
LONGEST = 3_600.0  # clocks are set, machines sleep


class Keeper:
    """``run`` does it while the client runs; :meth:`vanish` was called once before anything was shown."""

    def __init__(self, database: Database, history: History, chats: Chats) -> None:
        self._database = database
        self._history = history
        self._chats = chats
        self._wake = asyncio.Event()
        self._cleaned_at = 0.0

    def vanish(self) -> int:
        """Take out what has come to its end, some of it; how much that was."""
        now = self._database.now_ms()
        rows = self._database.read(
            "SELECT conversation, seq, message_id FROM entries WHERE expires_at > 0 AND expires_at <= ? "
            "ORDER BY expires_at LIMIT ?",
            (now, AT_ONCE),
        ).fetchall()
        ids = (
            {conversation.log.known_number: conversation.id for conversation in self._history} if rows else {}
        )
        for number, seq, message_id in rows:
            vanish(self._database, number, seq, message_id)
            if number in ids:
                self._chats.touch(ids[number])
        return len(rows) + self._chats.forget_ended(now)

    def purge(self) -> int:
        """Take out what is older than two years, some of it; how much that was."""
        old = self._database.now_ms() - KEPT_MS
        rows = self._database.read(
            "SELECT conversation, seq FROM entries WHERE server_timestamp > 0 AND server_timestamp < ? "
            "ORDER BY server_timestamp LIMIT ?",
            (old, AT_ONCE),
        ).fetchall()
        if rows:
            self._database.write_many("DELETE FROM entries WHERE conversation = ? AND seq = ?", rows)
            self._database.removed(len(rows))
            ids = {conversation.log.known_number: conversation for conversation in self._history}
            for number in {number for number, _ in rows} & ids.keys():
                ids[number].log.recount()
                self._chats.touch(ids[number].id)
        return len(rows)

    def wake(self) -> None:
        """Something will vanish, or the file is to be cleaned."""
        self._wake.set()

    async def run(self) -> None:
        """Until it is cancelled."""
        try:
            while True:
                self._wake.clear()
                while self.vanish():
                    await asyncio.sleep(0)
                await self._purge_if_due()
                await self._clean_if_due()
                try:
                    async with asyncio.timeout(self._pause()):
                        await self._wake.wait()
                except TimeoutError:
                    pass
        except DatabaseBroken:
            return

    async def _purge_if_due(self) -> None:
        now = self._database.now_ms()
        if now - int(self._database.get("purged", "0")) >= EVERY_MS:
            while self.purge():
                await asyncio.sleep(0)
            self._database.put("purged", str(now))

    async def _clean_if_due(self) -> None:
        loop = asyncio.get_running_loop()
        if self._database.unclean and loop.time() >= self._cleaned_at + CLEAN_PAUSE:
            await asyncio.sleep(CLEAN_SOON)  # more may go with it
            while self._database.scrub():
                await asyncio.sleep(0)
            self._cleaned_at = loop.time()

    def _pause(self) -> float:
        """Seconds until something is to be done."""
        pause = LONGEST
        row = self._database.read("SELECT min(expires_at) FROM entries WHERE expires_at > 0").fetchone()
        if row[0] is not None:
            pause = min(pause, max(0.0, (row[0] - self._database.now_ms()) / 1000))
        if self._database.unclean:
            pause = min(pause, max(0.0, self._cleaned_at + CLEAN_PAUSE - asyncio.get_running_loop().time()))
        return pause + 0.001
