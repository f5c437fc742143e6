"""A log that leaves PostgreSQL: how far it is on its way, what was copied, and the fence (``manage.py move_log``).

The state is one row. Until there is one, or while it says ``copying``, the log is here and everybody writes it. ``fenced``:
nobody does, for triggers on its tables refuse every write with :data:`FENCED_OUT`, whoever makes it; the rest is copied and
compared. ``compared``: the other store has all of it. ``moved``: the other store is the log. ``returning``: it still is, but
nobody may use it, because it is looked whether there is a way back. ``final``: there is none. The fence stands from ``fenced``
on; it costs nothing before.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any, Final, NamedTuple

import psycopg
from psycopg import errors as pg
from psycopg.conninfo import make_conninfo

from whatsapp.infra.postgres import KEEPALIVE, parameters

COPYING, FENCED, COMPARED, MOVED, RETURNING, FINAL = (
    "copying",
    "fenced",
    "compared",
    "moved",
    "returning",
    "final",
)

#: What the fence refuses a write with (SQLSTATE).
FENCED_OUT: Final = "55M01"
#: What the log is. Outbox and progress are not: what was stored before the fence may still be told.
TABLES: Final = (
    "delivery_head", "delivery_event", "delivery_direct", "delivery_member", "delivery_device", "delivery_position",
    "delivery_seqnum", "delivery_receipt", "delivery_withheld", "delivery_flags", "delivery_mention", "delivery_vanishing",
)  # fmt: skip
_LOCK: Final = 0x6D6F7665  # "move": of whoever runs the command
#: The fence waits so long (ms) for those who write just now, so often. Shorter than ``deadlock_timeout``: it is the fence that
#: gives way, never a writer. Every few times it waits longer: only from then on PostgreSQL ends an autovacuum that is in the way.
_WAIT_MS, _LONGER_MS, _EVERY, _TRIES = 700, 1_500, 5, 60

_STATE = "SELECT state, began_at, fenced_at, moved_at FROM delivery_move WHERE id = 1"
_BEGIN = "INSERT INTO delivery_move (id, state, began_at) VALUES (1, 'copying', %s) ON CONFLICT DO NOTHING"
_KNOWN = (
    "SELECT key::text, prints, compared FROM delivery_moved_copy WHERE kind = %s AND key = ANY (%s::uuid[])"
)
_SAVE = """INSERT INTO delivery_moved_copy (kind, key, prints, compared) VALUES (%s, %s::uuid, %s::jsonb, %s)
ON CONFLICT (kind, key) DO UPDATE SET prints = excluded.prints, compared = excluded.compared"""
_FORGET = "DELETE FROM delivery_moved_copy WHERE kind = %s AND key = ANY (%s::uuid[])"
_GONE = {
    "device": "SELECT key::text FROM delivery_moved_copy c WHERE kind = 'device' AND NOT EXISTS"
    " (SELECT FROM delivery_device d WHERE d.device = c.key)",
    "flags": "SELECT key::text FROM delivery_moved_copy c WHERE kind = 'flags' AND NOT EXISTS"
    " (SELECT FROM delivery_flags f WHERE f.member = c.key)",
}  # fmt: skip

# What has changed since it was copied, without reading what messages say: that changes with one of these, or becomes null.
_BUCKETS = """(SELECT coalesce(jsonb_object_agg(bucket, print), '{}') FROM (
    SELECT seq / 4096 AS bucket, count(*) || ':' || sum(hashtextextended(ROW(
        seq, message_id, kind, content IS NULL, extra IS NULL, envelopes IS NULL, edited, superseded, withheld, replaced, until
    )::text, 0)) AS print
    FROM delivery_event e WHERE e.conversation = asked.id GROUP BY 1) buckets)"""


def _row(table: str, key: str, order: str) -> str:
    return f"(SELECT string_agg(r::text, ',' ORDER BY {order}) FROM {table} r WHERE r.{key} = asked.id)"


_REST = {
    "conversation": [
        _row("delivery_head", "conversation", "conversation"),
        _row("delivery_member", "conversation", "member, joined_seq"),
        _row("delivery_withheld", "conversation", "member"),
        _row("delivery_receipt", "conversation", "member"),
        _row("delivery_mention", "conversation", "member, seq"),
    ],
    "device": [
        _row("delivery_device", "device", "device"),
        _row("delivery_position", "device", "conversation"),
        _row("delivery_seqnum", "device", "conversation"),
    ],
    "flags": [_row("delivery_flags", "member", "conversation")],
}
#: By kind: the prints of several of its keys.
PRINTS: Final = {
    kind: f"""SELECT asked.id::text, jsonb_build_object('rest', md5(concat_ws('|', {", ".join(parts)})),
        'log', {_BUCKETS if kind == "conversation" else "'{}'::jsonb"})
    FROM unnest(%(ids)s::uuid[]) AS asked(id)"""
    for kind, parts in _REST.items()
}

Prints = Mapping[str, Any]  # rest: of all but the log; log: bucket → of its rows


class Running(Exception):
    """Another process moves the log just now."""


class NotFenced(Exception):
    """Those who write did not let the fence through."""


class At(NamedTuple):
    """How far the log is; times in ms, 0: not yet."""

    state: str
    began_at: int = 0
    fenced_at: int = 0
    moved_at: int = 0

    @property
    def fenced(self) -> bool:
        return self.state in (FENCED, COMPARED, MOVED, RETURNING, FINAL)


def where(url: str) -> str:
    """What libpq is to be told, for connections whose statements may take long."""
    return make_conninfo(**{**parameters(url), "connect_timeout": 5, **KEEPALIVE})


async def connect(url: str) -> psycopg.AsyncConnection[Any]:
    """A connection for statements that are few and may take long."""
    return await psycopg.AsyncConnection.connect(where(url), prepare_threshold=None, autocommit=True)


class Ledger:
    """Opened by one process at a time."""

    def __init__(self, connection: psycopg.AsyncConnection[Any]) -> None:
        self._connection = connection

    @classmethod
    @asynccontextmanager
    async def open(cls, url: str) -> AsyncIterator[Ledger]:
        """Raises :class:`Running`, or ``psycopg.OperationalError``."""
        async with AsyncExitStack() as stack:
            # A transaction of its own: behind a pooler a session cannot hold a lock.
            lock = await stack.enter_async_context(await connect(url))
            await stack.enter_async_context(lock.transaction())
            await lock.execute("SET LOCAL idle_in_transaction_session_timeout = 0")
            cursor = await lock.execute("SELECT pg_try_advisory_xact_lock(%s)", (_LOCK,))
            if not (await cursor.fetchone() or [False])[0]:
                raise Running
            yield cls(await stack.enter_async_context(await connect(url)))

    async def _rows(self, sql: str, *params: Any) -> list[tuple[Any, ...]]:
        cursor = await self._connection.execute(sql, params)
        return await cursor.fetchall() if cursor.description else []

    async def at(self) -> At:
        rows = await self._rows(_STATE)
        return At(*rows[0]) if rows else At("")

    async def begin(self, now: int) -> None:
        await self._rows(_BEGIN, now)

    async def fence(self, now: int) -> None:
        """From when this returns on nobody writes the log, and what was written is committed. Raises :class:`NotFenced`."""
        for attempt in range(1, _TRIES + 1):
            wait = _WAIT_MS if attempt % _EVERY else _LONGER_MS
            try:
                async with self._connection.transaction():
                    await self._rows(f"SET LOCAL lock_timeout = {wait}")
                    await self._rows(f"LOCK TABLE {', '.join(TABLES)} IN SHARE ROW EXCLUSIVE MODE")
                    for table in TABLES:
                        await self._rows(f"DROP TRIGGER IF EXISTS delivery_moved ON {table}")
                        await self._rows(
                            f"CREATE TRIGGER delivery_moved BEFORE INSERT OR UPDATE OR DELETE ON {table}"
                            " FOR EACH STATEMENT EXECUTE FUNCTION delivery_moved_away()"
                        )
                    await self._rows(
                        "UPDATE delivery_move SET state = 'fenced', fenced_at = %s WHERE id = 1", now
                    )
                return
            except (pg.LockNotAvailable, pg.DeadlockDetected):
                continue
        raise NotFenced

    async def lift(self) -> None:
        """The log is here, and is written here."""
        async with self._connection.transaction():
            await self._lift()

    async def carry(self, write: Callable[[psycopg.AsyncConnection[Any]], Awaitable[None]]) -> None:
        """:meth:`lift` after the log was elsewhere; ``write`` writes what has become of it, in one transaction with it. What was
        copied counts for nothing any more."""
        async with self._connection.transaction():
            await self._lift()
            await write(self._connection)
            await self._rows("DELETE FROM delivery_moved_copy")

    async def _lift(self) -> None:
        for table in TABLES:
            await self._rows(f"DROP TRIGGER IF EXISTS delivery_moved ON {table}")
        await self._rows("UPDATE delivery_move SET state = 'copying', fenced_at = 0, moved_at = 0")

    async def compared(self) -> None:
        await self._rows("UPDATE delivery_move SET state = 'compared' WHERE id = 1")

    async def moved(self, now: int) -> None:
        await self._rows("UPDATE delivery_move SET state = 'moved', moved_at = %s WHERE id = 1", now)

    async def returning(self, on: bool) -> None:
        """Nobody may use the log that is elsewhere, or, not ``on``, everybody again."""
        await self._rows("UPDATE delivery_move SET state = %s WHERE id = 1", RETURNING if on else MOVED)

    async def finish(self) -> None:
        """No way back: the rows here go."""
        async with self._connection.transaction():
            await self._rows(f"TRUNCATE {', '.join((*TABLES, 'delivery_moved_copy'))}")
            await self._rows("UPDATE delivery_move SET state = 'final' WHERE id = 1")

    # -- what was copied

    async def known(self, kind: str, keys: Sequence[str]) -> dict[str, tuple[Prints, bool]]:
        """By key: the prints of what was copied, and whether it was read back since."""
        return {
            key: (prints, compared) for key, prints, compared in await self._rows(_KNOWN, kind, list(keys))
        }

    async def save(self, kind: str, copies: Mapping[str, Prints], *, compared: bool) -> None:
        async with self._connection.cursor() as cursor:
            await cursor.executemany(
                _SAVE, [(kind, key, json.dumps(prints), compared) for key, prints in copies.items()]
            )

    async def forget(self, kind: str, keys: Sequence[str]) -> None:
        """They are copied anew, whole."""
        await self._rows(_FORGET, kind, list(keys))

    async def gone(self, kind: str) -> list[str]:
        """Devices, or users with flags, that were copied and are no more."""
        return [key for (key,) in await self._rows(_GONE[kind])]
