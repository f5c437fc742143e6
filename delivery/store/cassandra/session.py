"""One process's connection to Cassandra.

Every statement is prepared once, asks a quorum of the local data centre, and waits a bounded time. What is not known to have
happened raises :class:`Unavailable`. Statements that may be repeated are marked so, and the driver then tries another node
when one is gone; a conditional write is never repeated by anybody but :mod:`delivery.store.cassandra.documents`, which reads
back what became of it. Ids go in and come out as lower-case text.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Iterable, Sequence
from typing import Any, NamedTuple, TypeVar

import acsylla
from acsylla import errors

from delivery.store.cassandra import clocks
from delivery.store.interface import Unavailable

#: Longest wait for one request, seconds. Above the server's own write timeout (2 s), so that its answer is heard.
REQUEST_TIMEOUT_S = 3.0
#: Statements of one call under way at the same time.
CONCURRENCY = 64
#: Rows a request: a wider result is fetched in parts.
PAGE_ROWS = 5_000
#: Statements and bytes of one unlogged batch; the server refuses batches of 50 KiB unless told otherwise.
BATCH_STATEMENTS = 16
BATCH_BYTES = 40 * 1024

#: Errors that say the statement itself is wrong: these are ours, not the server's state.
_OURS = (
    errors.CassErrorServerSyntaxError,
    errors.CassErrorServerInvalidQuery,
    errors.CassErrorServerUnauthorized,
    errors.CassErrorServerBadCredentials,
)

T = TypeVar("T")

Row = tuple[Any, ...]
Statement = tuple[str, Sequence[Any]]


class _Verify(NamedTuple):
    """What of a node's certificate is verified, as the driver below acsylla counts it: 1 that it is valid, 2 that it names the
    address. acsylla 1.2.0 takes its own ``PEER_IDENTITY`` for 1."""

    value: int


class Cassandra:
    """Open it inside the event loop that uses it, after any fork; if no node answered then, the first statement that one does
    answer opens it. ``$.`` in a statement stands for the keyspace.

    ``trusted``: the certificates (PEM) that may vouch for a node, which turn TLS on; ``certificate`` and ``key`` are ours.
    ``check_host``: a node's certificate must name the address at which we reach it.
    """

    def __init__(
        self,
        hosts: Sequence[str],
        keyspace: str,
        *,
        port: int = 9042,
        data_center: str | None = None,
        request_timeout_s: float = REQUEST_TIMEOUT_S,
        username: str | None = None,
        password: str | None = None,
        trusted: str = "",
        certificate: str = "",
        key: str = "",
        check_host: bool = True,
    ) -> None:
        self.keyspace = keyspace
        self._timeout = request_timeout_s
        self._cluster = acsylla.create_cluster(
            list(hosts),
            port=port,
            username=username,
            password=password,
            ssl_enabled=bool(trusted),
            ssl_trusted_cert=trusted or None,
            ssl_cert=certificate or None,
            ssl_private_key=key or None,
            ssl_verify_flags=_Verify(3 if check_host else 1),
            connect_timeout=request_timeout_s,
            request_timeout=request_timeout_s,
            consistency="LOCAL_QUORUM",
            serial_consistency="LOCAL_SERIAL",
            load_balance_dc_aware=data_center,
            constant_reconnect_delay_ms=200,
            heartbeat_interval_sec=1,
            idle_timeout_sec=3,
            coalesce_delay_us=50,
            # At "error" it complains of each connection to a server that is not ScyllaDB; what fails is raised.
            log_level="critical",
        )
        self._session: Any = None
        self._connecting: asyncio.Task[None] | None = None
        self._closed = False
        #: Requests that ended without an answer: whoever goes on without a result can tell whether it was the nodes that gave
        #: none.
        self.failures = 0
        self._keeping: asyncio.Task[None] | None = None
        self._prepared: dict[str, Any] = {}
        self._preparing: dict[str, asyncio.Future[Any]] = {}

    async def open(self) -> Cassandra:
        """Raises :class:`Unavailable` when no node answers within a bounded time: all who wait are told of the same attempt. One
        that is given up while it connects, by a deadline or with its caller, is freed, and the driver then waits in the loop's
        thread for an end that does not come: so nobody cancels it, and who asks next waits for the same."""
        if self._session is None and not self._closed:
            if self._connecting is None or self._connecting.done():
                self._connecting = asyncio.get_running_loop().create_task(self._connect())
            connecting = self._connecting
            done, _ = await asyncio.wait([connecting], timeout=self._timeout * 2 + 1)
            if not done:
                self.failures += 1
                raise Unavailable("no node has taken us yet")
            try:
                connecting.result()
            except _OURS:
                raise
            except (errors.CassException, TimeoutError) as error:
                raise self._unavailable(error) from error
        return self

    async def _connect(self) -> None:
        self._session = await self._cluster.create_session()
        await clocks.measure(self)
        self._keeping = asyncio.get_running_loop().create_task(clocks.keep(self))

    async def close(self) -> None:
        self._closed = True
        if self._connecting is not None:
            await asyncio.wait([self._connecting], timeout=self._timeout * 2 + 1)
        if self._keeping is not None:
            self._keeping.cancel()
            await asyncio.wait([self._keeping])
        if self._session is not None:
            session, self._session = self._session, None
            with contextlib.suppress(errors.CassException):
                await session.close()

    async def rows(self, cql: str, *params: Any, serial: bool = False) -> list[Row]:
        """The rows of a read. ``serial``: what conditional writes have done so far, those without an answer too."""
        statement = await self._statement(cql, params)
        if serial:
            statement.set_consistency(acsylla.Consistency.LOCAL_SERIAL)
        statement.set_is_idempotent(True)
        statement.set_page_size(PAGE_ROWS)
        found: list[Row] = []
        while True:
            result = await self._ask("read", self._session.execute(statement))
            found += [row.as_tuple() for row in result]
            if not result.has_more_pages():
                return found
            statement.set_page_state(result.page_state())

    async def page(self, cql: str, state: bytes | None, size: int) -> tuple[list[Row], bytes | None]:
        """Some rows of a read without parameters, from where the last page has ended (None: the first one); and where this one
        has, None: there are no more."""
        statement = await self._statement(cql, ())
        statement.set_is_idempotent(True)
        statement.set_page_size(size)
        if state is not None:
            statement.set_page_state(state)
        result = await self._ask("read", self._session.execute(statement))
        rows = [row.as_tuple() for row in result]
        return rows, result.page_state() if result.has_more_pages() else None

    async def asked_of(
        self, host: str, port: int, cql: str, *params: Any, timeout_s: float = REQUEST_TIMEOUT_S
    ) -> list[Row]:
        """The rows of a read that this very node answers, of what it knows itself; at most a page of them."""
        statement = await self._statement(cql, params)
        statement.set_host(host, port)
        statement.set_consistency(acsylla.Consistency.ONE)
        statement.set_timeout(timeout_s)
        result = await self._ask("read", self._session.execute(statement))
        return [row.as_tuple() for row in result]

    async def run(self, cql: str, *params: Any) -> None:
        """A write that may be repeated: it carries its timestamp, or says the same whenever it runs."""
        statement = await self._statement(cql, params)
        statement.set_is_idempotent(True)
        await self._ask("write", self._session.execute(statement))

    async def each(self, cql: str, params: Iterable[Sequence[Any]]) -> list[list[Row]]:
        """The same read or write for several parameters, at most :data:`CONCURRENCY` at a time; results in order."""
        return await gather(self.rows(cql, *one) for one in params)

    async def batch(self, statements: Sequence[Statement], *, logged: bool = False) -> None:
        """Writes that may be repeated, in one request. ``logged``: if one of them happens, all will. Otherwise they should be
        of one partition, or few."""
        if len(statements) == 1:
            cql, params = statements[0]
            return await self.run(cql, *params)
        if not statements:
            return None
        batch = (acsylla.create_batch_logged if logged else acsylla.create_batch_unlogged)()
        batch.set_consistency(acsylla.Consistency.LOCAL_QUORUM)
        batch.set_is_idempotent(True)
        for cql, params in statements:
            batch.add_statement(await self._statement(cql, params))
        await self._ask("write", self._session.execute_batch(batch))
        return None

    async def write(self, statements: Sequence[Statement]) -> None:
        """Writes in no order, cut into unlogged batches that the server takes, side by side."""
        await gather(self.batch(part) for part in cut(statements))

    async def swap(self, cql: str, *params: Any) -> tuple[bool, Row | None]:
        """A conditional write: whether it was applied, else the columns of the row that is there (None: there is none).

        After :class:`Unavailable` it may or may not have been applied, now or later.
        """
        statement = await self._statement(cql, params)
        statement.set_is_idempotent(False)
        result = await self._ask("swap", self._session.execute(statement))
        applied, *there = result.first().as_tuple()
        return bool(applied), tuple(there) or None

    async def _statement(self, cql: str, params: Sequence[Any]) -> Any:
        if self._session is None:
            if not self._closed:
                await self.open()
            if self._session is None:
                raise Unavailable("the session is closed")
        prepared = self._prepared.get(cql)
        if prepared is None:
            prepared = await self._prepare(cql)
        return prepared.bind(list(params))

    async def _prepare(self, cql: str) -> Any:
        """All who wait for the same statement are told of the same attempt."""
        attempt = self._preparing.get(cql)
        if attempt is None:
            text = cql.replace("$.", f"{self.keyspace}.")
            request = self._ask("prepare", self._session.create_prepared(text))
            attempt = self._preparing[cql] = asyncio.ensure_future(request)

            def ended(done: asyncio.Future[Any]) -> None:
                del self._preparing[cql]
                if not done.cancelled():
                    done.exception()  # is told to whoever waits, if somebody still does

            attempt.add_done_callback(ended)
        prepared = self._prepared[cql] = await asyncio.shield(attempt)
        return prepared

    async def _ask(self, operation: str, request: Awaitable[Any]) -> Any:
        """The answer to a request, within a bounded time."""
        try:
            # The driver's own limit comes first; this one is for a driver that hears nothing.
            async with asyncio.timeout(self._timeout * 2 + 1):
                return await request
        except _OURS:
            raise
        except (errors.CassException, TimeoutError) as error:
            raise self._unavailable(error) from error

    def _unavailable(self, error: Exception) -> Unavailable:
        self.failures += 1
        return Unavailable(f"{type(error).__name__}: {error}")


def cut(statements: Sequence[Statement]) -> list[Sequence[Statement]]:
    """Parts of a list that each fit one unlogged batch."""
    parts: list[Sequence[Statement]] = []
    start = size = 0
    for i, (_, params) in enumerate(statements):
        length = sum(len(value) for value in params if isinstance(value, bytes)) + 8 * len(params)
        if i > start and (i - start >= BATCH_STATEMENTS or size + length > BATCH_BYTES):
            parts.append(statements[start:i])
            start, size = i, 0
        size += length
    if start < len(statements):
        parts.append(statements[start:])
    return parts


async def gather(requests: Iterable[Awaitable[T]]) -> list[T]:
    """Results in order; at most :data:`CONCURRENCY` under way. The first error is raised when all have ended, so that nothing
    of the call goes on behind its caller's back."""
    waiting = list(requests)
    if len(waiting) == 1:
        return [await waiting[0]]
    if len(waiting) > CONCURRENCY:
        room = asyncio.Semaphore(CONCURRENCY)

        async def one(request: Awaitable[T]) -> T:
            async with room:
                return await request

        waiting = list(map(one, waiting))
    results = await asyncio.gather(*waiting, return_exceptions=True)
    for result in results:
        if isinstance(result, BaseException):
            raise result
    return results  # type: ignore[return-value]  # the exceptions were raised


@contextlib.asynccontextmanager
async def opened(*args: Any, **options: Any) -> AsyncIterator[Cassandra]:
    session = Cassandra(*args, **options)
    try:
        yield await session.open()
    finally:
        await session.close()
