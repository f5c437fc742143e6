"""Files that were made, into the storage: named by their content, so that the same content is there once."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Final

from media.models import Media, Rendition
from media.services import contents, work
from media.storage import names, storage
from media.storage.lifecycle import needs_renewal
from media.tools import renditions
from whatsapp.infra.clock import now_ms
from whatsapp.infra.limits import LIMITS

#: Addresses are signed and end; what they name never changes.
CACHE_CONTROL: Final = "private, max-age=31536000, immutable"
_EXTENSIONS: Final = {
    "image/webp": "webp", "image/jpeg": "jpg", "video/mp4": "mp4", "audio/ogg": "ogg", "application/pdf": "pdf",
}  # fmt: skip


def keep(media: Media, made: renditions.Rendition) -> None:
    """Store a file, unless a worker before this one did. Raises ``StorageUnavailable``, :class:`work.Lost`."""
    if Rendition.objects.filter(media=media, name=made.name).exists():
        return
    digest = digest_of(made.path)
    key = known(digest, made.name)
    if key is None:
        key = names.media(digest, made.name, _EXTENSIONS.get(made.media_type, "bin"), now_ms())
        storage().put(key, made.path, made.media_type, _about(media), CACHE_CONTROL)
    with contents.locked(key):
        work.add(media, Rendition(
            name=made.name, key=key, media_type=made.media_type, sha256=digest, size=made.size, width=made.width or 0,
            height=made.height or 0, duration_ms=made.duration_ms or 0,
        ))  # fmt: skip
        if not storage().exists(key):  # its last owner took it away in between
            storage().put(key, made.path, made.media_type, _about(media), CACHE_CONTROL)


def keep_original(media: Media, source: str, digest: str, media_type: str, size: int) -> None:
    """What was uploaded is what is sent: copied on the storage's side. Raises as :func:`keep`, and ``NotStored``."""
    if Rendition.objects.filter(media=media, name="full").exists():
        return
    key = known(digest, "full")
    if key is None:
        key = names.media(digest, "full", _EXTENSIONS.get(media_type, "bin"), now_ms())
        storage().copy(source, key, _about(media))
    with contents.locked(key):
        work.add(media, Rendition(name="full", key=key, media_type=media_type, sha256=digest, size=size))
        if not storage().exists(key):
            storage().copy(source, key, _about(media))


def known(digest: str, name: str) -> str | None:
    """The key under which this content is stored already, made young again if it would go before a message of today."""
    found = Rendition.objects.filter(sha256=digest, name=name).values_list("key", flat=True).first()
    if found is None or not storage().exists(found):
        return None
    if needs_renewal(storage().describe(found).modified_ms, now_ms(), LIMITS.retention_ms):
        storage().copy(found, found)
    return found


def digest_of(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _about(media: Media) -> dict[str, str]:
    return names.metadata(
        uploader=str(media.owner_id), conversation=str(media.conversation_id or ""), at_ms=media.created_at
    )
