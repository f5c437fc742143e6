"""Files that were made, into the storage: named by their content, so that the same content is there once."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Final

from media.models import Media, Rendition
from media.services import contents, work
from media.storage import NotStored, names, storage
from media.storage.lifecycle import needs_renewal
from media.tools import renditions
from media.tools.reasons import Late
from whatsapp.infra import faults
from whatsapp.infra.clock import now_ms
from whatsapp.infra.limits import LIMITS

#: Addresses are signed and end; what they name never changes.
CACHE_CONTROL: Final = "private, max-age=31536000, immutable"
_EXTENSIONS: Final = {
    "image/webp": "webp", "image/jpeg": "jpg", "video/mp4": "mp4", "audio/ogg": "ogg", "application/pdf": "pdf",
}  # fmt: skip


def keep(media: Media, made: renditions.Rendition) -> None:
    """Store a file, unless a worker before this one did. Raises ``StorageUnavailable``, :class:`work.Lost`."""
    if _is_kept(media, made.name):
        return
    rendition = Rendition(
        name=made.name, media_type=made.media_type, sha256=digest_of(made.path), size=made.size, width=made.width or 0,
        height=made.height or 0, duration_ms=made.duration_ms or 0,
    )  # fmt: skip

    def write(key: str) -> None:
        storage().put(key, made.path, made.media_type, contents.about(media, key), CACHE_CONTROL)

    _keep(media, rendition, write)


def keep_original(media: Media, source: str, digest: str, media_type: str, size: int, *, etag: str) -> None:
    """What was uploaded is what is sent: copied on the storage's side. ``etag``: of the bytes that were looked into and have
    this digest. Raises as :func:`keep`, and ``Late`` when others have taken their place."""
    if _is_kept(media, "full"):
        return
    rendition = Rendition(name="full", media_type=media_type, sha256=digest, size=size)

    def write(key: str) -> None:
        # A request that has lost its upload may still write, from a client that waits for this moment.
        same = "" if faults.off("same_bytes") else etag
        try:
            storage().copy(source, key, contents.about(media, key), etag=same)
        except NotStored:
            raise Late from None

    _keep(media, rendition, write)


def _is_kept(media: Media, name: str) -> bool:
    return Rendition.objects.filter(media=media, name=name).exists()


def _keep(media: Media, rendition: Rendition, write: Callable[[str], None]) -> None:
    """``write`` stores the bytes under a key."""
    digest, name = rendition.sha256, rendition.name
    key = known(digest, name)
    rendition.key = key or names.media(digest, name, _EXTENSIONS.get(rendition.media_type, "bin"), now_ms())
    work.beat(media)
    try:
        with contents.storing(media, name, rendition.key):
            if key is None or not storage().exists(key):  # its last owner took it away in between
                write(rendition.key)
            with contents.locked(rendition.key):
                work.add(media, rendition)
    except work.Lost:
        contents.let_go(rendition.key)
        raise


def known(digest: str, name: str) -> str | None:
    """The key under which this content is stored already, made young again if it would go before a message of today."""
    found = Rendition.objects.filter(sha256=digest, name=name).values_list("key", flat=True).first()
    if found is None or not storage().exists(found):
        return None
    if needs_renewal(storage().describe(found).modified_ms, now_ms(), LIMITS.retention_ms):
        with contents.locked(found):
            # Whoever took it away meanwhile did so for good: an object without a row would stay for a year.
            if not Rendition.objects.filter(key=found).exists():
                return None
            storage().copy(found, found)
    return found


def digest_of(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
