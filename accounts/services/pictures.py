"""Pictures that stand for somebody: accounts have photos, groups have icons.

A picture is looked at, made small and stored before anything is locked: nobody waits for it. Its row is there before its files
and goes after them, and its files have names that nobody else uses. So whatever is left behind by a crash, a refusal or a
storage that was away is an old row that nothing shows; :func:`drop_unused` finds it.
"""

from __future__ import annotations

import hashlib
import logging
from typing import Final, NamedTuple

from django.db import connection

from accounts import squares
from accounts.errors import Refused
from accounts.limits import HOUR_MS
from accounts.models import Picture
from whatsapp.infra import files
from whatsapp.infra.clock import now_ms
from whatsapp.wire.errors import Code

log = logging.getLogger(__name__)

#: Pixels of a side; a smaller picture stays as it is. Clients show it as a round of a few centimetres.
SIDE: Final = 640
THUMB_SIDE: Final = 150

#: No request lasts so long: a picture this old that nothing shows will never be shown.
_UNUSED_MS: Final = HOUR_MS
_BATCH: Final = 500

_SAID: Final = {
    "animated": (Code.UNSUPPORTED_MEDIA, "The picture moves; a still one is needed."),
    "infected": (Code.UNSUPPORTED_MEDIA, "The picture is harmful."),
    "pixels": (Code.TOO_LARGE, "The picture has too many pixels."),
}
_NO_PICTURE: Final = (Code.UNSUPPORTED_MEDIA, "This is no picture of the type that it is said to be.")


class Made(NamedTuple):
    """JPEGs: a square of at most :data:`SIDE` pixels, and one of :data:`THUMB_SIDE`."""

    full: bytes
    thumb: bytes

    @property
    def digest(self) -> str:
        return hashlib.sha256(self.full).hexdigest()[:32]


def make(data: bytes, media_type: str) -> Made:
    """The middle of an uploaded picture. Takes 0.1 to 0.5 s.

    Raises :class:`Refused`: ``unsupported_media``, ``too_large`` (pixels), both with ``details.reason``; ``unavailable``.
    """
    _let_go()
    try:
        return Made(*squares.make(data, media_type, (SIDE, THUMB_SIDE)))
    except squares.NoPicture as error:
        code, text = _SAID.get(error.reason, _NO_PICTURE)
        raise Refused(code, text, details={"reason": error.reason}) from None
    except squares.Unavailable:
        raise Refused(
            Code.UNAVAILABLE, "Pictures cannot be worked on just now; try again.", retry_after_ms=2_000
        ) from None


def store(picture: Picture, made: Made) -> None:
    """Write its files. Raises :class:`Refused` (``unavailable``); then the caller discards the picture."""
    _let_go()
    try:
        files.save(picture.names["full"], made.full)
        files.save(picture.names["thumb"], made.thumb)
    except files.FilesUnavailable:
        raise Refused(
            Code.UNAVAILABLE, "The picture could not be stored; try again.", retry_after_ms=2_000
        ) from None


def _let_go() -> None:
    """The connection goes back to the pool: a decoder, or a bucket, may take its time."""
    if not connection.in_atomic_block:
        connection.close()


def content(picture: Picture, size: str) -> bytes | None:
    """Its file, ``full`` or ``thumb``; None when it is gone: another one is shown now. Raises :class:`Refused`
    (``unavailable``)."""
    try:
        return files.read(picture.names[size])
    except FileNotFoundError:
        return None
    except files.FilesUnavailable:
        raise Refused(
            Code.UNAVAILABLE, "The picture cannot be read now; try again.", retry_after_ms=2_000
        ) from None


def discard(picture: Picture) -> bool:
    """Delete a picture that nothing shows. Whether it is gone; what is not, :func:`drop_unused` tries again."""
    try:
        for name in picture.names.values():
            files.delete(name)
        type(picture)._default_manager.filter(pk=picture.pk, shown_by=None).delete()
    except Exception as error:
        # Its caller has done what it was asked for.
        log.warning("a picture stays for a while: %s", type(error).__name__)
        return False
    return True


def drop_unused(kind: type[Picture]) -> int:
    """Delete the pictures of this kind that nothing has come to show, or that could not be deleted in time. Returns how many."""
    old = kind._default_manager.filter(shown_by=None, created_at__lt=now_ms() - _UNUSED_MS)
    return sum(discard(picture) for picture in old.order_by("created_at")[:_BATCH])
