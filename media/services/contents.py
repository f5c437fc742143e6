"""Objects of the storage that several media may share: who takes the last of them away, and who finds one that is going.

A lock by key, of the database, is held while a row comes or goes and the object with the last one: short, and never while bytes
are sent.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from django.db import connection, transaction
from django.db.models import Exists, OuterRef

from accounts.limits import DAY_MS
from media.models import Media, Reference, Rendition, State
from media.storage import StorageUnavailable, storage
from whatsapp.infra.limits import LIMITS

log = logging.getLogger(__name__)

_BATCH: Final = 500


@contextmanager
def locked(key: str) -> Iterator[None]:
    """Nobody else's row of this key comes or goes meanwhile."""
    with transaction.atomic():
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_advisory_xact_lock(hashtextextended(%s, 0))", [key])
        yield


def drop(media: Media) -> None:
    """Delete its files, but those that others have too. Raises ``StorageUnavailable``; then some are left, and their rows."""
    for rendition in list(Rendition.objects.filter(media=media)):
        with locked(rendition.key):
            Rendition.objects.filter(pk=rendition.pk).delete()
            if not Rendition.objects.filter(key=rendition.key).exists():
                storage().delete([rendition.key])


def drop_unused(now: int) -> int:
    """Delete what nobody was sent within ``LIMITS.media_unused_ms``, and what only messages carry that have expired since.
    Returns how many."""
    # A day more than messages live: whoever is slow still finds the file of the last one.
    Reference.objects.filter(created_at__lt=now - LIMITS.retention_ms - DAY_MS).delete()
    carried = Reference.objects.filter(media=OuterRef("pk"))
    old = Media.objects.filter(
        ~Exists(carried), state__in=(State.READY, State.REFUSED), created_at__lt=now - LIMITS.media_unused_ms
    )
    gone = 0
    for media in old.order_by("created_at")[:_BATCH]:
        # First: nobody may send it any more (``media/attaching.py``); who did meanwhile keeps it.
        if not Media.objects.filter(~Exists(carried), pk=media.pk).update(state=State.GONE, request=None):
            continue
        try:
            drop(media)
        except StorageUnavailable:
            log.warning("files that nobody needs stay for a while")
            return gone
        gone += 1
    return gone


def drop_rest() -> int:
    """Files of what is gone: a storage was away, or a worker died. Returns how many media had some."""
    left = Media.objects.filter(state=State.GONE, renditions__isnull=False).distinct()[:_BATCH]
    for media in left:
        drop(media)
    return len(left)
