"""Two gateways on Cassandra, one of them with a connection that loses and delays what it writes."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any

import pytest

from delivery.store.cassandra.document import Document
from delivery.store.cassandra.session import Cassandra, Statement
from delivery.store.cassandra.store import CassandraStore
from delivery.store.interface import Unavailable
from delivery.store.values import Appended, Outcome, PageRequest, Send
from tests.cassandra.hotnode import hot
from tests.contract.people import T0, People, new_id, seqs
from whatsapp.infra import clock
from whatsapp.infra.hot import Hot


class Faulty(Cassandra):
    """A session whose batches of events can be lost or late, and whose rows by message id can be lost. What is ``silent`` is
    written, and nobody is told."""

    def __init__(self, session: Cassandra) -> None:
        self.__dict__ = dict(session.__dict__)
        self.lose: Callable[[Statement], bool] = lambda statement: False
        self.silent: Callable[[Statement], bool] = lambda statement: False
        self.meanwhile: Callable[[], None] = lambda: None
        self.lost: list[tuple[Sequence[Statement], bool]] = []

    async def batch(self, statements: Sequence[Statement], *, logged: bool = False) -> None:
        if any(self.lose(one) for one in statements):
            self.lost.append((statements, logged))
            raise Unavailable("lost")
        await super().batch(statements, logged=logged)
        if any(is_event(one) for one in statements):
            self.meanwhile()
        if any(self.silent(one) for one in statements):
            raise Unavailable("written, but who knows")

    async def arrive(self) -> None:
        """What was lost reaches the server after all."""
        for statements, logged in self.lost:
            await super().batch(statements, logged=logged)


def is_event(statement: Statement) -> bool:
    return statement[0].startswith("INSERT INTO $.event ")


def is_message(statement: Statement) -> bool:
    return statement[0].startswith("INSERT INTO $.message ")


class Two:
    """Two gateways, one of them with a bad connection, and a clock that tests move."""

    def __init__(
        self, session: Cassandra, monkeypatch: pytest.MonkeyPatch, hots: Sequence[Hot | None] = (None, None)
    ) -> None:
        self.bad = Faulty(session)
        self.first = CassandraStore(self.bad, hot=hots[0], eager=True)
        self.other = CassandraStore(session, hot=hots[1], eager=True)
        self.documents = self.other._documents
        self.session = session
        self.now = clock.now_ms()
        monkeypatch.setattr(clock, "now_ms", lambda: self.now)

    async def meet(self) -> People:
        self.people = await People(self.other).meet()
        return self.people

    async def fails(self, *sends: Send, lose: Callable[[Statement], bool] = is_event) -> None:
        """The first gateway does not know what became of these."""
        self.bad.lose = lose
        with pytest.raises(Unavailable):
            await self.first.append(new_id(), sends, T0)
        self.bad.lose = lambda statement: False

    async def over(self, store: CassandraStore, *sends: Send) -> list[Appended]:
        return (await store.append(new_id(), sends, T0)).results

    async def document(self) -> Document:
        (found,) = (await self.documents.read([self.people.conversation])).values()
        return found

    async def page(self, after: int = 0) -> Any:
        (page,) = await self.other.pages([PageRequest(self.people.conversation, self.people.bob, after)])
        return page


@pytest.fixture(params=["durable", "copies"])
async def two(
    session: Cassandra, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> AsyncIterator[Two]:
    """With numbers from conditional writes, and from copies on a hot node."""
    async with contextlib.AsyncExitStack() as closing:
        hots: list[Hot | None] = [None, None]
        if request.param == "copies":
            hots = [await hot(request.getfixturevalue("valkey_url"), closing) for _ in range(2)]
        two = Two(session, monkeypatch, hots)
        await two.meet()
        yield two


def in_order(results: Sequence[Appended], events: Sequence[Any], before: Sequence[int] = ()) -> None:
    """R21: all of it was told, in its order, and is what a reader finds behind ``before``."""
    assert {result.outcome for result in results} <= {Outcome.STORED, Outcome.DUPLICATE}
    told = [result.seq for result in results]
    assert told == sorted(told)
    assert seqs(events) == [*before, *told]
