"""An upload in the database: begun, held by one request at a time, moved on by each part that is durable, ended.

Nothing here touches the storage. All of it blocks, and runs in a thread (``media/uploads/threads.py``).
"""

from __future__ import annotations

import hashlib
import hmac
import uuid
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Final

from django.conf import settings
from django.db import IntegrityError, transaction

from accounts.errors import Refused
from accounts.limits import DAY_MS, limit_for
from accounts.models import Account
from accounts.residency import check_conversation, check_region
from delivery.ids import uuid7
from delivery.store.sync import store
from media.models import Media, Rendition, State, Upload
from media.services import quota
from media.storage import names
from whatsapp.infra.clock import now_ms
from whatsapp.infra.limits import LIMITS
from whatsapp.wire.errors import Code

#: The rendition that is what was uploaded.
ORIGINAL: Final = "original"
#: Of an upload, those given up among them: what S3 takes.
MAX_PARTS: Final = 10_000


@dataclass(frozen=True, slots=True)
class Told:
    """What a client says of a file. ``sha256`` (hexadecimal): of the bytes that it sends, "" if it does not say."""

    conversation_id: uuid.UUID
    kind: str
    encrypted: bool = False
    media_type: str = ""
    sha256: str = ""


@dataclass(frozen=True, slots=True)
class New:
    """A file that is to come. ``told`` None: what is in it stands behind it. ``length`` in bytes, None: nobody knows yet;
    ``charged``: bytes that count now, if not these."""

    told: Told | None
    length: int | None
    charged: int = 0
    #: ``X-Idempotency-Key``, "" without.
    key: str = ""
    metadata: str = ""
    #: Bytes of a part that the client puts into the storage itself; 0: its bytes come to us.
    part_size: int = 0


@dataclass(frozen=True, slots=True)
class Held:
    """An upload in the hands of one request: the row as that request knows it. :func:`advance` gives the next one."""

    media: Media
    holder: uuid.UUID
    length: int | None
    offset: int
    token: str
    parts: tuple[tuple[Any, ...], ...]
    next_part: int
    tail: int
    tail_size: int

    @property
    def whole(self) -> bool:
        return self.length is not None and self.offset == self.length


def begin(*, account: Account, new: New) -> tuple[Media, bool]:
    """A place for a file, and whether an earlier request of the same name made it.

    Raises :class:`Refused`: ``not_found`` (the conversation), ``too_large``, ``rate_limited``, ``limit_exceeded`` (too many
    begun), ``conflict`` (the name stands for another upload).
    """
    now = now_ms()
    name = _name(account, new.key)
    if name is not None and (known := _known(account, name, now)) is not None:
        return _same(known, new), True
    told = new.told
    if told is not None:
        _member(account, told.conversation_id)
        if new.length is not None:
            quota.check_length(told.kind, told.encrypted, new.length)
    most = limit_for(account, "media_open_uploads")
    if Upload.objects.filter(media__owner=account).count() >= most:
        raise Refused(
            Code.LIMIT_EXCEEDED, f"At most {most} uploads may be under way; end one first.",
            details={"limit": most},
        )  # fmt: skip
    media = Media(id=uuid.UUID(uuid7(now)), owner=account, size=new.length or 0, request=name, created_at=now)
    if told is not None:
        _describe(media, told)
    try:
        with transaction.atomic():
            quota.charge(account, new.charged or new.length or 0, now)
            media.save(force_insert=True)
            Upload.objects.create(
                media=media, length=new.length, metadata=new.metadata, part_size=new.part_size,
                expires_at=now + LIMITS.media_upload_ms,
            )  # fmt: skip
    except IntegrityError:
        # Another request of this name was faster; what this one counted is rolled back.
        found = _known(account, name, now) if name is not None else None
        if found is None:
            raise
        return _same(found, new), True
    return media, False


def _describe(media: Media, told: Told) -> None:
    media.conversation_id, media.kind, media.encrypted = told.conversation_id, told.kind, told.encrypted
    media.media_type, media.sha256 = told.media_type, told.sha256


def tell(*, account: Account, held: Held, told: Told, length: int) -> Held:
    """What a form says behind its file. Raises :class:`Refused`: ``not_found`` (the conversation), ``too_large``."""
    _member(account, told.conversation_id)
    quota.check_length(told.kind, told.encrypted, length)
    media = held.media
    _describe(media, told)
    media.save(update_fields=["conversation_id", "kind", "encrypted", "media_type", "sha256"])
    return advance(held, length=length)


def _name(account: Account, key: str) -> bytes | None:
    if not key:
        return None
    return hmac.digest(settings.SECRET_KEY.encode(), f"media:{account.pk}:{key}".encode(), hashlib.sha256)


def _known(account: Account, name: bytes, now: int) -> Media | None:
    """Names are forgotten after a day."""
    Media.objects.filter(owner=account, request=name, created_at__lte=now - DAY_MS).update(request=None)
    return Media.objects.filter(owner=account, request=name).first()


