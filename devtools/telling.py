"""The archive writes down in the database what the vault has (``whatsapp/staff/backups.py``, ADR 0165)."""

from __future__ import annotations

import time
from typing import Any, Final

from devtools import backup
from devtools.errors import DevError
from devtools.postgres import PostgresServer

#: A stream that is behind is asked again.
AGAIN_S: Final = 2.0

#: Only when what streams has on its disk what the server had written when it was looked at.
_TELL: Final = """INSERT INTO staff_backups (id, looked_at, newest_at, oldest_at, number, sealed)
SELECT 1, %s, %s, %s, %s, %s FROM pg_replication_slots AS slot JOIN pg_stat_replication AS stream ON stream.pid = slot.active_pid
WHERE slot.slot_name = %s AND stream.flush_lsn >= %s
ON CONFLICT (id) DO UPDATE SET looked_at = excluded.looked_at, newest_at = excluded.newest_at,
    oldest_at = excluded.oldest_at, number = excluded.number, sealed = excluded.sealed
RETURNING true"""
#: A server that hangs, or waits for its standbys, does not keep the archive from what it is for.
_PATIENCE: Final[dict[str, Any]] = {
    "connect_timeout": 5,
    "options": "-c statement_timeout=5000 -c synchronous_commit=local",
}


class Teller:
    """Tells once behind each look at the files, as soon as the log is there too."""

    def __init__(self, vault: backup.Vault, server: PostgresServer) -> None:
        self._vault, self._server = vault, server
        self._due_at = 0.0  # of the monotonic clock; 0: there is nothing to tell
        self._as_of: tuple[int, str] | None = None  # ms since the epoch, and how far the log was then
        self._said = ""
        #: The server has deleted log that the archive does not have.
        self.is_lost = False

    def looked(self, *, whole: bool) -> None:
        """``whole``: the vault has all that is not streamed."""
        self._due_at = time.monotonic() if whole else 0.0
        self._as_of = None

    @property
    def is_due(self) -> bool:
        return 0.0 < self._due_at <= time.monotonic()

    def tell(self) -> bool:
        """Write down that the vault has everything, and what it has; not where the schema is older. False: to be tried again."""
        import psycopg  # ./dev begins without it

        try:
            done = self._tell()
            self._said = ""
        except (psycopg.Error, DevError, OSError, ValueError) as error:
            done = False
            if str(error) != self._said:
                print(f"not written down, tried again later: {error}", flush=True)
            self._said = str(error)
        self._due_at = 0.0 if done else time.monotonic() + AGAIN_S
        return done

    def _tell(self) -> bool:
        import psycopg

        with psycopg.connect(self._server.url(), autocommit=True, **_PATIENCE) as connection:
            status = connection.execute(
                "SELECT wal_status FROM pg_replication_slots WHERE slot_name = %s", [backup.SLOT]
            )
            self.is_lost = status.fetchone() == ("lost",)
            if connection.execute("SELECT to_regclass('staff_backups')").fetchone() == (None,):
                return True
            if self._as_of is None:
                now = int(time.time() * 1000)
                written = connection.execute("SELECT pg_current_wal_flush_lsn()::text").fetchone()
                self._as_of = now, written[0] if written else ""
            bases = [base for base in self._vault.bases() if base.ended_at <= time.time()]
            if not bases:
                return False
            values = (
                self._as_of[0], int(bases[-1].ended_at * 1000), int(bases[0].ended_at * 1000), len(bases),
                self._vault.ring is not None, backup.SLOT, self._as_of[1],
            )  # fmt: skip
            return connection.execute(_TELL, values).fetchone() is not None
