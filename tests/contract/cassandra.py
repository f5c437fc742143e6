"""The contract suite's harness of the store on Cassandra."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from collections.abc import AsyncIterator
from typing import Any

from delivery.store.cassandra.copies import Copies
from delivery.store.cassandra.document import Document
from delivery.store.cassandra.documents import Documents
from delivery.store.cassandra.leases import Leases
from delivery.store.cassandra.session import Cassandra, Row
from delivery.store.cassandra.store import CassandraStore
from delivery.store.interface import Store, Unavailable
from tests.cassandra.hotnode import hot
from tests.contract.harness import T0, new_id
from whatsapp.infra.hot import Hot

_STAMP = itertools.count(T0 * 1000)


class _Held(Cassandra):
    """A session whose conditional writes may be held up on their way to the server (:meth:`CassandraHarness.held`), at most
    as long as a request waits for its answer."""

    harness: CassandraHarness
    lock_ms: int

    async def swap(self, cql: str, *params: Any) -> tuple[bool, Row | None]:
        for one in params:
            if isinstance(one, str) and one in self.harness._held:
                await self._wait(self.harness._held[one])
        return await super().swap(cql, *params)

    async def _wait(self, freed: asyncio.Event) -> None:
        self.harness._waiting += 1
        try:
            async with asyncio.timeout(self.lock_ms / 1000):
                await freed.wait()
        except TimeoutError:
            raise Unavailable("held") from None
        finally:
            self.harness._waiting -= 1


class CassandraHarness:
    """Each gateway has a session of its own, as another process would. ``hot_url``: of a Valkey on which it makes copies of state
    documents, from the first append of a conversation on; empty: every number is given out by a conditional write."""

    ALONE = True
    ONE_KEY = False

    def __init__(self, at: tuple[str, int, str], hot_url: str = "") -> None:
        self._at = at
        self._hot_url = hot_url
        self._closing = contextlib.AsyncExitStack()
        self._held: dict[str, asyncio.Event] = {}
        self._waiting = 0

    async def __aenter__(self) -> CassandraHarness:
        self.db = await self._session()
        there = await self._hot()
        self.documents = (
            Documents(self.db, Leases(self.db, there), Copies(there)) if there else Documents(self.db)
        )
        self.store = await self.gateway()
        return self

    async def __aexit__(self, *error: object) -> None:
        await self._closing.aclose()

    async def _session(self, lock_ms: int = 5_000) -> Cassandra:
        host, port, keyspace = self._at
        session = await _Held([host], keyspace, port=port).open()
        session.harness, session.lock_ms = self, lock_ms
        self._closing.push_async_callback(session.close)
        return session

    async def gateway(self, *, lock_ms: int = 5_000, size: int = 2) -> Store:
        del size
        return CassandraStore(await self._session(lock_ms), lock_ms, await self._hot(), eager=True)

    async def _hot(self) -> Hot | None:
        return await hot(self._hot_url, self._closing) if self._hot_url else None

    # -- groups, without the events that change them

    async def group(self, *members: str) -> str:
        conversation = new_id()
        assert await self.documents.create(conversation, Document("group", T0))
        for member in members:
            await self.join(conversation, member, 1)
        return conversation

    async def join(self, conversation: str, user: str, seq: int) -> None:
        stamp = next(_STAMP)
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

    async def leave(self, conversation: str, user: str, seq: int) -> None:
        stamp = next(_STAMP)
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
        stamp = next(_STAMP)
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
        self._held[conversation] = asyncio.Event()
        try:
            yield
        finally:
            self._held.pop(conversation).set()

    async def waiting(self, count: int = 1) -> None:
        """Return when ``count`` changes wait for :meth:`held`."""
        async with asyncio.timeout(10):
            while self._waiting < count:
                await asyncio.sleep(0.005)

    async def erase(self) -> None:
        """Empty what is seen without knowing an id: the rest is reached by ids alone, and each test has its own."""
        for table in ("writer", "activity", "pending", "vanishing"):
            await self.db.run(f"TRUNCATE $.{table}")

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
