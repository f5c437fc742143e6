"""Two gateways on Cassandra, and a conversation whose numbers come from a copy on a hot node."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from delivery.store.cassandra.document import Document
from delivery.store.cassandra.session import Cassandra, Row, Statement
from delivery.store.interface import Unavailable
from delivery.store.values import Appended, PageRequest, Send
from tests.cassandra.hotnode import Gateways, HotNode
from tests.cassandra.two_gateways import is_event
from tests.contract.people import T0, People, new_id

#: How a test waits for what a process finds out by itself.
PATIENCE_S = 30.0


class Stalling(Cassandra):
    """A session that can be made to stand still before events are written, counts conditional writes, and loses rows by id."""

    swaps = 0
    lose: Callable[[Statement], bool] = staticmethod(lambda statement: False)

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.stands = asyncio.Event()
        self.goes = asyncio.Event()
        self.goes.set()

    async def batch(self, statements: Sequence[Statement], *, logged: bool = False) -> None:
        if any(self.lose(one) for one in statements):
            raise Unavailable("lost")
        if any(is_event(one) for one in statements):
            self.stands.set()
            await self.goes.wait()
        await super().batch(statements, logged=logged)

    async def swap(self, cql: str, *params: Any) -> tuple[bool, Row | None]:
        self.swaps += 1
        return await super().swap(cql, *params)


class Pair:
    """Two gateways, and a conversation that has a copy."""

    def __init__(self, one: Any, other: Any, node: HotNode) -> None:
        self.one, self.other, self.node = one, other, node

    async def meet(self) -> Pair:
        self.people = await People(self.other).meet()
        self.conversation = self.people.conversation
        # A test before this one may have closed the lease of the same node.
        async with asyncio.timeout(PATIENCE_S):
            while not await self.other._documents.hot.leases.usable(self.conversation):
                await asyncio.sleep(0.05)
        await self.stored(self.other, 3)
        return self

    async def stored(self, store: Any, count: int = 1) -> list[int]:
        """The seqs of so many messages."""
        return [one.seq for one in await self.over(store, *(self.people.send() for _ in range(count)))]

    async def over(self, store: Any, *sends: Send) -> list[Appended]:
        """The results of an append, sent again until it is known."""
        async with asyncio.timeout(PATIENCE_S):
            while True:
                try:
                    return (await store.append(new_id(), sends, T0)).results  # type: ignore[no-any-return]
                except Unavailable:
                    await asyncio.sleep(0.05)

    async def page(self, after: int = 0) -> Any:
        async with asyncio.timeout(PATIENCE_S):
            while True:
                try:
                    (page,) = await self.other.pages([PageRequest(self.conversation, self.people.bob, after)])
                except Unavailable:
                    await asyncio.sleep(0.05)
                    continue
                return page

    async def document(self) -> Document:
        (found,) = (await self.other._documents.read([self.conversation])).values()
        return found  # type: ignore[no-any-return]


@pytest.fixture
async def pair(gateways: Gateways, hot_node: HotNode) -> Pair:
    return await Pair(await gateways.open(Stalling), await gateways.open(), hot_node).meet()


def restart(pair: Pair, **how: Any) -> Callable[[], None]:
    def again() -> None:
        pair.node.kill()
        pair.node.start(**how)

    return again
