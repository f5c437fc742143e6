"""Which store the services of Django use: settings say where the log is."""

from __future__ import annotations

from typing import cast

from django.conf import settings

from delivery.store.background import Background
from delivery.store.cassandra.configured import session
from delivery.store.cassandra.store import CassandraStore
from delivery.store.deferred import DeferredStore
from delivery.store.guarded import from_settings
from delivery.store.pending import Elsewhere


async def _open() -> Elsewhere:
    return cast(Elsewhere, from_settings(CassandraStore(await session().open()), "cassandra"))


background = Background(_open)
deferred = DeferredStore(background.ask)


def elsewhere() -> bool:
    """Whether the log is outside the database of the services."""
    return bool(settings.LOG_STORE == "cassandra")
