"""The contract suite's harness of the store on Cassandra."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from collections.abc import AsyncIterator, Sequence
from typing import Any

from delivery.store.cassandra import search
from delivery.store.cassandra.copied import HotDocuments
from delivery.store.cassandra.copies import Copies
from delivery.store.cassandra.document import Document
from delivery.store.cassandra.documents import Documents
from delivery.store.cassandra.leases import Leases
from delivery.store.cassandra.positions import acked as _acked
from delivery.store.cassandra.positions import expired as _expired
from delivery.store.cassandra.session import Cassandra, Row, Statement
from delivery.store.cassandra.store import CassandraStore
from delivery.store.interface import Store, Unavailable
from tests.cassandra.hotnode import hot
from tests.contract.harness import Announced, ReceiptRow, Stored
from tests.contract.people import T0, answered, new_id
from tests.support.wire import Wire
from whatsapp.infra.hot import Hot
from whatsapp.infra.needles import Needles

#: Those of the first numbers of a conversation, and all of the table of writers.
_BUCKETS, _PARTS = list(range(3)), list(range(16))


class _Held(Cassandra):
    """A session whose conditional writes may be held up on their way to the server (:meth:`CassandraHarness.held`), at most
    as long as a request waits for its answer. When its wire is cut meanwhile, the request is on the far side of it: whoever
    sent it hears that it failed, and it happens once it is free."""

    harness: CassandraHarness
    lock_ms: int
    through: Wire | None

    async def swap(self, cql: str, *params: Any) -> tuple[bool, Row | None]:
        for one in params:
            if isinstance(one, str) and one in self.harness._held:
                await self._wait(self.harness._held[one], cql, params)
        return await super().swap(cql, *params)

    async def _wait(self, freed: asyncio.Event, cql: str, params: Sequence[Any]) -> None:
        waiter = _Waiter(freed, asyncio.get_running_loop().create_future())
        self.harness._waiters.append(waiter)
        if self.through is not None:
            self.through.on_cut.append(lambda: self._cut(waiter, cql, params))
        try:
            async with asyncio.timeout(self.lock_ms / 1000):
                await waiter.answer
        except TimeoutError:
            raise Unavailable("held") from None
        finally:
            self.harness._waiters.remove(waiter)

    def _cut(self, waiter: _Waiter, cql: str, params: Sequence[Any]) -> None:
        async def late() -> None:
            await waiter.freed.wait()
            await Cassandra.swap(self.harness.db, cql, *params)

        if not waiter.answer.done():
            waiter.answer.set_exception(Unavailable("the connection was cut"))
            self.harness._late.append(asyncio.get_running_loop().create_task(late()))


class _Ours(_Held):
    """The harness's own session. What it reads and writes may be repeated, and is until there is an answer."""

    async def rows(self, cql: str, *params: Any, serial: bool = False) -> list[Row]:
        return await answered(lambda: Cassandra.rows(self, cql, *params, serial=serial))

    async def run(self, cql: str, *params: Any) -> None:
        await answered(lambda: Cassandra.run(self, cql, *params))

    async def batch(self, statements: Sequence[Statement], *, logged: bool = False) -> None:
        await answered(lambda: Cassandra.batch(self, statements, logged=logged))


class _Waiter:
    """A conditional write that is held up."""

    def __init__(self, freed: asyncio.Event, answer: asyncio.Future[None]) -> None:
        self.freed = freed
        self.answer = answer


