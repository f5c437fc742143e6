"""What the contract suite needs of an implementation besides the store itself. A new implementation adds a class here."""

from __future__ import annotations

import asyncio
import contextlib
import functools
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import psycopg
from django.db import connections, transaction
from psycopg_pool import AsyncConnectionPool

from delivery.store import trace
from delivery.store.interface import Store
from delivery.store.postgres import PostgresStore
from delivery.store.sync import SyncStore
from tests.contract.idle import Idle
from tests.contract.people import T0, new_id
from tests.support.wire import Wire
from whatsapp.infra.needles import Needles
from whatsapp.infra.postgres import open_pool
from whatsapp.settings import databases


class Stored(NamedTuple):
    """An event as it is stored."""

    seq: int
    message_id: str
    content: bytes
    withheld: bool
    at: int
    until: int


class Announced(NamedTuple):
    """An outbox row that names a conversation: with this seq, and whether a watermark has passed it."""

    row: int
    seq: int
    done: bool


class ReceiptRow(NamedTuple):
    """What is stored of how far a member received, read and sent; ``times``: when, in whatever form."""

    delivered: int
    read: int
    sent: int
    times: tuple[int | None, ...]


class PostgresHarness:
    """PostgreSQL through the asynchronous pool; each gateway has a pool of its own."""

    #: Each call is its own transaction, not part of one of the caller's.
    ALONE = True
    #: A message id is unique over all conversations, whoever races it into two of them.
    ONE_KEY = True
    #: An append that happens behind its caller's back happens altogether.
    WHOLE = True

    def __init__(self, url: str) -> None:
        self.url = url
        self._closing = contextlib.AsyncExitStack()
        self._idle = Idle(url, self._closing)

    async def __aenter__(self) -> PostgresHarness:
        self.store = await self.gateway()
        return self

    async def __aexit__(self, *error: object) -> None:
        await self._closing.aclose()

    async def gateway(self, *, lock_ms: int = 5_000, size: int = 2) -> Store:
        """A store with connections of its own, as another process would have it."""
        pool = AsyncConnectionPool(
            self.url, min_size=1, max_size=size, open=False, kwargs={"autocommit": True}, timeout=10
        )
        await pool.open()
        self._closing.push_async_callback(pool.close)
        store = PostgresStore(pool, lock_ms)
        self._closing.push_async_callback(store.close)
        return store

    async def process(self, through: Wire | None = None, hot_url: str = "") -> Store:
        """A store as a process of the engine has it, with its waits and limits. ``through``: what stands before the server."""
        del hot_url
        pool = open_pool(through.url if through else self.url, low=1, high=4)
        await pool.open(wait=True)
        self._closing.push_async_callback(pool.close, timeout=2)
        return PostgresStore(pool)

    def looks_after(self, key: bytes) -> bool:
        """Whether the store takes this key of the hot node away some time after its last use, and no time to live does."""
        del key
        return False

    async def wire(self) -> Wire:
        return await Wire(self.url).start()

    async def sql(self, statement: str, *params: Any) -> list[tuple[Any, ...]]:
        return await self._idle.sql(statement, params)

    async def group(self, *members: str, created_at: int = T0) -> str:
        """A conversation of kind "group"; ``members`` joined at seq 1."""
        conversation = new_id()
        await self.sql(
            "INSERT INTO delivery_head (conversation, kind, created_at) VALUES (%s, 'group', %s)",
            conversation,
            created_at,
        )
        for member in members:
            await self.join(conversation, member, 1)
        return conversation

    async def join(self, conversation: str, user: str, seq: int) -> None:
        await self.sql(
            "INSERT INTO delivery_member (conversation, member, joined_seq) VALUES (%s, %s, %s)",
            conversation,
            user,
            seq,
        )

    async def join_all(self, conversation: str, users: Sequence[str], seq: int) -> None:
        """The same for many, in one step."""
        await self.sql(
            "INSERT INTO delivery_member (conversation, member, joined_seq) SELECT %s, unnest(%s::uuid[]), %s",
            conversation, list(users), seq,
        )  # fmt: skip

    async def outlive(self, before: int) -> None:
        """The server's own clock follows the test's: what ends by itself ends when it is older than ``before``."""

    async def leave(self, conversation: str, user: str, seq: int) -> None:
        await self.sql(
            "UPDATE delivery_member SET left_seq = %s WHERE conversation = %s AND member = %s AND left_seq = 0",
            seq,
            conversation,
            user,
        )

    async def let_speak(self, conversation: str, *users: str) -> None:
        """These members may send when only speakers may; without a name all of them."""
        await self.sql(
            "UPDATE delivery_member SET speaker = true WHERE conversation = %s AND (%s OR member = ANY (%s::uuid[]))",
            conversation, not users, list(users),
        )  # fmt: skip

    async def deadlocks(self) -> int:
        """How often the server had to end a deadlock."""
        statement = "SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()"
        return int((await self.sql(statement))[0][0])

    async def raise_floor(self, conversation: str, floor: int) -> None:
        """As if everything up to it had expired."""
        await self.sql("UPDATE delivery_head SET floor = %s WHERE conversation = %s", floor, conversation)
        await self.sql(
            "DELETE FROM delivery_event WHERE conversation = %s AND seq <= %s", conversation, floor
        )

    async def newest(self, writer: str) -> tuple[int | None, int | None]:
        """A writer's newest row of the outbox, and its highest watermark under whatever epoch."""
        ((row, done),) = await self.sql(
            """SELECT (SELECT max("row") FROM delivery_outbox WHERE writer = %s),
            (SELECT max("row") FROM delivery_progress WHERE writer = %s)""",
            writer,
            writer,
        )
        return row, done

    async def events(self, conversation: str) -> list[Stored]:
        """The rows of its log, in order."""
        rows = await self.sql(
            "SELECT seq, message_id::text, content, withheld, at, until FROM delivery_event WHERE conversation = %s ORDER BY seq",
            conversation,
        )
        return [
            Stored(seq, message_id, bytes(content or b""), bool(withheld), at, until or 0)
            for seq, message_id, content, withheld, at, until in rows
        ]

    async def announced(self, conversation: str) -> list[Announced]:
        """The outbox rows that name the conversation, the oldest first."""
        rows = await self.sql(
            """SELECT o."row", o.seqs[array_position(o.conversations, %s::uuid)],
            EXISTS (SELECT FROM delivery_progress p WHERE p.writer = o.writer AND p."row" >= o."row")
            FROM delivery_outbox o WHERE %s::uuid = ANY (o.conversations) ORDER BY o.at, o."row" """,
            conversation,
            conversation,
        )
        return [Announced(*row) for row in rows]

    async def receipts(self, conversation: str) -> dict[str, ReceiptRow]:
        """What is stored for each member."""
        rows = await self.sql(
            "SELECT member::text, delivered, read, sent, changed_at FROM delivery_receipt WHERE conversation = %s",
            conversation,
        )
        return {member: ReceiptRow(*row, (changed_at,)) for member, *row, changed_at in rows}

    async def received_at(self, conversation: str, at: int) -> None:
        """As if its members had received at this time what they have."""
        await self.sql(
            "UPDATE delivery_receipt SET delivered_at = %s WHERE conversation = %s", at, conversation
        )

    async def position(self, device: str, conversation: str) -> tuple[int, int]:
        """(acked, expired) of a linked device."""
        rows = await self.sql(
            "SELECT acked, expired FROM delivery_position WHERE device = %s AND conversation = %s",
            device,
            conversation,
        )
        return rows[0] if rows else (0, 0)  # type: ignore[return-value]

    async def age(self, conversation: str, ms: int, through: int = 2**62, only: int = 0) -> None:
        """Its events up to a seq, or only one, are this much older, and so end earlier."""
        await self.sql(
            "UPDATE delivery_event SET at = at - %s, until = until - %s WHERE conversation = %s AND seq BETWEEN %s AND %s",
            ms, ms, conversation, only or 1, only or through,
        )  # fmt: skip

    async def due(self, conversation: str, ms: int) -> None:
        """What vanishes of it is to be looked for this much earlier."""
        await self.sql("UPDATE delivery_vanishing SET at = at - %s WHERE conversation = %s", ms, conversation)

    async def search(self, needles: Needles[str]) -> list[tuple[str, str]]:
        """(table, kind) of what is found of an identifier, whatever table it is in."""
        rows = await self.sql(
            "SELECT relname FROM pg_class WHERE relkind = 'r' AND relname LIKE 'delivery%%'"
        )
        return [
            (table, kind)
            for (table,) in rows
            for (row,) in await self.sql(f"SELECT held::text FROM {table} held")
            for kind in needles.shown().every(row.encode())
        ]

    async def floor(self, conversation: str) -> int:
        """Everything up to it has expired."""
        ((floor,),) = await self.sql("SELECT floor FROM delivery_head WHERE conversation = %s", conversation)
        return int(floor)

    async def grow_up(self, users: Sequence[str], ms: int) -> None:
        """The devices of these users were linked this much earlier."""
        await self.sql(
            "UPDATE delivery_device SET linked_at = linked_at - %s WHERE member = ANY (%s::uuid[])",
            ms, list(users),
        )  # fmt: skip

    async def open_rows(self) -> int:
        """How many rows of the outbox no watermark has passed, of whatever writer."""
        ((count,),) = await self.sql(
            """SELECT count(*) FROM delivery_outbox o WHERE NOT EXISTS (
            SELECT FROM delivery_progress p WHERE p.writer = o.writer AND p."row" >= o."row")"""
        )
        return int(count)

    async def acked(self, device: str) -> list[int]:
        """What the device has acknowledged of whatever conversations, those of strangers too."""
        rows = await self.sql("SELECT acked FROM delivery_position WHERE device = %s", device)
        return [row[0] for row in rows]

    async def traced(self, question: str, *args: Any) -> Any:
        """The answer to a question of :mod:`delivery.store.trace`."""
        return await self.store._run(getattr(trace, question)(*args))

    async def contents(self, conversation: str) -> list[bytes]:
        """Everything that is stored of what its messages say: content, extra and envelopes of all of its events."""
        rows = await self.sql(
            "SELECT content, extra, envelopes FROM delivery_event WHERE conversation = %s", conversation
        )
        return [bytes(value) for row in rows for value in row if value is not None]

    async def enveloped(self, conversation: str) -> list[int]:
        """The seqs of its events that have envelopes."""
        rows = await self.sql(
            "SELECT seq FROM delivery_event WHERE conversation = %s AND envelopes IS NOT NULL ORDER BY seq",
            conversation,
        )
        return [row[0] for row in rows]

    async def mentions(self, conversation: str, *users: str) -> list[tuple[str, int]]:
        """(user, seq) of the mentions that are kept of these users."""
        return await self.sql(  # type: ignore[return-value]
            "SELECT member::text, seq FROM delivery_mention WHERE conversation = %s AND member = ANY (%s::uuid[]) ORDER BY 1, 2",
            conversation, list(users),
        )  # fmt: skip

    @contextlib.asynccontextmanager
    async def held(self, conversation: str) -> AsyncIterator[None]:
        """While this is open, another transaction holds the conversation."""
        async with await psycopg.AsyncConnection.connect(self.url) as connection:
            await connection.execute(
                "SELECT 1 FROM delivery_head WHERE conversation = %s FOR UPDATE", (conversation,)
            )
            yield
            with contextlib.suppress(psycopg.OperationalError):  # a test may have ended this connection too
                await connection.rollback()

    async def waiting(self, count: int = 1) -> None:
        """Return when ``count`` statements of this database wait for a lock."""
        statement = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
        async with asyncio.timeout(10):
            while (await self.sql(statement))[0][0] < count:  # the server tells nobody
                await asyncio.sleep(0.005)

    async def refuse(self) -> None:
        """What waits for :meth:`held` fails, and nothing of it happens."""
        await self.sql(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE datname = current_database() AND wait_event_type = 'Lock'"
        )

    async def disconnect(self) -> None:
        """End every other connection to the database, as a crash of the server would."""
        await self._idle.close()
        await self.sql(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )

    async def erase(self) -> None:
        """Empty the store."""
        tables = await self.sql(
            "SELECT relname::text FROM pg_class WHERE relkind = 'r' AND relname LIKE 'delivery\\_%%'"
        )
        await self.sql("; ".join(f"DELETE FROM {name}" for (name,) in tables))


