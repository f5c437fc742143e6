"""Objects of the storage that several media may share: who takes the last of them away, and who finds one that is going.

A lock by key, of the database, is held while a row comes or goes and the object with the last one: short, and never while bytes
are sent.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from django.conf import settings
from django.db import connection, transaction
from django.db.models import Exists, Max, OuterRef, Q, QuerySet
from django.utils.crypto import salted_hmac

from accounts.limits import DAY_MS
from media.models import Media, Reference, Rendition, State, Upload
from media.services import holds
from media.storage import NotStored, StorageUnavailable, names, storage
from whatsapp.infra import faults
from whatsapp.infra.clock import now_ms
from whatsapp.infra.limits import LIMITS
from whatsapp.infra.retention import purged

log = logging.getLogger(__name__)

_BATCH: Final = 500
#: How long one call deletes (seconds).
_LONGEST_S: Final = 300
#: Before the name of a file that is being stored.
_NOTE: Final = "~"
_SALT: Final = "media.services.contents"
_CARRIED: Final = Reference.objects.filter(media=OuterRef("pk"))


def carried_ms() -> int:
    """For so long a message carries its file: it lives, and whoever is slow still finds the file of the last one."""
    return LIMITS.retention_ms + DAY_MS


@contextmanager
def locked(key: str) -> Iterator[None]:
    """Nobody else's row of this key comes or goes meanwhile."""
    with transaction.atomic():
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_advisory_xact_lock(hashtextextended(%s, 0))", [key])
        yield


def drop(media: Media) -> None:
    """Delete its files, but those that others have too. Raises ``StorageUnavailable``; then some are left, and their rows."""
    for rendition in list(Rendition.objects.select_related("media").filter(media=media)):
        drop_file(rendition)


def drop_file(rendition: Rendition) -> None:
    """One of them."""
    media = rendition.media
    with locked(rendition.key):
        Rendition.objects.filter(pk=rendition.pk).delete()
        others = Rendition.objects.select_related("media").filter(key=rendition.key)
        if not others.exists():
            storage().delete([rendition.key])
            faults.point("media-drop")
        elif other := others.exclude(media__state=State.GONE).exclude(media__owner=media.owner_id).first():
            hand_over(rendition.key, str(media.owner_id), other.media)


@contextmanager
def storing(media: Media, name: str, key: str) -> Iterator[None]:
    """The object of this key is written for a media, and has its own row at the end. Meanwhile another row names it: what a
    worker stored that was killed before it could say so goes with the next attempt, or with the media."""
    own = f"{_NOTE}{name}"
    for left in Rendition.objects.select_related("media").filter(media=media, name=own):
        drop_file(left)
    note(media, own, key)
    yield
    Rendition.objects.filter(media=media, name=own).delete()


def note(media: Media, name: str, key: str) -> Rendition:
    """A row that only names an object. From here on nobody takes the object away, and who was about to has done so: whether it is
    there may be asked, and its bytes sent, without the lock."""
    with locked(key):
        return Rendition.objects.create(media=media, name=name, key=key, media_type="", size=0)


def let_go(key: str) -> None:
    """Delete an object that was written too late for anybody to have it."""
    with locked(key):
        if not Rendition.objects.filter(key=key).exists():
            storage().delete([key])


def about(media: Media, key: str) -> dict[str, str]:
    """What is written beside its object of this key: whose it is, in words that only we can compare (:func:`is_of`). A bucket
    tells them to whoever fetches the object, who may have it from somebody else, or has uploaded the same bytes."""
    conversation = str(media.conversation_id or "")
    return names.metadata(
        uploader=_veiled(key, str(media.owner_id)),
        conversation=_veiled(key, conversation) if conversation else "",
        at_ms=media.created_at,
    )


def is_of(key: str, named: str, user_id: str) -> bool:
    """Whether ``named``, beside the object of this key, is this user."""
    secrets = (settings.SECRET_KEY, *settings.SECRET_KEY_FALLBACKS)
    return named in (user_id, *(_veiled(key, user_id, secret) for secret in secrets))