class CassandraHarness:
    """Each gateway has a session of its own, as another process would. ``hot_url``: of a Valkey on which it makes copies of state
    documents, from the first append of a conversation on; empty: every number is given out by a conditional write."""

    ALONE = True
    ONE_KEY = False
    #: The number is given out, the rows are written by the retry.
    WHOLE = False

    def __init__(
        self,
        at: tuple[str, int, str],
        hot_url: str = "",
        *,
        since: int = T0,
        eager: bool = True,
        **credentials: str | None,
    ) -> None:
        """``since``: time of the first change of members that is made here and not by the store, ms. ``eager``: else a copy is
        made by the second append, as usual."""
        self._at = at
        self._hot_url = hot_url
        self._eager = eager
        self._credentials = credentials
        self._stamp = itertools.count(since * 1000)
        self._closing = contextlib.AsyncExitStack()
        self._held: dict[str, asyncio.Event] = {}
        self._waiters: list[_Waiter] = []
        self._late: list[asyncio.Task[None]] = []

    async def __aenter__(self) -> CassandraHarness:
        self.db = await self._session(of=_Ours)
        self.documents = await self._documents()
        self.store = await self.gateway()
        return self

    async def use_copies(self, hot_url: str) -> None:
        """From now on stores that are made here make copies of state documents there."""
        self._hot_url = hot_url
        self.documents = await self._documents()

    async def _documents(self) -> Documents:
        there = await self._hot()
        if there is None:
            return Documents(self.db)
        return Documents(self.db, HotDocuments(self.db, Leases(self.db, there), Copies(there)))

    async def __aexit__(self, *error: object) -> None:
        await asyncio.gather(*self._late)
        await self._closing.aclose()

    async def _session(
        self, lock_ms: int = 5_000, through: Wire | None = None, of: type[_Held] = _Held
    ) -> Cassandra:
        host, port, keyspace = self._at
        host, port = through.address if through else (host, port)
        session = of([host], keyspace, port=port, **self._credentials)
        await answered(session.open)
        session.harness, session.lock_ms, session.through = self, lock_ms, through
        self._closing.push_async_callback(session.close)
        return session

    async def process(self, through: Wire | None = None, hot_url: str = "") -> Store:
        """A store as a process of the engine has it, with its waits and limits. ``through``: what stands before the server;
        ``hot_url``: how it reaches the hot node, if there are copies at all."""
        there = await self._hot(hot_url)
        return CassandraStore(await self._session(3_000, through), hot=there, eager=self._eager)

    def looks_after(self, key: bytes) -> bool:
        """A copy of a document: ``delivery/store/cassandra/leftovers.py``."""
        return key.startswith(b"document:{")

    async def wire(self) -> Wire:
        host, port, _ = self._at
        return await Wire(f"cql://{host}:{port}").start()

    async def gateway(self, *, lock_ms: int = 5_000, size: int = 2) -> Store:
        del size
        return CassandraStore(await self._session(lock_ms), lock_ms, await self._hot(), eager=self._eager)

    async def _hot(self, url: str = "") -> Hot | None:
        return await hot(url or self._hot_url, self._closing) if self._hot_url else None

    # -- groups, without the events that change them

    async def group(self, *members: str, created_at: int = T0) -> str:
        conversation = new_id()
        assert await self.documents.create(conversation, Document("group", created_at))
        for member in members:
            await self.join(conversation, member, 1)
        return conversation

    async def join(self, conversation: str, user: str, seq: int) -> None:
        stamp = next(self._stamp)
        await self.db.run(
            "INSERT INTO $.member (conversation, member, joined_seq, left_seq, speaker) VALUES (?, ?, ?, 0, false)"
            " USING TIMESTAMP ?",
            conversation, user, seq, stamp,
        )  # fmt: skip
        await self.db.run(
            "INSERT INTO $.roster (member, conversation, joined_seq, left_seq, kind) VALUES (?, ?, ?, 0, 'group')"
            " USING TIMESTAMP ?",
            user, conversation, seq, stamp,
        )  # fmt: skip

    async def join_all(self, conversation: str, users: Sequence[str], seq: int) -> None:
        """The same for many, some side by side."""
        for at in range(0, len(users), 32):
            await asyncio.gather(*(self.join(conversation, user, seq) for user in users[at : at + 32]))

    async def outlive(self, before: int) -> None:
        """Rows by message id have a time to live, and the server's clock is not the test's."""
        rows = await self.db.rows("SELECT message_id, sender, at, WRITETIME(at) FROM $.message")
        for message_id, sender, at, written in rows:
            if at is not None and at < before:
                await self.db.run(
                    "DELETE FROM $.message USING TIMESTAMP ? WHERE message_id = ? AND sender = ?",
                    written, message_id, sender,
                )  # fmt: skip

    async def leave(self, conversation: str, user: str, seq: int) -> None:
        stamp = next(self._stamp)
        for table in ("member", "roster"):
            rows = await self.db.rows(
                f"SELECT joined_seq, left_seq FROM $.{table} WHERE conversation = ? AND member = ?",
                *((conversation, user)),
            )
            for joined, left in rows:
                if not left:
                    await self.db.run(
                        f"UPDATE $.{table} USING TIMESTAMP ? SET left_seq = ?"
                        " WHERE conversation = ? AND member = ? AND joined_seq = ?",
                        stamp, seq, conversation, user, joined,
                    )  # fmt: skip

    async def let_speak(self, conversation: str, *users: str) -> None:
        stamp = next(self._stamp)
        rows = await self.db.rows(
            "SELECT member, joined_seq FROM $.member WHERE conversation = ?", conversation
        )
        for member, joined in rows:
            if users and member not in users:
                continue
            await self.db.run(
                "UPDATE $.member USING TIMESTAMP ? SET speaker = true WHERE conversation = ? AND member = ? AND joined_seq = ?",
                stamp, conversation, member, joined,
            )  # fmt: skip

    async def deadlocks(self) -> int:
        """Nothing here waits for anything while it holds something else."""
        return 0

    # -- what others do to it

    @contextlib.asynccontextmanager
    async def held(self, conversation: str) -> AsyncIterator[None]:
        """While this is open, no change of the conversation is heard of by the server."""
        await self.documents.recall(conversation)
        freed = self._held[conversation] = asyncio.Event()
        try:
            yield
        finally:
            self._held.pop(conversation)
            freed.set()
            for waiter in self._waiters:
                if waiter.freed is freed and not waiter.answer.done():
                    waiter.answer.set_result(None)

    async def waiting(self, count: int = 1) -> None:
        """Return when ``count`` changes wait for :meth:`held`."""
        async with asyncio.timeout(10):
            while len(self._waiters) < count:
                await asyncio.sleep(0.005)

    async def refuse(self) -> None:
        """What waits for :meth:`held` fails, and nothing of it happens."""
        for waiter in self._waiters:
            if not waiter.answer.done():
                waiter.answer.set_exception(Unavailable("refused"))

    async def erase(self) -> None:
        """Empty what is seen without knowing an id: the rest is reached by ids alone, and each test has its own."""
        for table in ("writer", "activity", "pending", "vanishing"):
            # It writes all tables of the node to disk first, which on a busy machine takes longer than a request may.
            async with asyncio.timeout(60):
                while True:
                    with contextlib.suppress(Unavailable):
                        await self.db.run(f"TRUNCATE $.{table}")
                        break

    async def forget_writers(self) -> None:
        """As if everything that waits in the outbox had been told: a sweep finds nothing of others."""
        rows = await self.db.rows("SELECT part, writer, row FROM $.writer WHERE part IN ?", _PARTS)
        for part, writer, row in rows:
            await self.db.run(
                "DELETE FROM $.writer USING TIMESTAMP ? WHERE part = ? AND writer = ?", row or 0, part, writer
            )

    # -- what is stored

    async def raise_floor(self, conversation: str, floor: int) -> None:
        """As if everything up to it had expired."""

        def decide(document: Document) -> None:
            document.floor = floor

        await self.documents.change(conversation, decide, T0)
        await self.db.run(
            f"DELETE FROM $.event USING TIMESTAMP {2**62} WHERE conversation = ? AND bucket = 0 AND seq <= ?",
            conversation, floor,
        )  # fmt: skip

    async def newest(self, writer: str) -> tuple[int | None, int | None]:
        """A writer's newest row of the outbox, and its highest watermark under whatever epoch."""
        rows = await self.db.rows("SELECT row FROM $.outbox WHERE writer = ?", writer)
        done = await self.db.rows("SELECT row FROM $.progress WHERE writer = ?", writer)
        return max((row[0] for row in rows), default=None), max((row[0] for row in done), default=None)

    async def events(self, conversation: str) -> list[Stored]:
        """The rows of its log, in order."""
        rows = await self.db.rows(
            "SELECT seq, message_id, content, withheld, at, until FROM $.event WHERE conversation = ? AND bucket IN ?",
            conversation, _BUCKETS,
        )  # fmt: skip
        return sorted(
            Stored(seq, message_id, content or b"", bool(withheld), at, until or 0)
            for seq, message_id, content, withheld, at, until in rows
        )

    async def announced(self, conversation: str) -> list[Announced]:
        """The outbox rows that name the conversation, the oldest first."""
        found = []
        for (writer,) in await self.db.rows("SELECT writer FROM $.writer WHERE part IN ?", _PARTS):
            rows = await self.db.rows(
                "SELECT at, row, conversations, seqs FROM $.outbox WHERE writer = ?", writer
            )
            if any(conversation in row[2] for row in rows):
                _, done = await self.newest(writer)
                found += [
                    (at, Announced(row, seqs[named.index(conversation)], (done or 0) >= row))
                    for at, row, named, seqs in rows
                    if conversation in named
                ]
        return [one for _, one in sorted(found)]

    async def receipts(self, conversation: str) -> dict[str, ReceiptRow]:
        """What is stored for each member."""
        rows = await self.db.rows(
            "SELECT member, delivered, read, sent, delivered_at, read_at, renewed_at, delivered_renewed_at"
            " FROM $.receipt WHERE conversation = ?",
            conversation,
        )
        return {
            member: ReceiptRow(delivered or 0, read or 0, sent or 0, tuple(times))
            for member, delivered, read, sent, *times in rows
        }

    async def received_at(self, conversation: str, at: int) -> None:
        """As if its members had received at this time what they have. (Not later than they did.)"""
        for member, row in (await self.receipts(conversation)).items():
            await self.db.run(
                "UPDATE $.receipt USING TIMESTAMP ? SET delivered_at = ? WHERE conversation = ? AND member = ?",
                row.delivered, -at, conversation, member,
            )  # fmt: skip

    async def position(self, device: str, conversation: str) -> tuple[int, int]:
        """(acked, expired) of a linked device."""
        rows = await self.db.rows("SELECT link FROM $.linked WHERE device = ?", device)
        for (link,) in rows:
            sql = "SELECT acked, expired FROM $.position WHERE device = ? AND link = ? AND conversation = ?"
            for acked, expired in await self.db.rows(sql, device, link, conversation):
                return acked or 0, expired or 0
        return 0, 0

    async def age(self, conversation: str, ms: int, through: int = 2**62, only: int = 0) -> None:
        """Its events up to a seq, or only one, are this much older, and so end earlier."""
        rows = await self.db.rows(
            "SELECT bucket, seq, message_id, at, until, WRITETIME(at) FROM $.event WHERE conversation = ? AND bucket IN ?",
            conversation, _BUCKETS,
        )  # fmt: skip
        for bucket, seq, message_id, at, until, written in rows:
            if seq == only if only else seq <= through:
                await self.db.run(
                    "UPDATE $.event USING TIMESTAMP ? SET at = ?, until = ?"
                    " WHERE conversation = ? AND bucket = ? AND seq = ? AND message_id = ?",
                    written + 1, at - ms, until - ms if until else until, conversation, bucket, seq, message_id,
                )  # fmt: skip

    async def due(self, conversation: str, ms: int) -> None:
        """What vanishes of it is to be looked for this much earlier."""
        rows = await self.db.rows(
            "SELECT at, seq, hour FROM $.vanishing WHERE conversation = ? ALLOW FILTERING", conversation
        )
        for at, seq, hour in rows:
            await self.db.run(
                "DELETE FROM $.vanishing WHERE hour = ? AND at = ? AND conversation = ? AND seq = ?",
                hour, at, conversation, seq,
            )  # fmt: skip
            earlier = (at - ms) // 3_600_000
            await self.db.run("INSERT INTO $.pending (kind, at) VALUES ('vanishing', ?)", earlier)
            await self.db.run(
                "INSERT INTO $.vanishing (hour, at, conversation, seq) VALUES (?, ?, ?, ?)",
                earlier, at - ms, conversation, seq,
            )  # fmt: skip

    async def search(self, needles: Needles[str]) -> list[tuple[str, str]]:
        """(table, kind) of what is found of an identifier, whatever table it is in."""
        found: list[tuple[str, str]] = []
        for table in await search.tables(self.db, self.documents):
            kinds, state = await search.search(self.db, self.documents, needles, table, None)
            assert state is None
            found += [(table, kind) for kind in kinds]
        return found

    async def floor(self, conversation: str) -> int:
        """Everything up to it has expired."""
        return (await self.documents.read([conversation]))[conversation].floor

    async def grow_up(self, users: Sequence[str], ms: int) -> None:
        """The devices of these users were linked this much earlier. Not while they are connected: each begins a life of its
        own, with the positions of the one before, because what is written of a life has its number as its timestamp."""
        for user, rows in (await answered(lambda: self.store.devices(users))).items():
            for device, linked_at in rows:
                await self._relink(user, device, linked_at - ms)

    async def _relink(self, user: str, device: str, linked_at: int) -> None:
        ((link,),) = await self.db.rows(
            "SELECT link FROM $.device WHERE member = ? AND device = ?", user, device
        )
        positions = await self.db.rows(
            "SELECT conversation, acked, expired FROM $.position WHERE device = ? AND link = ?", device, link
        )
        for conversation, acked, expired in positions:
            values = ((_acked, acked), (_expired, expired))
            await self.db.write(
                [of(device, link + 1, conversation, value) for of, value in values if value is not None]
            )

        async def swapped() -> bool:
            done, there = await self.db.swap(
                "UPDATE $.linked SET link = ?, linked_at = ? WHERE device = ? IF link = ? AND ready = true AND ended = false",
                link + 1, linked_at, device, link,
            )  # fmt: skip
            return done or link + 1 in (there or ())  # by an attempt without an answer

        assert await answered(swapped), f"device {device} is being linked or unlinked"
        await self.db.run(
            "INSERT INTO $.device (member, device, linked_at, link) VALUES (?, ?, ?, ?) USING TIMESTAMP ?",
            user, device, linked_at, link + 1, link + 1,
        )  # fmt: skip

    async def open_rows(self) -> int:
        """How many rows of the outbox no watermark has passed, of whatever writer."""
        count = 0
        for (writer,) in await self.db.rows("SELECT writer FROM $.writer WHERE part IN ?", _PARTS):
            _, done = await self.newest(writer)
            rows = await self.db.rows("SELECT row FROM $.outbox WHERE writer = ?", writer)
            count += sum(row > (done or 0) for (row,) in rows)
        return count

    async def acked(self, device: str) -> list[int]:
        """What the device has acknowledged of whatever conversations, those of strangers too."""
        ((link,),) = await self.db.rows("SELECT link FROM $.linked WHERE device = ?", device)
        rows = await self.db.rows("SELECT acked FROM $.position WHERE device = ? AND link = ?", device, link)
        return [row[0] for row in rows]

    async def traced(self, question: str, *args: Any) -> Any:
        """The answer to a question of :mod:`delivery.store.trace`."""
        return await self.store.traced(question, *args)  # type: ignore[attr-defined]

    async def contents(self, conversation: str) -> list[bytes]:
        """Everything that is stored of what its messages say, wherever."""
        rows = []
        for bucket in range(3):
            rows += await self.db.rows(
                "SELECT content, extra, envelopes FROM $.event WHERE conversation = ? AND bucket = ?",
                conversation,
                bucket,
            )
        rows += await self.db.rows(
            "SELECT content FROM $.about WHERE conversation = ? ALLOW FILTERING", conversation
        )
        return [bytes(value) for row in rows for value in row if value is not None]

    async def enveloped(self, conversation: str) -> list[int]:
        """The seqs of its events that have envelopes."""
        rows = await self.db.rows(
            "SELECT seq, envelopes FROM $.event WHERE conversation = ? AND bucket = 0", conversation
        )
        return [seq for seq, envelopes in rows if envelopes is not None]

    async def mentions(self, conversation: str, *users: str) -> list[tuple[str, int]]:
        """(user, seq) of the mentions that are kept of these users."""
        return [
            (user, row[0])
            for user in sorted(users)
            for row in await self.db.rows(
                "SELECT seq FROM $.mention WHERE conversation = ? AND member = ?", conversation, user
            )
        ]
