"""A store with a session of its own, as settings say. For the event loop that it is opened in."""

from __future__ import annotations

from delivery.store.cassandra.configured import session
from delivery.store.cassandra.store import CassandraStore
from delivery.store.guarded import from_settings
from delivery.store.interface import Store


async def open_store() -> Store:
    """Raises ``Unavailable`` while no node answers."""
    return from_settings(CassandraStore(await session().open()), "cassandra")
