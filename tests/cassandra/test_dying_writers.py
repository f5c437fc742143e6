"""A gateway dies between any two statements of an append: a retry over another gateway ends in one place, in order, and what it
is told is stored was announced."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Awaitable, Sequence
from typing import Any, TypeVar

import pytest

from delivery.store.cassandra import claims, lock
from delivery.store.cassandra.session import Cassandra, Row, Statement
from delivery.store.cassandra.store import CassandraStore
from delivery.store.values import AppendResult, Outcome, Send
from tests.cassandra.hotnode import hot, hot_node
from tests.contract.people import T0, People, new_id
from whatsapp.infra import clock
from whatsapp.infra.hot import Hot
from whatsapp.infra.valkey import Command

__all__ = ["hot_node"]  # fixtures

T = TypeVar("T")

#: More statements than any append here has.
_MANY = 60


class _Dead(Exception):
    pass


class _Dying(Cassandra):
    """Dies before its ``at``-th statement; nothing of it is heard or sent any more. Whoever dies behind a statement leaves what
    one leaves that dies before the next, so there is no more to try."""

    def __init__(self, session: Cassandra, at: int) -> None:
        self.__dict__ = dict(session.__dict__)
        self.at = at
        self.count = 0

    async def _one(self, call: Awaitable[T]) -> T:
        self.count += 1
        if self.count >= self.at:
            call.close()  # type: ignore[attr-defined]
            raise _Dead
        result = await call
        if self.count >= self.at:
            raise _Dead
        return result

    async def rows(self, cql: str, *params: Any, serial: bool = False) -> list[Row]:
        return await self._one(super().rows(cql, *params, serial=serial))

    async def run(self, cql: str, *params: Any) -> None:
        await self._one(super().run(cql, *params))

    async def batch(self, statements: Sequence[Statement], *, logged: bool = False) -> None:
        if len(statements) == 1:  # it is a run
            await super().batch(statements, logged=logged)
        else:
            await self._one(super().batch(statements, logged=logged))

    async def swap(self, cql: str, *params: Any) -> tuple[bool, Row | None]:
        return await self._one(super().swap(cql, *params))


class _DyingHot:
    """The hot node as that process has it: what is asked of it is counted with the statements."""

    def __init__(self, hot: Hot, dying: _Dying) -> None:
        self._hot = hot
        self._dying = dying

    def __getattr__(self, name: str) -> Any:
        return getattr(self._hot, name)

    async def run(self, commands: Sequence[Command]) -> list[Any]:
        return await self._dying._one(self._hot.run(commands))

    async def run_under(self, asked: Sequence[tuple[str, Command]], patience_s: float) -> list[Any]:
        return await self._dying._one(self._hot.run_under(asked, patience_s))


async def _die(session: Cassandra, hot: Hot | None, at: int, writer: str, sends: Sequence[Send]) -> bool:
    """Whether the append was long enough to die in."""
    dying = _Dying(session, at)
    there: Any = _DyingHot(hot, dying) if hot is not None else None
    try:
        await CassandraStore(dying, hot=there, eager=True).append(writer, sends, T0)
    except _Dead:
        return True
    return False


async def _announced(store: CassandraStore, writers: Sequence[str], conversation: str, now: int) -> int:
    """The highest seq of the conversation that an outbox row of any of these writers, or of one that came since, names."""
    named = {*writers, *await store.outbox_writers(now)}
    found = 0
    for writer in named:
        for row in await store.outbox(writer, "e", now):
            found = max([found, *(seq for of, seq in row.heads if of == conversation)])
    return found


@pytest.fixture(params=["durable", "making", "copies"])
def kind(request: pytest.FixtureRequest) -> str:
    """How numbers are given out: by conditional writes; by one that makes a copy; by a copy."""
    return str(request.param)


@pytest.fixture
async def there(request: pytest.FixtureRequest, kind: str) -> AsyncIterator[Hot | None]:
    if kind == "durable":
        yield None
        return
    async with contextlib.AsyncExitStack() as closing:
        yield await hot(request.getfixturevalue("hot_node").url, closing)


@pytest.mark.timeout(300)
@pytest.mark.parametrize("later", [3_000, claims.SETTLE_MS], ids=["soon", "settled"])
@pytest.mark.parametrize("amends", [False, True], ids=["messages", "edit"])
async def test_a_writer_that_dies_anywhere(
    session: Cassandra,
    kind: str,
    there: Hot | None,
    monkeypatch: pytest.MonkeyPatch,
    later: int,
    amends: bool,
) -> None:
    now = clock.now_ms()
    monkeypatch.setattr(clock, "now_ms", lambda: now)
    monkeypatch.setattr(lock, "LOCK_WAIT_S", 0.5)
    store = CassandraStore(session, hot=there, eager=True)
    for at in range(1, _MANY):
        people = await People(store).meet()
        said = people.send(body=b"said", seq_num=1)
        earlier = [people.send(body=b"earlier")] if kind == "copies" else []
        if earlier:
            await people.append(*earlier)
        if amends:
            await people.append(said)
            sends: list[Send] = [people.amend(said.message_id, "edit", b"edited", seq_num=2)]
        else:
            sends = [said, people.send(body=b"more", seq_num=2, mentions=[people.bob])]
        writers = [new_id(), new_id()]
        longer = await _die(session, there, at, writers[0], sends)
        # A lock that was held ends by itself; a claim is waited for, or settled.
        now += max(later, lock.LOCK_MS + 1) if amends else later
        if amends and later < claims.SETTLE_MS:
            now += claims.SETTLE_MS
        answer: AppendResult = await store.append(writers[1], sends, T0)
        assert {one.outcome for one in answer.results} <= {Outcome.STORED, Outcome.DUPLICATE}, at
        events = await people.read(people.bob)
        assert [event.message_id for event in events] == [
            one.message_id for one in [*earlier, *([said, *sends] if amends else sends)]
        ], at
        assert [event.content for event in events[len(earlier) :]] == (
            [b"edited", b"edited"] if amends else [b"said", b"more"]
        ), at
        assert [one.seq for one in answer.results] == [e.seq for e in events[-len(sends) :]]
        assert (await people.append(people.send(seq_num=3)))[0].outcome is Outcome.STORED
        if at % 2 == 0:
            told = await _announced(store, writers, people.conversation, T0 + 1)
            assert told >= events[-1].seq, at
        if not longer:
            return
    raise AssertionError("an append has more statements than this test looks at")
