"""Uploads whose parts a client puts straight into the storage, each under a signed address that takes so many bytes and no more.

Nothing that the client says of them counts: what is there is asked of the storage, each time.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from dataclasses import dataclass

from accounts.errors import Refused
from accounts.models import Account
from media.models import Media, Upload
from media.services import uploads
from media.storage import names
from media.storage.interface import NotStored, Part, Storage, WrongParts
from media.uploads.receiver import free, media_type, metadata
from whatsapp.infra.limits import LIMITS
from whatsapp.wire.errors import Code

#: Numbers of parts that a refusal names.
_NAMED = 100


@dataclass(frozen=True, slots=True)
class Address:
    """Where a part is to be put. ``etag``: of the part that is there, "" while there is none of its size."""

    number: int
    url: str
    size: int  # bytes
    etag: str


@dataclass(frozen=True, slots=True)
class Addresses:
    """A page of them. ``more``: there are others behind it; ``until``: when they end, ms since the epoch."""

    parts: list[Address]
    more: bool
    until: int


def sizes(upload: Upload) -> list[int]:
    """Bytes of each part, of the first one first."""
    whole, rest = divmod(upload.length or 0, upload.part_size)
    return [upload.part_size] * whole + ([rest] if rest else [])


def begin(upload: Upload, storage: Storage) -> Upload:
    """The upload, begun in the storage, too. Raises ``StorageUnavailable``, :class:`uploads.Lost`."""
    if upload.token:
        return upload
    key = names.incoming(upload.pk)
    free()
    token = storage.begin(key, media_type(upload.media), metadata(upload.media), signed=True)
    named = uploads.known_as(upload, token)
    if named.token != token:
        storage.abort(key, token)
    return named


def addresses(upload: Upload, storage: Storage, *, after: int, limit: int, now: int) -> Addresses:
    """Those of the parts above ``after``, at most ``limit``. Raises ``StorageUnavailable``, ``NotStored``."""
    lengths = sizes(upload)
    numbers = range(after + 1, min(after + limit, len(lengths)) + 1)
    there = _there(upload, storage)
    # An address does not outlive its upload.
    until = min(now + LIMITS.media_signed_ms, upload.expires_at)
    seconds = max(1, (until - now) // 1000)
    key = names.incoming(upload.pk)
    parts = []
    for number in numbers:
        size = lengths[number - 1]
        url = storage.signed_part(key, upload.token, number, size, expires_s=seconds, now_ms=now)
        part = there.get(number)
        parts.append(Address(number, url, size, part.etag if part is not None and part.size == size else ""))
    return Addresses(parts, after + limit < len(lengths), until)


def complete(
    *, account: Account, media_id: uuid.UUID, told: Mapping[int, str], storage: Storage
) -> tuple[Media, bool]:
    """Make the parts that are there a file, if they are those that were told: ETags by number. The media, and whether this
    request did it. It may be repeated.

    Raises :class:`Refused`: those of :func:`uploads.find`, ``conflict`` with ``details.parts`` (not there, of another size or
    with another ETag; the first hundred), ``bad_request`` (there is no part of such a number); ``StorageUnavailable``,
    ``NotStored``, :class:`uploads.Lost`.
    """
    try:
        return _complete(account, media_id, told, storage), True
    except (Refused, NotStored, uploads.Lost):
        # Perhaps because another request did it, now or earlier.
        media = uploads.whole(account=account, media_id=media_id)
        if media is None:
            raise
        return media, False


def _complete(account: Account, media_id: uuid.UUID, told: Mapping[int, str], storage: Storage) -> Media:
    upload = uploads.find(account=account, media_id=media_id, presigned=True)
    lengths = sizes(upload)
    if any(number > len(lengths) for number in told):
        raise Refused(Code.BAD_REQUEST, f"This upload has {len(lengths)} parts.", details={"field": "parts"})
    if not upload.token:
        raise _missing(list(range(1, len(lengths) + 1)))  # the storage was away when it began
    there, known = {}, False
    try:
        there, known = _there(upload, storage), True
    except NotStored:
        pass
    if not there:
        # Perhaps they are one object already, and nobody heard of it: the storage knows the ETags of which.
        there = {
            n: Part(n, f'"{_bare(told[n])}"', size, "") for n, size in enumerate(lengths, 1) if n in told
        }
    parts = _verified(lengths, there, told)
    held = uploads.hold(account=account, media_id=media_id, offset=0, presigned=True)
    free()
    try:
        storage.complete(names.incoming(media_id), upload.token, parts)
    except (WrongParts, NotStored) as error:
        if isinstance(error, NotStored) and not known:
            raise
        raise _missing([]) from None  # none is there, or one was replaced at this moment
    return uploads.finish(uploads.moved(held, offset=upload.length))


def _verified(lengths: list[int], there: Mapping[int, Part], told: Mapping[int, str]) -> list[Part]:
    """All parts. Raises :class:`Refused`: some are missing, or are others than were told."""
    parts, wrong = [], []
    for number, size in enumerate(lengths, 1):
        part = there.get(number)
        if part is None or part.size != size or _bare(told.get(number, "")) != _bare(part.etag):
            wrong.append(number)
        else:
            parts.append(part)
    if wrong:
        raise _missing(wrong)
    return parts


def _there(upload: Upload, storage: Storage) -> dict[int, Part]:
    free()
    return {part.number: part for part in storage.list_parts(names.incoming(upload.pk), upload.token)}


def _bare(etag: str) -> str:
    return etag.strip('"')


def _missing(numbers: list[int]) -> Refused:
    return Refused(
        Code.CONFLICT,
        "Parts are missing, or others than were told are there; ask which.",
        details={"parts": numbers[:_NAMED]},
    )
