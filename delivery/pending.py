"""The sweep of changes that Django code has written down for a store elsewhere and that nobody has carried out.

It runs beside the sweep of outbox rows, in the main process of every worker and without a lease: rows are locked, and what
another process works on is passed over.
"""

from __future__ import annotations

import asyncio
import logging

import psycopg
from psycopg_pool import AsyncConnectionPool, PoolTimeout

from delivery.store import pending
from delivery.store.interface import Unavailable
from delivery.store.pending import Elsewhere
from whatsapp.infra import clock, faults

log = logging.getLogger(__name__)

EVERY_S = 1.0
SUBJECTS = 200


class PendingSweep:
    """``pool``: connections to the database of the services."""

    def __init__(self, pool: AsyncConnectionPool, store: Elsewhere) -> None:
        self._pool = pool
        self._store = store

    async def run(self) -> None:
        """For ever."""
        while True:
            try:
                if not faults.off("pending"):
                    await self.once()
            except (psycopg.Error, PoolTimeout, OSError) as error:
                log.info("the sweep of pending changes waits: %s", error)
            except Exception:
                log.exception("the sweep of pending changes failed")
            await asyncio.sleep(EVERY_S)

    async def once(self) -> int:
        """One round; returns the number of changes carried out."""
        async with self._pool.connection() as connection:
            cursor = await connection.execute(pending.DUE, (clock.now_ms(), SUBJECTS))
            subjects = [subject for (subject,) in await cursor.fetchall()]
        done = 0
        for subject in subjects:
            done += await self._carry_out(subject)
        if done:
            log.info("carried out %d changes that were left", done)
        return done

    async def _carry_out(self, subject: str) -> int:
        """All of one subject, in order; from the first that fails on they wait."""
        done = tries = 0
        async with self._pool.connection() as connection, connection.transaction():
            try:
                async with connection.transaction():
                    cursor = await connection.execute(pending.OF_SUBJECT + " NOWAIT", (subject,))
                    rows = await cursor.fetchall()
            except psycopg.errors.LockNotAvailable:
                return 0  # somebody is at it
            try:
                for row, operation, tries in rows:  # noqa: B007
                    await pending.decode(operation).perform(self._store)
                    await connection.execute(pending.DONE, (row,))
                    done += 1
            except Exception as error:
                await connection.execute(
                    pending.LATER, (pending.retry_at(clock.now_ms(), tries + 1), subject)
                )
                if not isinstance(error, Unavailable):
                    log.exception("a change of %s cannot be carried out", subject)
        return done
