"""Which store the services of Django use: settings say where the log is."""

from __future__ import annotations

from typing import cast

from django.conf import settings

from delivery.store.background import Background
from delivery.store.cassandra.configured import store
from delivery.store.deferred import DeferredStore
from delivery.store.guarded import from_settings
from delivery.store.pending import Elsewhere


async def _open() -> Elsewhere:
    opened = store()
    try:
        await opened.open()
    except BaseException:
        await opened.close()
        raise
    return cast(Elsewhere, from_settings(opened, "cassandra"))


background = Background(_open)
deferred = DeferredStore(background.ask)


def elsewhere() -> bool:
    """Whether the log is outside the database of the services."""
    return bool(settings.LOG_STORE == "cassandra")
