"""The way back from this store to the log that it was copied from, while nothing that counts has happened here.

What was acknowledged, received, read or set here since is written over there; a message, a change of members or of devices cannot
be, and then there is no way back.
"""

from __future__ import annotations

from typing import Any, Final

import psycopg

from delivery.store import move
from delivery.store.cassandra import flags, receipts
from delivery.store.cassandra.document import Document, unpack
from delivery.store.cassandra.moved import KEPT, document_of
from delivery.store.cassandra.positions import stored
from delivery.store.cassandra.session import Cassandra
from delivery.store.move import Source

#: What the age of messages or the opening of a session changes, which the other side does by itself.
_OWN: Final = (*KEPT, "day", "lasts", "floor", "floor_ordinal", "oldest_at", "shown")
_PAGE: Final = 32
_READ: Final = "SELECT conversation, document FROM $.conversation WHERE conversation IN ?"

_ACKED = """INSERT INTO delivery_position (device, conversation, acked, expired) VALUES (%s, %s, %s, %s)
ON CONFLICT (device, conversation) DO UPDATE SET acked = greatest(delivery_position.acked, excluded.acked),
    expired = greatest(delivery_position.expired, excluded.expired)"""
_RECEIVED = """INSERT INTO delivery_receipt (conversation, member, delivered, read, sent, changed_at, delivered_at)
VALUES (%s, %s, %s, %s, %s, %s, %s) ON CONFLICT (conversation, member) DO UPDATE SET
    delivered = greatest(delivery_receipt.delivered, excluded.delivered),
    read = greatest(delivery_receipt.read, excluded.read), sent = greatest(delivery_receipt.sent, excluded.sent),
    changed_at = greatest(delivery_receipt.changed_at, excluded.changed_at),
    delivered_at = greatest(delivery_receipt.delivered_at, excluded.delivered_at)"""
_SET = """INSERT INTO delivery_flags (member, conversation, muted_until, pinned, archived, draft, version, changed_at)
VALUES (%s, %s, %s, %s, %s, %s, %s, %s) ON CONFLICT (member, conversation) DO UPDATE SET
    muted_until = excluded.muted_until, pinned = excluded.pinned, archived = excluded.archived, draft = excluded.draft,
    version = excluded.version, changed_at = excluded.changed_at WHERE excluded.version > delivery_flags.version"""


class WayBack:
    """From ``db`` to the log that ``source`` reads."""

    def __init__(self, db: Cassandra, source: Source) -> None:
        self._db, self._source = db, source

    async def obstacles(self) -> list[str]:
        """Conversations and devices that are not what they were when the log came here."""
        found = []
        ids = [row[0] for row in await self._db.rows("SELECT conversation FROM $.conversation")]
        for first in range(0, len(ids), _PAGE):
            # As they stand, not by Documents: one with a copy on the hot node was written here, whatever the copy says.
            for conversation, stored_as in await self._db.rows(_READ, ids[first : first + _PAGE]):
                document = unpack(stored_as)
                async with self._source.snapshot():
                    log = await move.log(self._source, conversation)
                if log is None or self._went_on(document, document_of(log, document.stamp)):
                    found.append(conversation)
        here = {tuple(row) for row in await self._db.rows("SELECT member, device FROM $.device")}
        async with self._source.snapshot():
            there = {
                (row.member, row.device)
                for row in await self._source.rows(
                    "SELECT member::text AS member, device::text AS device FROM delivery_device"
                )
            }
        return found + sorted(device for _, device in here ^ there)

    async def waiting(self) -> int:
        """Changes of services that were made here and not told to the log: nobody would tell them to the one over there."""
        async with self._source.snapshot():
            (row,) = await self._source.rows("SELECT count(*) AS number FROM delivery_pending")
        return int(row.number)

    @staticmethod
    def _went_on(here: Document, there: Document) -> bool:
        names = [name for name in Document.__struct_fields__ if name not in _OWN]
        return any(getattr(here, name) != getattr(there, name) for name in names)

    async def carry(self, connection: psycopg.AsyncConnection[Any]) -> None:
        """Write over there what only rises, and flags that are newer here. May be repeated; the fence must be open."""
        for device, link in await self._db.rows("SELECT device, link FROM $.device"):
            for conversation, (acked, expired) in (await stored(self._db, device, link)).items():
                await connection.execute(_ACKED, (device, conversation, acked, expired))
        ids = [row[0] for row in await self._db.rows("SELECT conversation FROM $.conversation")]
        for first in range(0, len(ids), _PAGE):
            marks = await receipts.marks(self._db, ids[first : first + _PAGE])
            for conversation, users in marks.items():
                for one in users.values():
                    await connection.execute(_RECEIVED, (conversation, *one))
        for (user,) in await self._db.rows("SELECT DISTINCT member FROM $.flags"):
            for conversation, own in (await flags.all_of(self._db, user)).items():
                await connection.execute(_SET, (user, conversation, *own))
