"""Bytes of one request on their way into the storage.

They are collected to parts, so a request holds one part in memory, whatever the file's size. After each part the row says how far
the upload is, and that is where a client goes on after a cut. What is too small for a part at the end of a request is kept as an
object of its own, the tail, and read back by the next request.
"""

from __future__ import annotations

import logging
import uuid
from dataclasses import astuple
from typing import Final

from django.db import connection

from media.models import Media
from media.services import quota, uploads
from media.services.uploads import Held
from media.storage import names
from media.storage.interface import MOST_PARTS, NotStored, Part, Storage
from whatsapp.infra import faults
from whatsapp.infra.limits import LIMITS

log = logging.getLogger(__name__)

#: Numbers of parts that an upload may have used for nothing before anybody looks.
_IN_VAIN: Final = 8
OCTETS: Final = "application/octet-stream"


class TooLong(Exception):
    """More bytes than the upload has."""


class TooManyParts(Exception):
    """It was interrupted thousands of times, or more bytes were stored in vain than it has."""


def tail_key(media_id: uuid.UUID, number: int) -> str:
    return f"{names.incoming(media_id)}.tail-{number}"


def media_type(media: Media) -> str:
    """What the storage is told that the bytes are."""
    return OCTETS if media.encrypted or not media.media_type else media.media_type


def metadata(media: Media) -> dict[str, str]:
    """What is written beside the bytes of an upload."""
    conversation = str(media.conversation_id) if media.conversation_id else ""
    return names.metadata(uploader=str(media.owner_id), conversation=conversation, at_ms=media.created_at)


def free() -> None:
    """The connection goes back to the pool, which is smaller than the number of uploads: a client may take its time, and so may a
    bucket."""
    if not connection.in_atomic_block:
        connection.close()


