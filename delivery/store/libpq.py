"""One connection of the pool, spoken to through libpq: a statement costs half the client CPU of a cursor's.

The driver's cursor waits by adding and removing the socket at the loop four times a statement, looks every type up and
copies the result; for one statement, sent over and over by one task, that is more work than the statement itself. Here the
socket stays with the loop, parameters are text that is already text (or bytes), and the few result types are read directly.
"""

from __future__ import annotations

import asyncio
import itertools
import re
from collections.abc import Callable
from functools import partial
from typing import Any

import psycopg
from psycopg import pq
from psycopg.errors import error_from_result
from psycopg_pool import AsyncConnectionPool

from delivery.store.operation import Query, Rows

#: How often to ask libpq whether the connection still stands while an answer is awaited.
LOOK_S = 0.25
#: Of channels: what one has prepared may still be there when another gets its connection.
_numbers = itertools.count(1)


def _integers(text: bytes) -> list[int]:
    return list(map(int, text[1:-1].split(b","))) if len(text) > 2 else []


#: By type: bigint, text, integer[], bigint[].
_READ: dict[int, Callable[[bytes], Any]] = {20: int, 25: bytes.decode, 1007: _integers, 1016: _integers}


def _sent(value: object) -> bytes | None:
    if value is None or isinstance(value, bytes):
        return value
    if isinstance(value, str):
        return value.encode()
    if isinstance(value, bool):
        return b"t" if value else b"f"
    return str(value).encode()


class _Statement:
    """A query as libpq wants it: ``$n`` for placeholders, a name to prepare it under, a format for each parameter."""

    def __init__(self, sql: str, name: bytes) -> None:
        self.name = name
        self.formats = [
            pq.Format.BINARY if mark == "%b" else pq.Format.TEXT for mark in re.findall("%[sb]", sql)
        ]
        numbers = iter(range(1, len(self.formats) + 1))
        self.sql = re.sub("%[sb]", lambda _: f"${next(numbers)}", sql).replace("%%", "%").encode()


class Channel:
    """A connection taken from a pool at the first statement and kept. One statement at a time (see :attr:`busy`), each its
    own transaction. Raises what psycopg raises; after an error of the connection the next statement takes another one."""

    def __init__(self, pool: AsyncConnectionPool) -> None:
        self._pool = pool
        self._number = next(_numbers)
        self._connection: psycopg.AsyncConnection | None = None
        self._socket = -1  # watched by the loop while >= 0
        self._statements: dict[str, _Statement] = {}
        self._prepared: set[bytes] = set()
        self._answer: asyncio.Future[pq.abc.PGresult] | None = None
        self._result: pq.abc.PGresult | None = None
        self._looking: asyncio.TimerHandle
        self._keeps = True  # a session of the server, and so what was prepared in it
        self.busy = False

    async def rows(self, query: Query) -> Rows:
        """Run one statement with positional parameters, whose columns are bigint, text or integer arrays."""
        if self.busy:
            raise RuntimeError("one statement at a time")
        self.busy = True
        try:
            pgconn = await self._open()
            statement = self._statements.get(query.sql)
            if statement is None:
                name = f"own_{self._number}_{len(self._statements)}".encode()
                statement = self._statements[query.sql] = _Statement(query.sql, name)
            values = [_sent(value) for value in query.params]
            if not self._keeps:
                send = partial(pgconn.send_query_params, statement.sql, values, None, statement.formats)
                return _rows(await self._answered(send))
            if statement.name not in self._prepared:
                await self._answered(partial(pgconn.send_prepare, statement.name, statement.sql))
                self._prepared.add(statement.name)
            result = await self._answered(
                partial(pgconn.send_query_prepared, statement.name, values, statement.formats)
            )
            return _rows(result)
        finally:
            self.busy = False

    async def close(self) -> None:
        """Give the connection back."""
        self._unwatch()
        connection, self._connection = self._connection, None
        if connection is not None:
            await self._pool.putconn(connection)

    async def _open(self) -> pq.abc.PGconn:
        if self._connection is not None and (self._pool.closed or self._connection.closed):
            await self.close()
        if self._connection is None:
            self._connection = connection = await self._pool.getconn()
            self._prepared.clear()
            self._keeps = connection.prepare_threshold is not None
            try:
                await connection.set_autocommit(True)
                connection.pgconn.nonblocking = 1
                self._socket = connection.pgconn.socket
                asyncio.get_running_loop().add_reader(self._socket, self._readable)
            except BaseException:
                await self.close()
                raise
        return self._connection.pgconn

    async def _answered(self, send: Callable[[], None]) -> pq.abc.PGresult:
        """Send something and wait for its one result. Without one the connection is given up: the result may still come."""
        assert self._connection is not None
        loop = asyncio.get_running_loop()
        self._answer = loop.create_future()
        self._result = None
        try:
            send()
            if self._connection.pgconn.flush():
                loop.add_writer(self._socket, self._writable)
            self._looking = loop.call_later(LOOK_S, self._look)
            try:
                result = await self._answer
            finally:
                self._looking.cancel()
        except BaseException:
            self._unwatch()
            self._connection.pgconn.finish()
            await self.close()
            raise
        finally:
            self._answer = None
        if result.status not in (pq.ExecStatus.TUPLES_OK, pq.ExecStatus.COMMAND_OK):
            raise error_from_result(result)
        return result

    def _readable(self) -> None:
        assert self._connection is not None
        pgconn = self._connection.pgconn
        try:
            pgconn.consume_input()
            while not pgconn.is_busy():
                result = pgconn.get_result()
                if result is None:  # the server is ready for the next statement
                    if self._answer is not None and not self._answer.done() and self._result is not None:
                        self._answer.set_result(self._result)
                    return
                self._result = result
        except psycopg.Error as error:
            self._broken(error)

    def _look(self) -> None:
        """No answer for a while. uvloop tells no reader that the peer has reset the connection, libpq does when asked."""
        if self._answer is not None and not self._answer.done() and self._connection is not None:
            self._looking = asyncio.get_running_loop().call_later(LOOK_S, self._look)
            self._readable()

    def _writable(self) -> None:
        assert self._connection is not None
        try:
            if not self._connection.pgconn.flush():
                asyncio.get_running_loop().remove_writer(self._socket)
        except psycopg.Error as error:
            self._broken(error)

    def _broken(self, error: psycopg.Error) -> None:
        """libpq has closed the socket, so the loop must forget it at once, before its number is used again."""
        self._unwatch()
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(error)

    def _unwatch(self) -> None:
        if self._socket >= 0:
            loop = asyncio.get_running_loop()
            loop.remove_reader(self._socket)
            loop.remove_writer(self._socket)
            self._socket = -1


def _rows(result: pq.abc.PGresult) -> Rows:
    readers = [_READ[result.ftype(column)] for column in range(result.nfields)]
    rows = []
    for row in range(result.ntuples):
        values = [result.get_value(row, column) for column in range(result.nfields)]
        rows.append(tuple(None if v is None else read(v) for v, read in zip(values, readers, strict=True)))
    return rows
