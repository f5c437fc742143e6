"""Connections that a harness asks statements over: a new one for each statement is a new process of the server for each."""

from __future__ import annotations

import contextlib
import select
from typing import Any

import psycopg

from whatsapp.infra.postgres import parameters


class Idle:
    """Those that nobody has at the moment; ``closing`` closes them all."""

    def __init__(self, url: str, closing: contextlib.AsyncExitStack) -> None:
        self._url = url
        self._closing = closing
        self._free: list[psycopg.AsyncConnection[Any]] = []

    async def sql(self, statement: str, params: tuple[Any, ...]) -> list[tuple[Any, ...]]:
        """Over a connection that nobody else has meanwhile; the next call has it, if nothing went wrong."""
        connection = await self._take()
        try:
            cursor = await connection.execute(statement, params)
            rows = await cursor.fetchall() if cursor.description else []
        except BaseException:
            await connection.close()
            raise
        self._free.append(connection)
        return rows

    async def close(self) -> None:
        while self._free:
            await self._free.pop().close()

    async def _take(self) -> psycopg.AsyncConnection[Any]:
        while self._free:
            connection = self._free.pop()
            if not _has_ended(connection):
                return connection
            await connection.close()
        # As our processes do: of several servers the one that takes writes.
        made = await psycopg.AsyncConnection.connect(
            **parameters(self._url), autocommit=True, prepare_threshold=None
        )
        self._closing.push_async_callback(made.close)
        return made


def _has_ended(connection: psycopg.AsyncConnection[Any]) -> bool:
    """Whether the server has ended an idle connection: nothing else is there to be read."""
    looked = select.poll()
    looked.register(connection.fileno(), select.POLLIN)
    return bool(looked.poll(0))
