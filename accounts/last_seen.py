"""When a device was last connected: written by gateways, in batches, a row at most once an hour.

It tells people which of their devices they still use, and the accounts whether a number changed hands
(``services/recycling.py``); both bear an hour's inaccuracy. Who is online now is the engine's to know. Nothing waits for it, and
what is lost with a process is a connection's hour.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import zlib
from collections.abc import Callable, Iterable
from typing import Final

import psycopg
from psycopg_pool import AsyncConnectionPool, PoolTimeout

from whatsapp.infra import clock
from whatsapp.infra.limits import LIMITS

log = logging.getLogger(__name__)

_AT_ONCE: Final = 2_000
#: Devices waiting while PostgreSQL is away; what comes above is forgotten, and seen again within the hour.
_WAITING: Final = 100_000

# Rows that somebody else writes at this moment are left out: waiting in two orders would be a deadlock.
_WRITE: Final = """
WITH due AS (
    SELECT id FROM accounts_device WHERE id = ANY(%(devices)s::uuid[]) AND last_seen_at <= %(before)s
    ORDER BY id FOR UPDATE SKIP LOCKED
)
UPDATE accounts_device SET last_seen_at = %(now)s FROM due WHERE accounts_device.id = due.id
"""


class LastSeen:
    """``add`` a device when it connects or leaves; ``connected`` names those that are, which are added once an hour each."""

    def __init__(self, pool: AsyncConnectionPool, connected: Callable[[], Iterable[str]]) -> None:
        self._pool = pool
        self._connected = connected
        self._waiting: set[str] = set()
        self._task: asyncio.Task[None] | None = None

    def add(self, device: str) -> None:
        if len(self._waiting) < _WAITING:
            self._waiting.add(device)

    def start(self) -> None:
        self._task = asyncio.get_running_loop().create_task(self._for_ever())

    async def stop(self) -> None:
        """Write what waits."""
        if self._task is not None:
            self._task.cancel()
        with contextlib.suppress(psycopg.Error, PoolTimeout, OSError, TimeoutError):
            async with asyncio.timeout(2):
                await self.write()

    async def _for_ever(self) -> None:
        tick = 0
        while True:
            await asyncio.sleep(LIMITS.last_seen_write_ms / 1000)
            tick += 1
            slots = max(1, LIMITS.last_seen_step_ms // LIMITS.last_seen_write_ms)
            for device in self._connected():
                if zlib.crc32(device.encode()) % slots == tick % slots:
                    self.add(device)
            try:
                await self.write()
            except (psycopg.Error, PoolTimeout, OSError):
                pass  # it waits for the next time
            except Exception:
                log.exception("last_seen was not written")

    async def write(self) -> None:
        """Raises psycopg's errors; what was not written waits on."""
        while self._waiting:
            chunk = [device for device, _ in zip(self._waiting, range(_AT_ONCE), strict=False)]
            now = clock.now_ms()
            values = {"devices": chunk, "before": now - LIMITS.last_seen_step_ms, "now": now}
            async with self._pool.connection() as connection:
                await connection.execute(_WRITE, values)
            self._waiting.difference_update(chunk)