def _same(known: Media, new: New) -> Media:
    told = new.told
    if told is not None and known.kind:
        other = (known.conversation_id, known.kind, known.encrypted) != (
            told.conversation_id, told.kind, told.encrypted
        )  # fmt: skip
    else:
        other = False
    if new.length is not None and known.size and known.size != new.length:
        other = True
    if other or _another_way(known, presigned=bool(new.part_size)):
        raise Refused(Code.CONFLICT, "This X-Idempotency-Key was used for another upload.")
    return known


def _another_way(known: Media, *, presigned: bool) -> bool:
    """Whether the bytes of this upload come by the other of the two ways, and not all are here."""
    upload = Upload.objects.filter(media=known).first()
    return upload is not None and bool(upload.part_size) is not presigned


def _member(account: Account, conversation_id: uuid.UUID) -> None:
    """Raises :class:`Refused`: ``wrong_region``, ``not_found``."""
    _may_be_here(account, conversation_id)
    found = store.conversations([str(conversation_id)]).get(str(conversation_id))
    user = str(account.pk)
    if found is None or not any(place.user == user and not place.left for place in found.members):
        raise Refused(Code.NOT_FOUND, "There is no such conversation, or none that you are in.")


def _may_be_here(account: Account, conversation_id: uuid.UUID | None) -> None:
    """Raises :class:`Refused` (``wrong_region``) for bytes of whom, or for where, nothing may be kept here."""
    check_region(account.region)
    if conversation_id is not None:
        check_conversation(str(conversation_id))


def named(*, account: Account, key: str) -> Media | None:
    """What one's request of this name brought within a day. Raises :class:`Refused` (``conflict``: a presigned upload)."""
    name = _name(account, key)
    media = _known(account, name, now_ms()) if name is not None else None
    if media is not None and _another_way(media, presigned=False):
        raise Refused(Code.CONFLICT, "This X-Idempotency-Key was used for another upload.")
    return media


# -- a request that sends bytes ------------------------------------------------------------------------------------------------


class Lost(Exception):
    """Another request has the upload now, or it was deleted."""


def whole(*, account: Account, media_id: uuid.UUID) -> Media | None:
    """One's own upload that has all its bytes, whatever became of it since; None of one that has not."""
    open_or_gone = (State.UPLOADING, State.GONE)
    return Media.objects.filter(pk=media_id, owner=account).exclude(state__in=open_or_gone).first()


def find(*, account: Account, media_id: uuid.UUID, presigned: bool = False) -> Upload:
    """One's own upload that has no end yet. ``presigned``: one whose bytes do not come to us; the others are not found then, nor
    is such a one otherwise. Raises :class:`Refused`: ``not_found``, ``gone`` (deleted, or too late)."""
    upload = Upload.objects.select_related("media").filter(pk=media_id, media__owner=account).first()
    if upload is None or bool(upload.part_size) is not presigned:
        if Media.objects.filter(pk=media_id, owner=account, state=State.GONE).exists():
            raise Refused(Code.GONE, "This upload was deleted.")
        raise Refused(Code.NOT_FOUND, "There is no such upload, or none of yours.")
    if upload.expires_at <= now_ms():
        raise Refused(Code.GONE, "This upload took too long.")
    return upload


def hold(
    *, account: Account, media_id: uuid.UUID, offset: int, length: int | None = None, presigned: bool = False
) -> Held:
    """Take the upload away from whoever has it. ``length``: tells what was deferred.

    Raises :class:`Refused`: those of :func:`find`, ``wrong_region``, ``conflict`` with ``details.offset`` (bytes are missing or
    were sent before), ``bad_request`` (another length than before), ``too_large``, ``rate_limited``. Raises :class:`Lost`.
    """
    media = find(account=account, media_id=media_id, presigned=presigned).media
    _may_be_here(account, media.conversation_id)  # regions may be others since it was begun
    with transaction.atomic():
        upload = Upload.objects.select_for_update().select_related("media").filter(pk=media_id).first()
        if upload is None:
            raise Lost  # it has come to its end at this moment
        if upload.offset != offset:
            raise Refused(
                Code.CONFLICT, "This upload goes on somewhere else.", details={"offset": upload.offset}
            )
        if length is not None and length != upload.length:
            _tell_length(account, upload, length)
        if upload.holder is not None:
            upload.next_part += 1  # the one before may be writing this number
        upload.holder = uuid.uuid4()
        upload.save()
    return Held(
        upload.media, upload.holder, upload.length, upload.offset, upload.token,
        tuple(tuple(part) for part in upload.parts), upload.next_part, upload.tail, upload.tail_size,
    )  # fmt: skip


