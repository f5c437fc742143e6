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
from whatsapp.infra import clock, faults, metrics

log = logging.getLogger(__name__)

EVERY_S = 1.0
SUBJECTS = 200


class PendingSweep:
    """``pool``: connections to the database of the services."""

    def __init__(self, pool: AsyncConnectionPool, store: Elsewhere) -> None:
        self._pool = pool
        self._store = store
        self.waiting = self.parked = self._oldest = 0  # as the last round has left it

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
        async with self._pool.connection() as connection:
            found = await (await connection.execute(pending.STATE)).fetchone()
        self.waiting, self.parked, self._oldest = found or (0, 0, 0)
        return done

    @property
    def age_s(self) -> float:
        """Of the oldest change that waits, seconds; 0: none does."""
        return max(0, clock.now_ms() - self._oldest) / 1000 if self._oldest else 0.0

    async def _carry_out(self, subject: str) -> int:
        """All of one subject, in order; from the first that fails on they wait."""
        done = row = tries = failures = 0
        async with self._pool.connection() as connection, connection.transaction():
            try:
                async with connection.transaction():
                    cursor = await connection.execute(pending.OF_SUBJECT + " NOWAIT", (subject,))
                    rows = await cursor.fetchall()
            except psycopg.errors.LockNotAvailable:
                return 0  # somebody is at it
            try:
                for row, operation, tries, failures in rows:  # noqa: B007
                    await pending.decode(operation).perform(self._store)
                    await connection.execute(pending.DONE, (row,))
                    done += 1
            except Exception as error:
                later = pending.retry_at(clock.now_ms(), tries + 1)
                await connection.execute(pending.LATER, (later, subject))
                if not isinstance(error, Unavailable):
                    log.exception("a change of %s cannot be carried out", subject)
                if not isinstance(error, Unavailable) or await self._answers(subject):
                    parked = failures + 1 >= pending.MOST_FAILURES
                    if parked:
                        log.error("a change of %s is parked: %s", subject, type(error).__name__)
                    # Never what it says beyond that: it may have contents in it.
                    what = str(error).partition(":")[0] if isinstance(error, Unavailable) else ""
                    what = f"{type(error).__name__} {what}".strip()[:200]
                    await connection.execute(pending.FAILED, (parked, what, row))
        return done

    async def _answers(self, subject: str) -> bool:
        """Whether it is the change that fails, and not the store that is away."""
        try:
            await self._store.conversations([subject])
        except Exception:
            return False
        return True


def show(sweep: PendingSweep) -> None:
    """As metrics of this process."""
    metrics.source(
        "whatsapp_pending_changes",
        "Changes of services that the log on Cassandra has not been told of.",
        lambda: sweep.waiting,
    )
    metrics.source(
        "whatsapp_pending_oldest_seconds",
        "Age of the oldest of them, 0: there is none.",
        lambda: sweep.age_s,
    )
    metrics.source(
        "whatsapp_pending_parked",
        "Changes of services that failed too often: nobody tries them until staff say so.",
        lambda: sweep.parked,
    )
