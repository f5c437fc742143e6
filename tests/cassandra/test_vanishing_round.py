"""A round of messages that vanish, of which some cannot be emptied just now."""

from __future__ import annotations

import itertools
import uuid
from typing import Any

import pytest

from delivery.store.cassandra import vanishing
from delivery.store.cassandra.session import Cassandra
from delivery.store.cassandra.store import CassandraStore
from delivery.store.errors import Busy
from delivery.store.interface import Unavailable
from tests.contract.people import T0, People

#: Times that no other test uses: a round sees the whole store.
_times = itertools.count(T0 // 3, 10_000_000)


async def due(store: CassandraStore, count: int) -> tuple[int, list[People]]:
    """Conversations in each of which one message goes now, in the order in which a round meets them."""
    now = next(_times)
    found = []
    for _ in range(count):
        people = await People(store).meet()
        await people.append(people.send(body=b"secret", lasts=10), now=now)
        found.append(people)
    return now + 10, sorted(found, key=lambda people: uuid.UUID(people.conversation).bytes)


def fail(monkeypatch: pytest.MonkeyPatch, conversations: dict[str, Exception]) -> list[str]:
    """What is asked of these fails; the conversations that are tried."""
    tried: list[str] = []
    emptied = vanishing._vanish

    async def vanish(session: Any, documents: Any, conversation: str, *rest: Any) -> int:
        tried.append(conversation)
        if conversation in conversations:
            raise conversations[conversation]
        return await emptied(session, documents, conversation, *rest)

    monkeypatch.setattr(vanishing, "_vanish", vanish)
    return tried


async def is_empty(people: People) -> bool:
    return [event.content for event in await people.read(people.bob)] == [None]


@pytest.mark.parametrize("error", [Unavailable("its rows are lost"), Busy("held")])
async def test_one_that_cannot_be_emptied_keeps_no_other(
    session: Cassandra, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    store = CassandraStore(session)
    now, people = await due(store, 3)
    fail(monkeypatch, {people[0].conversation: error})
    assert await store.vanish(now) == 2
    assert [await is_empty(one) for one in people] == [False, True, True]
    with pytest.raises(type(error)):  # nothing else is left to do, and it is not done
        await store.vanish(now)
    monkeypatch.undo()
    assert await store.vanish(now) == 1
    assert await store.vanish(now) == 0
    assert await is_empty(people[0])


async def test_a_store_that_is_away_is_not_asked_for_each(
    session: Cassandra, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = CassandraStore(session)
    now, people = await due(store, 5)
    away = Unavailable("no answer")
    tried = fail(monkeypatch, {one.conversation: away for one in people})
    with pytest.raises(Unavailable, match="no answer"):
        await store.vanish(now)
    assert len(tried) == 3
    monkeypatch.undo()
    assert await store.vanish(now) == 5
