"""The small picture of an end-to-end encrypted file, encrypted by its client: opaque bytes that are kept beside the file."""

from __future__ import annotations

import hashlib
import secrets
import uuid
from contextlib import suppress
from typing import Final

from accounts.errors import Refused
from accounts.models import Account
from media import selectors
from media.models import Media, Rendition, State
from media.pipeline.keeping import CACHE_CONTROL, known
from media.services import contents
from media.services.quota import charge
from media.storage import StorageUnavailable, names, storage
from media.tools.renditions import Name
from whatsapp.infra.clock import now_ms
from whatsapp.wire.errors import Code

MEDIA_TYPE: Final = "application/octet-stream"


def put(*, account: Account, media_id: uuid.UUID, data: bytes) -> Media:
    """Keep ``data`` as the small picture of one's own encrypted file, before or after its bytes have come. The same bytes again
    change nothing and count nothing; others take its place. Raises :class:`Refused` (``not_found``, ``gone``,
    ``unsupported_media``, ``bad_request``, ``rate_limited``) and ``StorageUnavailable``."""
    media = _checked(selectors.own(account=account, media_id=media_id))
    digest = hashlib.sha256(data).hexdigest()
    before = Rendition.objects.filter(media=media, name=Name.THUMB).first()
    if before is not None and before.sha256 == digest:
        return media
    charge(account, len(data), now_ms())
    found = known(digest, Name.THUMB)
    key = found or names.media(digest, Name.THUMB, "bin", now_ms())
    made = Rendition(
        media=media, name=Name.THUMB, key=key, media_type=MEDIA_TYPE, sha256=digest, size=len(data)
    )

    # A row of its own names the object before it is there: what a killed process leaves goes with the file.
    note = contents.note(media, _unnamed(), key)
    try:
        if found is None or not storage().exists(key):  # its last owner took it away in between
            storage().put(key, data, MEDIA_TYPE, contents.about(media, key), CACHE_CONTROL)
        replaced = _replace(made)
        if replaced is not None:
            _drop(replaced)
    finally:
        # Last, and with the object if that is nobody's: whoever has replaced it meanwhile has left it because of this row.
        _drop(note)
    return media


def _drop(row: Rendition) -> None:
    with suppress(StorageUnavailable):  # it stays, and goes with the file
        contents.drop_file(row)


def _replace(made: Rendition) -> Rendition | None:
    """The one before has another name now, and is to be dropped."""
    with contents.locked(made.key):
        _checked(Media.objects.select_for_update().get(pk=made.media_id))
        before = Rendition.objects.filter(media=made.media_id, name=Name.THUMB).first()
        if before is not None:
            before.name = _unnamed()
            before.save(update_fields=["name"])
        made.save(force_insert=True)
    return before


def _unnamed() -> str:
    """The name of a row that only keeps its object known."""
    return f"~{Name.THUMB}{secrets.token_hex(4)}"


def _checked(media: Media) -> Media:
    if media.state == State.GONE:
        raise Refused(Code.GONE, "This was deleted.")
    if media.state == State.REFUSED:
        raise Refused(
            Code.UNSUPPORTED_MEDIA, f"This was refused: {media.reason}.", details={"reason": media.reason}
        )
    if not media.encrypted:
        raise Refused(Code.BAD_REQUEST, "Of what is not encrypted the server makes the small picture itself.")
    return media
