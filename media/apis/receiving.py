"""What both ways of uploading share: a body on its way into the storage, and what clients are told when it does not arrive."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from django.conf import settings

from accounts.errors import Refused
from media.services.uploads import Lost
from media.storage.interface import NotStored, StorageUnavailable, WrongParts
from media.uploads.receiver import TooLong, TooManyParts
from whatsapp.infra import metrics
from whatsapp.infra.limits import LIMITS
from whatsapp.wire.errors import Code

_receiving: Final = threading.BoundedSemaphore(LIMITS.media_uploads)
_lock: Final = threading.Lock()
_places: Final = Counter[str]()


def taken() -> None:
    """Raises :class:`Refused` (``feature_disabled``) where files are not taken (``settings.MEDIA``)."""
    if not settings.MEDIA:
        raise Refused(Code.FEATURE_DISABLED, "Files are not taken here now.")


@contextmanager
def place(whose: str) -> Iterator[None]:
    """One of the uploads that this process receives at once: each has a part in memory. ``whose``: nobody has all of them, for a
    body may take its time. Raises :class:`Refused` (``unavailable``)."""
    if not _enter(whose):
        metrics.count("media", "busy")
        raise Refused(
            Code.UNAVAILABLE, "Too many files are coming in here at once; try again.", retry_after_ms=2_000
        )
    try:
        yield
    finally:
        _receiving.release()
        with _lock:
            _places[whose] -= 1
            if not _places[whose]:
                del _places[whose]


def _enter(whose: str) -> bool:
    with _lock:
        if _places[whose] >= LIMITS.media_uploads_of_one or not _receiving.acquire(blocking=False):
            return False
        _places[whose] += 1
        return True


@contextmanager
def told_apart() -> Iterator[None]:
    """Errors of the way as what clients are told of them."""
    try:
        yield
    except StorageUnavailable:
        raise Refused(
            Code.UNAVAILABLE, "The file cannot be stored now; go on later.", retry_after_ms=5_000
        ) from None
    except Lost:
        raise Refused(Code.CONFLICT, "Another request has gone on with this upload.") from None
    except TooLong:
        raise Refused(Code.TOO_LARGE, "These are more bytes than the upload has.") from None
    except (TooManyParts, WrongParts, NotStored):
        raise Refused(Code.GONE, "What was uploaded is not there any more; begin again.") from None