class Receiver:
    """Takes the bytes of the request that holds an upload. Blocks. Methods raise :class:`uploads.Lost`, ``StorageUnavailable``
    and errors of the database; then the request ends, and what the row says is there.

    ``commit``: False leaves the row where it is until :meth:`close`: a checksum decides about all bytes of the request.
    ``counted``: its bytes are, although their number is not known yet.
    """

    def __init__(self, held: Held, storage: Storage, *, commit: bool = True, counted: bool = False) -> None:
        self._row = held  # as it stands in the database
        self._held = held  # as it is in the storage
        self._storage = storage
        self._commit = commit
        self._metered = held.length is None and not counted
        self._most = quota.most(held.media.kind, held.media.encrypted) if held.length is None else held.length
        self._buffer = bytearray()
        self._read_tail = 0
        self.received = held.offset
        """Bytes of the upload that have come, durable or not."""

    @property
    def offset(self) -> int:
        """Bytes of the upload that are durable, and said to be."""
        return self._row.offset

    @property
    def held(self) -> Held:
        """The upload as the storage has it."""
        return self._held

    def tell(self, held: Held) -> None:
        """More is known of the upload than when it began, and is written down: how long it is."""
        self._row = self._held = held

    def open(self) -> None:
        """Read back what was too small for a part. Raises :class:`TooManyParts`."""
        free()
        if self._held.length is not None and not faults.off(
            "in_vain"
        ):  # of no known length, each part counts
            self._check_in_vain()
        if self._held.tail:
            self._buffer += self._storage.read(tail_key(self._held.media.pk, self._held.tail))
            self._read_tail = self._held.tail

    def feed(self, data: bytes) -> None:
        """Take the next bytes; no connection of the database is held then. Raises :class:`TooLong` and :class:`TooManyParts`,
        too."""
        if self.received + len(data) > self._most:
            raise TooLong
        self.received += len(data)
        self._buffer += data
        size = LIMITS.media_part_bytes
        while len(self._buffer) >= size:
            with memoryview(self._buffer) as view:
                part = bytes(view[:size])
            del self._buffer[:size]
            self._store(part)
            free()

    def close(self) -> Media | None:
        """The request has no more bytes, by its end or by a cut. Returns the media when it is whole."""
        if self._held.length is not None and self.received == self._held.length:
            return self._finish()
        self._keep_tail()
        self._write_down()
        uploads.let_go(self._row)
        self._drop_tail(unless=self._row.tail)
        return None

    def forget(self) -> None:
        """Nothing of this request counts: its checksum was wrong."""
        uploads.let_go(self._row)

    def _check_in_vain(self) -> None:
        """Parts of requests whose checksum was wrong, or that lost the upload, stay stored until it ends, and nobody counts
        them."""
        held = self._held
        if not held.token or held.next_part - len(held.parts) <= _IN_VAIN:
            return
        try:
            there = self._storage.list_parts(names.incoming(held.media.pk), held.token)
        except NotStored:
            return  # it is one object already
        in_vain = sum(part.size for part in there) - sum(size for _, _, size, _ in held.parts)
        if in_vain > max(held.length or 0, _IN_VAIN * LIMITS.media_part_bytes):
            raise TooManyParts

    # -- inside --------------------------------------------------------------------------------------------------------------

    def _store(self, data: bytes) -> None:
        """One part, then the row."""
        held, media = self._held, self._held.media
        if held.next_part > MOST_PARTS:
            raise TooManyParts
        key, token = names.incoming(media.pk), held.token
        if not token:
            token = self._storage.begin(key, media_type(media), metadata(media))
            # Before the first part: an upload of the storage that no row names is found only after a day.
            self._row = uploads.advance(self._row, token=token)
            free()
        if self._metered:
            quota.meter(media, len(data))
            free()
        part = self._storage.part(key, token, held.next_part, data)
        parts = (*held.parts, astuple(part))
        self._held = uploads.moved(
            held, token=token, parts=parts, next_part=held.next_part + 1, offset=sum(size for _, _, size, _ in parts),
            tail=0, tail_size=0,
        )  # fmt: skip
        if self._commit:
            self._write_down()
        else:
            # The number is used, whatever becomes of the part: another one of this number would replace it.
            self._row = uploads.advance(self._row, next_part=self._held.next_part)

    def _keep_tail(self) -> None:
        held = self._held
        if not self._buffer or self.received == held.offset:
            return
        number, data = held.next_part, bytes(self._buffer)
        if number > MOST_PARTS:  # a byte at a time, each of which reads and writes up to a part
            raise TooManyParts
        self._storage.put(tail_key(held.media.pk, number), data, OCTETS)
        self._held = uploads.moved(
            held, offset=self.received, tail=number, tail_size=len(data), next_part=number + 1
        )

    def _write_down(self) -> None:
        held, row = self._held, self._row
        fields = ("parts", "next_part", "offset", "tail", "tail_size")
        changes = {name: getattr(held, name) for name in fields if getattr(held, name) != getattr(row, name)}
        if changes:
            self._row = uploads.advance(row, **changes)

    def _finish(self) -> Media:
        key = names.incoming(self._held.media.pk)
        if not faults.off("still_held"):
            # Another one may have stored the file, and somebody may be at work on it.
            uploads.check_held(self._row)
            free()
        if not self._held.parts:
            whose = self._held.media
            self._storage.put(key, bytes(self._buffer), media_type(whose), metadata(whose))
        else:
            if self._buffer:
                self._store(bytes(self._buffer))
                self._buffer.clear()
            self._storage.complete(key, self._held.token, [Part(*part) for part in self._held.parts])
        media = uploads.finish(uploads.moved(self._held, offset=self.received))
        self._drop_tail(unless=0)
        return media

    def _drop_tail(self, unless: int) -> None:
        if self._read_tail and self._read_tail != unless:
            try:
                self._storage.delete([tail_key(self._held.media.pk, self._read_tail)])
            except Exception as error:
                log.warning("a tail stays for a day: %s", type(error).__name__)
