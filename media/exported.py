"""What a person has uploaded, for that person: a list, and the files themselves up to a number of bytes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from accounts.archives import ArchivesUnavailable
from accounts.export_rows import lines
from accounts.stores import Part, Person
from media.models import Media, Rendition
from media.storage import NotStored, StorageUnavailable, storage
from whatsapp.infra.limits import LIMITS


def parts(person: Person) -> Iterator[Part]:
    yield lines("media/uploads.jsonl", _uploads(person.user_id))
    left = LIMITS.export_files_bytes
    for media_id, key, size in _files(person.user_id):
        if size <= left:
            left -= size
            yield Part(f"media/files/{media_id}", _bytes(key))


def _files(user: str) -> Iterator[tuple[Any, str, int]]:
    """The largest form of each upload. Names that begin with ~ are of files that are being written."""
    rows = Rendition.objects.filter(media__owner=user, name__in=("original", "full")).order_by(
        "-media__created_at", "media_id", "name"
    )
    seen = None
    for media_id, key, size in rows.values_list("media_id", "key", "size").iterator(1_000):
        if media_id != seen:
            seen = media_id
            yield media_id, key, size


def _bytes(key: str) -> Iterator[bytes]:
    try:
        yield from storage().stream(key)
    except NotStored:
        return  # it went meanwhile
    except StorageUnavailable as error:
        raise ArchivesUnavailable from error


def _uploads(user: str) -> Iterator[dict[str, Any]]:
    for one in Media.objects.filter(owner=user).order_by("-created_at").iterator(1_000):
        yield {
            "mediaId": one.pk,
            "conversationId": one.conversation_id,
            "kind": one.kind,
            "mediaType": one.media_type,
            "encrypted": one.encrypted,
            "size": one.size,
            "sha256": one.sha256,
            "state": one.state,
            "createdAt": one.created_at,
        }
