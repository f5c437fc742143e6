"""What a log on PostgreSQL holds, read for another store (``manage.py move_log``): a snapshot a conversation, no locks."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any, Final, NamedTuple

import psycopg
from psycopg import IsolationLevel
from psycopg.rows import namedtuple_row

from delivery.store.moving import PRINTS, Prints, where
from whatsapp.infra.postgres import behind_pooler

#: Events that are read at once.
PAGE: Final = 2_000

Row = Any  # a named tuple of the columns


class Source:
    """A connection of its own. Ids come as text."""

    def __init__(self, connection: psycopg.AsyncConnection[Any]) -> None:
        self._connection = connection

    @classmethod
    @asynccontextmanager
    async def open(cls, url: str) -> AsyncIterator[Source]:
        async with await psycopg.AsyncConnection.connect(
            where(url), row_factory=namedtuple_row
        ) as connection:
            connection.prepare_threshold = None if behind_pooler() else 1
            await connection.set_isolation_level(IsolationLevel.REPEATABLE_READ)
            await connection.set_read_only(True)
            yield cls(connection)

    async def rows(self, sql: str, **params: Any) -> list[Row]:
        cursor = await self._connection.execute(sql, params)
        return await cursor.fetchall()

    @asynccontextmanager
    async def snapshot(self) -> AsyncIterator[None]:
        """Everything read inside is of one moment."""
        await self._connection.rollback()
        async with self._connection.transaction():
            yield

    async def prints(self, kind: str, keys: Sequence[str]) -> dict[str, Prints]:
        """By key what tells whether it has changed."""
        async with self.snapshot():
            return {row[0]: row[1] for row in await self.rows(PRINTS[kind], ids=list(keys))}

    async def keys(self, sql: str, after: str, limit: int = 1_000) -> list[str]:
        async with self.snapshot():
            return [row[0] for row in await self.rows(sql, after=after, limit=limit)]


NIL: Final = "00000000-0000-0000-0000-000000000000"
CONVERSATIONS: Final = """SELECT conversation::text FROM delivery_head WHERE conversation > %(after)s::uuid
ORDER BY conversation LIMIT %(limit)s"""
DEVICES: Final = (
    "SELECT device::text FROM delivery_device WHERE device > %(after)s::uuid ORDER BY device LIMIT %(limit)s"
)
FLAGGED: Final = """SELECT DISTINCT member::text FROM delivery_flags WHERE member > %(after)s::uuid
ORDER BY 1 LIMIT %(limit)s"""

_HEAD = """SELECT kind, created_at, head, ordinal, floor, floor_ordinal, oldest_at, timer, members, roster_seq, restricted
FROM delivery_head WHERE conversation = %(id)s::uuid"""
_MEMBERS = """SELECT member::text, joined_seq, left_seq, speaker, unaccepted FROM delivery_member
WHERE conversation = %(id)s::uuid ORDER BY member, joined_seq"""
_WITHHELD = """SELECT member::text, sender::text, active, timer, owed, through FROM delivery_withheld
WHERE conversation = %(id)s::uuid"""
_RECEIPTS = """SELECT member::text, delivered, read, sent, changed_at, delivered_at, shown_delivered, shown_read, shown_at
FROM delivery_receipt WHERE conversation = %(id)s::uuid"""
_MENTIONS = "SELECT member::text, seq FROM delivery_mention WHERE conversation = %(id)s::uuid"
_COLUMNS = """seq, ordinal, at, sent_at, seq_num, sender::text, device::text, message_id::text, kind, body_hash, content,
       extra, envelopes, target, edited, superseded, withheld, replaced, until"""
_EVENTS = f"""SELECT {_COLUMNS} FROM delivery_event
WHERE conversation = %(id)s::uuid AND seq > %(after)s AND seq <= %(last)s ORDER BY seq LIMIT %(limit)s"""
_ABOUT = f"""SELECT {_COLUMNS} FROM delivery_event WHERE conversation = %(id)s::uuid AND target = ANY (%(targets)s)
AND target IS NOT NULL AND superseded IS NULL ORDER BY seq"""


class Log(NamedTuple):
    """A conversation without its events."""

    head: Row
    members: list[Row]
    withheld: list[Row]
    receipts: list[Row]
    mentions: list[Row]


async def log(source: Source, conversation: str) -> Log | None:
    """None: there is none any more."""
    heads = await source.rows(_HEAD, id=conversation)
    if not heads:
        return None
    others = [await source.rows(sql, id=conversation) for sql in (_MEMBERS, _WITHHELD, _RECEIPTS, _MENTIONS)]
    return Log(heads[0], *others)


async def events(source: Source, conversation: str, first: int, last: int) -> AsyncIterator[list[Row]]:
    """Its events of ``first <= seq <= last``, ascending, some at a time."""
    after = first - 1
    while page := await source.rows(_EVENTS, id=conversation, after=after, last=last, limit=PAGE):
        yield page
        after = page[-1].seq


async def about(source: Source, conversation: str, targets: Sequence[int]) -> list[Row]:
    """The events in force about these messages."""
    return await source.rows(_ABOUT, id=conversation, targets=list(targets)) if targets else []


_DEVICE = "SELECT device::text, member::text, linked_at FROM delivery_device WHERE device = %(id)s::uuid"
_POSITIONS = "SELECT conversation::text, acked, expired FROM delivery_position WHERE device = %(id)s::uuid"
_SEQNUMS = "SELECT conversation::text, last FROM delivery_seqnum WHERE device = %(id)s::uuid"
_FLAGS = """SELECT conversation::text, muted_until, pinned, archived, draft, version, changed_at FROM delivery_flags
WHERE member = %(id)s::uuid"""


async def device(source: Source, id_: str) -> tuple[Row | None, list[Row], list[Row]]:
    """A linked device, its positions, its numbers."""
    found = await source.rows(_DEVICE, id=id_)
    return (
        found[0] if found else None,
        await source.rows(_POSITIONS, id=id_),
        await source.rows(_SEQNUMS, id=id_),
    )


async def flags(source: Source, member: str) -> list[Row]:
    return await source.rows(_FLAGS, id=member)
