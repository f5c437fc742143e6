"""A store with a session of its own, as settings say. For the event loop that it is opened in."""

from __future__ import annotations

from django.conf import settings

from delivery.store.cassandra.session import Cassandra
from delivery.store.cassandra.store import CassandraStore
from delivery.store.guarded import from_settings
from delivery.store.interface import Store


async def open_store() -> Store:
    """Raises ``Unavailable`` while no node answers."""
    db = Cassandra(
        settings.CASSANDRA_CONTACT_POINTS,
        settings.CASSANDRA_KEYSPACE,
        port=settings.CASSANDRA_PORT,
        data_center=settings.CASSANDRA_DATA_CENTRE,
        username=settings.CASSANDRA_USER or None,
        password=settings.CASSANDRA_PASSWORD or None,
    )
    return from_settings(CassandraStore(await db.open()), "cassandra")
