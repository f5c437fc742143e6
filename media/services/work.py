"""Whose turn it is to work on what was uploaded: a lease in the row, which ends by itself when its worker does.

A worker that has lost its lease, because it stood still for too long, changes nothing any more: each change names the worker.
"""

from __future__ import annotations

import uuid
from typing import Final

from django.db.models import F, Q

from accounts import events
from media.models import Media, Rendition, State
from media.services.uploads import ORIGINAL
from media.tools.reasons import Reason
from whatsapp.infra.clock import now_ms
from whatsapp.infra.limits import LIMITS

#: A worker says this often that it is still there, and has this long to say it (ms).
BEAT_MS: Final = 10_000
LEASE_MS: Final = 60_000
#: Before work is tried again (ms).
LEAST_WAIT_MS: Final = 15_000
MOST_WAIT_MS: Final = 600_000
#: After so many beginnings, each of which ended with its worker: the file kills whoever works on it.
MOST_ATTEMPTS: Final = 5

#: It may end in another way when it is tried again: what was uploaded is kept, and deleted after a day (``media_unused_ms``).
TRIED_AGAIN: Final = frozenset({Reason.RESOURCES})

_WAITING: Final = Q(state__in=(State.STORED, State.PROCESSING))


class Lost(Exception):
    """Another worker has it now, or it was deleted."""


def claim(media_id: uuid.UUID) -> Media | None:
    """Take it; None: there is nothing to do, or somebody does it."""
    now, worker = now_ms(), uuid.uuid4()
    taken = Media.objects.filter(_WAITING, pk=media_id, leased_until__lte=now).update(
        state=State.PROCESSING,
        worker=worker,
        leased_until=now + LEASE_MS,
        attempts=F("attempts") + 1,
        look_at=0,
    )
    if not taken:
        return None
    return Media.objects.select_related("owner").filter(pk=media_id, worker=worker).first()


def beat(media: Media) -> None:
    """Still at it. Raises :class:`Lost`."""
    _change(media, leased_until=now_ms() + LEASE_MS)


def tell(media: Media, percent: int) -> None:
    """How far it is. Raises :class:`Lost`."""
    _change(media, percent=percent)
    media.percent = percent
    say(media)


def add(media: Media, rendition: Rendition) -> None:
    """A file that was made. The same again, by a worker before this one, is that file."""
    beat(media)
    rendition.media = media
    Rendition.objects.bulk_create([rendition], ignore_conflicts=True)


def ready(media: Media, *, media_type: str, sha256: str) -> None:
    """It may be sent and fetched. Raises :class:`Lost`."""
    _end(media, state=State.READY, media_type=media_type, sha256=sha256, percent=100, ready_at=now_ms())


def refuse(media: Media, reason: str) -> None:
    """It will never be, unless somebody wants it tried again (:func:`retry`). Raises :class:`Lost`."""
    _end(media, state=State.REFUSED, reason=reason, percent=0, sha256=media.sha256)


def later(media: Media, *, attempt: bool) -> None:
    """It is the machine's doing: somebody tries again, after a quarter of the time that it has waited already. ``attempt``: it
    had its chance, and counts; what waits for a server or a program that is away does not."""
    now = now_ms()
    waited = (now - (media.stored_at or now)) // 4
    Media.objects.filter(pk=media.pk, worker=media.worker).update(
        worker=None,
        leased_until=now + min(max(waited, LEAST_WAIT_MS), MOST_WAIT_MS),
        attempts=F("attempts") - (0 if attempt else 1),
    )


def retry(media_id: uuid.UUID) -> bool:
    """Let it be worked on at once, with as many attempts as at first: what waits and is in nobody's hands, and what was refused
    for one of :data:`TRIED_AGAIN` while its bytes are there. Asking again changes nothing more. False: nothing was to be done.

    The caller enqueues it (``media.tasks.process_soon``).
    """
    fresh = {"worker": None, "leased_until": 0, "attempts": 0, "look_at": 0}
    idle = Q(worker=None) | Q(leased_until__lte=now_ms())
    waiting = Media.objects.filter(_WAITING, idle, pk=media_id).exclude(leased_until=0, attempts=0, look_at=0)
    if waiting.update(**fresh):
        return True
    refused = Media.objects.filter(
        pk=media_id, state=State.REFUSED, reason__in=TRIED_AGAIN, renditions__name=ORIGINAL
    )
    if not refused.update(state=State.STORED, reason="", **fresh):
        return False
    say(Media.objects.get(pk=media_id))
    return True


def due(again_ms: int, limit: int = 500) -> list[uuid.UUID]:
    """What waits and is worked on by nobody, the oldest first. The caller enqueues it, so it is not due for ``again_ms`` unless
    somebody begins with it: where work has piled up, the broker does not fill with tasks for the same uploads."""
    now = now_ms()
    found = Media.objects.filter(_WAITING, leased_until__lte=now, look_at__lte=now).order_by("created_at")
    ids = list(found.values_list("pk", flat=True)[:limit])
    Media.objects.filter(_WAITING, pk__in=ids, leased_until__lte=now).update(look_at=now + again_ms)
    return ids


def _end(media: Media, **fields: object) -> None:
    _change(media, worker=None, leased_until=0, look_at=media.created_at + LIMITS.media_unused_ms, **fields)
    for name, value in fields.items():
        setattr(media, name, value)
    say(media)


def say(media: Media) -> None:
    """Its owner's devices show how far it is; one that is away asks."""
    events.notice(
        user_id=str(media.owner_id),
        kind="media",
        data={
            "mediaId": str(media.pk), "state": str(media.state), "percent": media.percent, "reason": media.reason or None,
        },
    )  # fmt: skip


def _change(media: Media, **fields: object) -> None:
    if not Media.objects.filter(pk=media.pk, worker=media.worker, state=State.PROCESSING).update(**fields):
        raise Lost
