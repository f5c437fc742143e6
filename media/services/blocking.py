"""Content that staff have blocked, by the SHA-256 of what is uploaded: it is refused, whoever uploads it.

A lock by hash, of the database, is held while content is blocked and while an upload of it becomes ready: whichever comes second
finds what the first has done.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from django.contrib.auth.models import User
from django.db.models import F

from media.models import USABLE, BlockedContent, Media, State
from media.services import contents, work
from media.tools.reasons import Reason, Refused
from whatsapp.infra.clock import now_ms
from whatsapp.infra.limits import LIMITS

_BATCH: Final = 500


def check(sha256: str) -> None:
    """Raises :class:`Refused` (``blocked``)."""
    if BlockedContent.objects.filter(pk=sha256).exists():
        raise Refused(Reason.BLOCKED)


@contextmanager
def passing(sha256: str) -> Iterator[None]:
    """Content that nobody blocks meanwhile, in a transaction. Raises as :func:`check`."""
    with contents.locked(_lock(sha256)):
        check(sha256)
        yield


def block(*, sha256: str, reason: str, staff: User) -> bool:
    """Refuse this content from now on, and every upload that has it: messages with it are refused, nobody may fetch it.
    :func:`drop_files` deletes its files. False: it was blocked already."""
    with contents.locked(_lock(sha256)):
        _, new = BlockedContent.objects.get_or_create(
            sha256=sha256, defaults={"reason": reason, "staff": staff, "created_at": now_ms()}
        )
        # A worker that has one loses it with its next word; until its lease ends its files are left to it.
        Media.objects.filter(sha256=sha256, state__in=USABLE).update(
            state=State.REFUSED,
            reason=Reason.BLOCKED,
            percent=0,
            look_at=F("created_at") + LIMITS.media_unused_ms,
        )
    return new


def unblock(*, sha256: str) -> bool:
    """Let this content be uploaded again; what was refused stays refused, its files are deleted. False: it was not blocked."""
    with contents.locked(_lock(sha256)):
        return BlockedContent.objects.filter(pk=sha256).delete()[0] > 0


def drop_files() -> int:
    """Delete files of uploads that are blocked, and tell their owners. Returns how many had some; at most 500. Raises
    ``StorageUnavailable``; then some are left."""
    found = list(contents.with_files(State.REFUSED).filter(reason=Reason.BLOCKED)[:_BATCH])
    for media in found:
        contents.drop(media)
        work.say(media)
    return len(found)


def _lock(sha256: str) -> str:
    """No key of the storage begins like this."""
    return f"content:{sha256}"