class _Threaded:
    """A :class:`SyncStore` as a store with coroutines: each call is one transaction in a thread of its own."""

    def __init__(self, store: SyncStore, using: str) -> None:
        self._store = store
        self._using = using
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="django")

    def __getattr__(self, name: str) -> Callable[..., Any]:
        method = getattr(self._store, name)

        def within(*args: Any, **kwargs: Any) -> Any:
            with transaction.atomic(using=self._using):
                return method(*args, **kwargs)

        async def call(*args: Any, **kwargs: Any) -> Any:
            loop = asyncio.get_running_loop()
            return await loop.run_in_executor(self._thread, functools.partial(within, *args, **kwargs))

        return call

    async def close(self) -> None:
        loop = asyncio.get_running_loop()
        await loop.run_in_executor(self._thread, lambda: connections[self._using].close())
        self._thread.shutdown()


class DjangoHarness(PostgresHarness):
    """The same operations over Django's connection; each gateway is a thread."""

    ALONE = False
    _ALIAS = "contract"

    async def __aenter__(self) -> DjangoHarness:
        connections.settings[self._ALIAS] = {
            **connections.settings["default"],
            **databases.database(self.url, pool=False),
            "ATOMIC_REQUESTS": False,
        }
        self._closing.callback(connections.settings.pop, self._ALIAS)
        await super().__aenter__()
        return self

    async def gateway(self, *, lock_ms: int = 5_000, size: int = 2) -> Store:
        store = _Threaded(SyncStore(self._ALIAS, lock_ms), self._ALIAS)
        self._closing.push_async_callback(store.close)
        return store  # type: ignore[return-value]

    async def traced(self, question: str, *args: Any) -> Any:
        return await self.store.ask(getattr(trace, question)(*args))