def _veiled(key: str, text: str, secret: str | None = None) -> str:
    """Another word for each object, so that two of one user do not show it."""
    return salted_hmac(_SALT, f"{key}\n{text}", secret=secret, algorithm="sha256").hexdigest()[:32]


def hand_over(key: str, user_id: str, other: Media) -> None:
    """An object that stays names who has it still, not the user who stored it first. Under its lock."""
    try:
        if is_of(key, storage().describe(key).metadata.get("user-id", ""), user_id):
            storage().copy(key, key, about(other, key))
    except NotStored:
        log.warning("an object that is needed is not stored")


def with_files(state: str = State.GONE) -> QuerySet[Media]:
    """What is gone (or refused) and has files still, those left out that a worker may be writing: it loses them with its next
    word."""
    nobody_writes = Q(worker=None) | Q(leased_until__lte=now_ms())
    return Media.objects.filter(
        nobody_writes, Exists(Rendition.objects.filter(media=OuterRef("pk"))), state=state
    )


def drop_unused(now: int) -> int:
    """Delete what nobody was sent within ``LIMITS.media_unused_ms``, and what only messages carry that have expired since.
    Returns how many. Ends after a few minutes; the next call goes on."""
    old, _ = Reference.objects.filter(created_at__lt=now - carried_ms()).delete()
    purged("media_references", old)
    purged("media_holds", holds.prune())
    gone, end = 0, time.monotonic() + _LONGEST_S
    while time.monotonic() < end:
        due = Media.objects.filter(state__in=(State.READY, State.REFUSED), look_at__lte=now)
        batch = list(due.order_by("look_at")[:_BATCH])
        for media in batch:
            if not _declare_gone(media, now):
                continue
            try:
                drop(media)
            except StorageUnavailable:
                log.warning("files that nobody needs stay for a while")
                return gone
            gone += 1
        if len(batch) < _BATCH:
            break
    return gone


def _declare_gone(media: Media, now: int) -> bool:
    """Before its files go: nobody may send it any more (``media/attaching.py``). False: a message carries it; it is looked at
    again when the last one of now has expired, or is deleted. Or moderators have yet to look at it, or the law keeps it."""
    with transaction.atomic():
        if not faults.off("unused_lock"):
            # Whoever notes a message (its foreign key locks this row) either waits, and then sees what was declared, or is seen
            # by the next statement. That one alone would decide by what it saw before it came to the row.
            list(Media.objects.select_for_update().filter(pk=media.pk))
        last = Reference.objects.filter(media=media).aggregate(last=Max("created_at"))["last"]
        if last is not None:
            Media.objects.filter(pk=media.pk).update(look_at=max(last + carried_ms(), now) + 1)
            return False
        if holds.held(media):
            Media.objects.filter(pk=media.pk).update(look_at=now + DAY_MS)
            return False
        ready = Media.objects.filter(pk=media.pk, state__in=(State.READY, State.REFUSED))
        return bool(ready.update(state=State.GONE, request=None, upload_metadata=""))


def drop_rest() -> int:
    """Files of what is gone: a storage was away, or a worker died. Returns how many media had some."""
    left = with_files()[:_BATCH]
    for media in left:
        drop(media)
    return len(left)


def prune(now: int) -> int:
    """Forget what is gone and so old that every message has expired that could have carried it. Returns how many."""
    held = Exists(_CARRIED) | Exists(Rendition.objects.filter(media=OuterRef("pk")))
    held |= Exists(Upload.objects.filter(media=OuterRef("pk")))
    old = Media.objects.filter(~Q(held), state=State.GONE, created_at__lt=now - carried_ms())
    ids = list(old.order_by("created_at").values_list("pk", flat=True)[: 10 * _BATCH])
    return Media.objects.filter(pk__in=ids).delete()[0]