def _tell_length(account: Account, upload: Upload, length: int) -> None:
    if upload.length is not None:
        raise Refused(Code.BAD_REQUEST, "The length of this upload was told already.")
    if length < upload.offset:
        raise Refused(Code.BAD_REQUEST, "More bytes than this are here already.")
    quota.check_length(upload.media.kind, upload.media.encrypted, length)
    metered = sum(size for _, _, size, _ in upload.parts)  # by :func:`quota.meter`
    if length > metered:
        quota.charge(account, length - metered, now_ms())
    upload.length = length
    Media.objects.filter(pk=upload.pk).update(size=length)


def moved(held: Held, **changes: Any) -> Held:
    """The same upload further on, not yet written down."""
    return replace(held, **changes)


def advance(held: Held, **changes: Any) -> Held:
    """Write down what is durable: any fields of :class:`Held`. Raises :class:`Lost`."""
    further = moved(held, **changes)
    fields: dict[str, Any] = {name: getattr(further, name) for name in changes}
    if "parts" in fields:
        fields["parts"] = [list(part) for part in further.parts]
    if not Upload.objects.filter(pk=held.media.pk, holder=held.holder).update(**fields):
        raise Lost
    return further


def check_held(held: Held) -> None:
    """Raises :class:`Lost` if another request has the upload by now."""
    if not Upload.objects.filter(pk=held.media.pk, holder=held.holder).exists():
        raise Lost


def known_as(upload: Upload, token: str) -> Upload:
    """Write down what the storage calls a presigned upload; the upload as it is then: two requests may have begun it there, and
    the first one counts. Raises :class:`Lost`."""
    Upload.objects.filter(pk=upload.pk, token="").update(token=token)
    known = Upload.objects.select_related("media").filter(pk=upload.pk).first()
    if known is None:
        raise Lost
    return known


def let_go(held: Held) -> None:
    """Nothing of this request is on its way to the storage any more."""
    Upload.objects.filter(pk=held.media.pk, holder=held.holder).update(holder=None)


def finish(held: Held) -> Media:
    """All bytes are one object of the storage now. Raises :class:`Lost`."""
    media = held.media
    with transaction.atomic():
        upload = Upload.objects.select_for_update().filter(pk=media.pk, holder=held.holder).first()
        if upload is None:
            raise Lost
        media.state, media.size, media.stored_at = State.STORED, held.offset, now_ms()
        media.upload_metadata = upload.metadata
        media.save(update_fields=["state", "size", "stored_at", "upload_metadata"])
        upload.delete()
        Rendition.objects.create(
            media=media, name=ORIGINAL, key=names.incoming(media.pk), media_type=media.media_type, size=held.offset
        )  # fmt: skip
    return media


def terminate(*, account: Account, media_id: uuid.UUID, presigned: bool = False) -> Upload:
    """End an upload that its owner does not want any more; returns what is to be deleted from the storage. Raises those of
    :func:`find`, and ``unavailable``: it comes to its end at this moment."""
    upload = find(account=account, media_id=media_id, presigned=presigned)
    with transaction.atomic():
        if not Upload.objects.filter(pk=media_id).delete()[0]:
            # What is stored of it may be a whole file now, of which somebody was told.
            raise Refused(Code.UNAVAILABLE, "This upload ends just now; ask again.", retry_after_ms=1_000)
        Media.objects.filter(pk=media_id, state=State.UPLOADING).update(state=State.GONE, request=None)
    return upload


def abandon(media_id: uuid.UUID, forget: Callable[[Upload], bool]) -> None:
    """An upload that cannot go on leaves nothing behind, not even its name. ``forget``: deletes what is stored of it; what it
    could not delete stays with the row until :func:`overdue`."""
    upload = Upload.objects.filter(pk=media_id).first()
    if upload is None:
        return
    Media.objects.filter(pk=media_id).update(request=None)
    if forget(upload):
        Media.objects.filter(pk=media_id, state=State.UPLOADING).delete()
    else:
        Upload.objects.filter(pk=media_id).update(expires_at=now_ms())


def overdue(now: int, limit: int = 500) -> list[Upload]:
    """Uploads without an end in time."""
    return list(
        Upload.objects.select_related("media").filter(expires_at__lte=now).order_by("expires_at")[:limit]
    )


def take_away(upload: Upload) -> bool:
    """Of one that is overdue: no request that runs changes it any more, or says that it is whole. False: it has come to its end,
    and what is stored of it stays."""
    found = Upload.objects.filter(pk=upload.pk, expires_at=upload.expires_at)
    return bool(found.update(holder=uuid.uuid4()))


def drop(upload: Upload) -> None:
    """The same of an upload that is overdue, once the storage has nothing of it any more."""
    with transaction.atomic():
        if Upload.objects.filter(pk=upload.pk, expires_at=upload.expires_at).delete()[0]:
            Media.objects.filter(pk=upload.pk, state=State.UPLOADING).update(state=State.GONE, request=None)
