"""Work on uploads, and what is swept. Each may run twice or never: the rows say what waits."""

from __future__ import annotations

import logging
import uuid
from dataclasses import asdict

from celery import shared_task
from django.conf import settings

from delivery import tasks
from media import erasure, selectors
from media.pipeline.process import process as work_on
from media.services import blocking, contents, work
from media.storage import StorageUnavailable, lifecycle, storage
from media.uploads import ending
from whatsapp.infra.clock import now_ms
from whatsapp.infra.limits import LIMITS
from whatsapp.infra.retention import purged

log = logging.getLogger(__name__)


@shared_task
def process(media_id: str) -> str:
    """Work on an upload until it is ready or refused. Returns its state, "" when there was nothing to do."""
    return work_on(uuid.UUID(media_id))


def process_soon(media_id: uuid.UUID) -> None:
    """:func:`process` from anywhere: does not wait for the broker. Should it get lost, :func:`process_waiting` follows."""
    tasks.enqueue_soon(process, str(media_id))


@shared_task
def process_waiting() -> int:
    """Enqueue what waits and is worked on by nobody: its task or its worker got lost, or a server was away. Returns how many."""
    found = work.due(again_ms=10 * settings.MEDIA_WAITING_MS)
    for media_id in found:
        tasks.enqueue(process, str(media_id))
    return len(found)


@shared_task
def sweep_uploads() -> int:
    """Delete uploads that came to no end in time. Returns how many."""
    swept = ending.sweep()
    purged("media_uploads", swept)
    return swept


@shared_task
def sweep_storage() -> dict[str, int]:
    """Take away what the policy of the storage says (``media/storage/lifecycle.py``), where the bucket does not do it itself."""
    swept = lifecycle.sweep(
        storage(),
        now_ms(),
        waits=selectors.waits,
        referred=selectors.referred,
        locked=contents.locked,
        retention_ms=LIMITS.retention_ms,
    )
    purged("media_storage", swept.uploads + swept.incoming + swept.media)
    return asdict(swept)


@shared_task
def drop_blocked() -> int:
    """Delete the files of what staff have blocked. Returns of how many uploads; a storage that is away is asked again within an
    hour."""
    dropped = 0
    try:
        while found := blocking.drop_files():
            dropped += found
    except StorageUnavailable:
        log.warning("files of blocked content stay for a while")
    return dropped


def drop_blocked_soon() -> None:
    """:func:`drop_blocked` from anywhere: does not wait for the broker."""
    tasks.enqueue_soon(drop_blocked)


@shared_task
def drop_unused() -> int:
    """Delete what nobody was sent within a day, what no message carries any more, and files of blocked content that are left.
    Returns how many nobody needs."""
    drop_blocked()
    contents.drop_rest()
    contents.prune(now_ms())
    dropped = contents.drop_unused(now_ms())
    purged("media_files", dropped)
    return dropped


@shared_task
def erase(user_id: str) -> bool:
    """A step of deleting what an account that ended has uploaded; the next one follows. Returns whether something is left."""
    try:
        more = erasure.step(uuid.UUID(user_id))
    except StorageUnavailable:
        log.warning("files of an ended account stay for a while")
        return True
    if more:
        tasks.enqueue(erase, user_id)
    return more


def erase_soon(user_id: str) -> None:
    """:func:`erase` from anywhere: does not wait for the broker. Should it get lost, :func:`erase_ended` follows."""
    tasks.enqueue_soon(erase, user_id)


@shared_task
def erase_ended() -> int:
    """Go on with accounts that ended: a task got lost or was killed, the storage was away, or an upload came at the last moment.
    Returns how many."""
    found = erasure.ended()
    for user_id in found:
        tasks.enqueue(erase, str(user_id))
    return len(found)
