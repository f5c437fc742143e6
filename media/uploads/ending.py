"""Uploads that come to no end: given up by their owner, or too late. Nothing of them stays in the storage."""

from __future__ import annotations

import logging
import time
from typing import Final

from media.models import Upload
from media.services import uploads
from media.storage import names, storage
from media.storage.interface import StorageUnavailable
from media.uploads.receiver import tail_key
from whatsapp.infra.clock import now_ms

log = logging.getLogger(__name__)

#: How long one call deletes (seconds).
_LONGEST_S: Final = 300


def forget(upload: Upload) -> bool:
    """Delete what is stored of an upload. Whether it is gone; what is not, the storage's own sweep finds after a day."""
    key = names.incoming(upload.pk)
    try:
        if upload.token:
            storage().abort(key, upload.token)
        storage().delete([key, *([tail_key(upload.pk, upload.tail)] if upload.tail else [])])
    except StorageUnavailable as error:
        log.warning("an upload stays in the storage for a day: %s", type(error).__name__)
        return False
    return True


def sweep() -> int:
    """Delete the uploads that took too long. Returns how many. Ends after a few minutes; the next call goes on."""
    gone, end = 0, time.monotonic() + _LONGEST_S
    while time.monotonic() < end:
        due = uploads.overdue(now_ms())
        forgotten = [upload for upload in due if uploads.take_away(upload) and forget(upload)]
        for upload in forgotten:
            uploads.drop(upload)
        gone += len(forgotten)
        if not forgotten:
            break
    return gone
