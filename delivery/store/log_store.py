"""The store of the engine's processes: the one that ``LOG_STORE`` names, behind its circuit breakers."""

from __future__ import annotations

import logging

from django.conf import settings
from psycopg_pool import AsyncConnectionPool

from delivery.store.cassandra.configured import store
from delivery.store.cassandra.store import CassandraStore
from delivery.store.guarded import from_settings
from delivery.store.interface import Store, Unavailable
from delivery.store.postgres import PostgresStore

log = logging.getLogger(__name__)


class LogStore:
    """:attr:`store` may be used from the loop that made it, whether its servers are there or not: until then its operations
    raise ``Unavailable``. ``pool`` is opened and closed by the caller; only the store on PostgreSQL uses it."""

    store: Store

    def __init__(self, pool: AsyncConnectionPool) -> None:
        if settings.LOG_STORE == "cassandra":
            self._own: CassandraStore | PostgresStore = store()
            self.store = from_settings(self._own, "cassandra")
        else:
            self._own = PostgresStore(pool)
            self.store = from_settings(self._own, "postgresql")

    async def open(self) -> None:
        """Connect, if the servers are there; if not, the first operation after they are back does."""
        if isinstance(self._own, CassandraStore):
            try:
                await self._own.open()
            except Unavailable as error:
                log.warning("the log cannot be reached yet: %s", error)

    async def close(self) -> None:
        await self._own.close()
