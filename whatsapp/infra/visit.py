"""A few commands to the hot node from code that has no connection of its own: Django views, whose loops come and go.

``async with visit(url) as hot: await hot.run([...])`` opens what it needs and closes it again, on one node or on a cluster. All
of a visit takes at most :data:`VISIT_S`.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any, Protocol

import hiredis

from whatsapp.infra.router import Router
from whatsapp.infra.slots import Place, Table, at, is_cluster, parse_nodes, seeds
from whatsapp.infra.valkey import ANSWER_TIMEOUT_S, Address, Command, Connection, HotUnavailable

VISIT_S = ANSWER_TIMEOUT_S


class Visitor(Protocol):
    one_node: bool

    async def run(self, commands: Sequence[Command]) -> list[Any]:
        """A pipeline. Raises ``HotUnavailable``, or ``hiredis.ReplyError``."""
        ...

    async def run_each(self, commands: Sequence[Command]) -> list[Any]:
        """The same, where a node of several that is away leaves ``HotUnavailable`` in the place of its answers."""
        ...

    async def everywhere(self, command: Command) -> list[Any]:
        """A command without keys, once a node that serves something; an answer each of those that are there."""
        ...


class _One:
    one_node = True

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def run(self, commands: Sequence[Command]) -> list[Any]:
        answers = await self._connection.run(commands)
        for answer in answers:
            if isinstance(answer, Exception):
                raise HotUnavailable(str(answer))
        return answers

    async def run_each(self, commands: Sequence[Command]) -> list[Any]:
        return await self.run(commands)

    async def everywhere(self, command: Command) -> list[Any]:
        return await self.run([command])


#: What was learned of each cluster: a visit begins with it, and corrects it.
_tables: dict[str, Table] = {}


class _Many(Router):
    one_node = False

    def __init__(self, url: str) -> None:
        super().__init__()
        self.table = _tables.setdefault(url, self.table)
        self._seeds = seeds(url)
        self._connections: dict[Place, Connection] = {}

    async def open(self) -> None:
        if not self.table.whole:
            await self.refresh()
        if not self.table.places:
            raise HotUnavailable("no node of the cluster answers")

    def close(self) -> None:
        for connection in self._connections.values():
            connection.close()

    async def send(self, place: Place, commands: Sequence[Command]) -> list[Any]:
        connection = self._connections.get(place)
        if connection is None:
            try:
                connection = await Connection.open(at(self._seeds[0], place), lambda _: None)
            except HotUnavailable:
                await self.refresh()  # for the next visit, if it is not this one
                raise
            if self._connections.setdefault(place, connection) is not connection:
                connection.close()  # two commands of one slot would not keep their order
                connection = self._connections[place]
        return await connection.run(commands)

    async def refresh(self, hint: Place | None = None) -> None:
        places = [hint] if hint is not None else []
        places += [*self.table.places, *[(seed.host, seed.port) for seed in self._seeds]]
        for place in dict.fromkeys(places):
            try:
                connection = await Connection.open(at(self._seeds[0], place), lambda _: None)
                try:
                    (text,) = await connection.run([("CLUSTER", "NODES")])
                finally:
                    connection.close()
            except HotUnavailable:
                continue
            if isinstance(text, bytes):
                self.table.merge(parse_nodes(text, place), place)
                return


@asynccontextmanager
async def visit(url: str) -> AsyncIterator[Visitor]:
    """Raises ``HotUnavailable``, also when the visit as a whole takes too long."""
    many: _Many | None = None
    connection: Connection | None = None
    try:
        async with asyncio.timeout(VISIT_S):
            if is_cluster(url):
                many = _Many(url)
                await many.open()
                yield many
            else:
                connection = await Connection.open(Address(url), lambda _: None)
                yield _One(connection)
    except (TimeoutError, hiredis.ReplyError) as error:
        raise HotUnavailable(str(error) or "timed out") from None
    finally:
        if connection is not None:
            connection.close()
        if many is not None:
            many.close()
