"""State documents: changed by one at a time, whatever is known of the outcome."""

from __future__ import annotations

import asyncio
from typing import Any
from uuid import uuid4

import pytest

from delivery.store.cassandra.document import Document
from delivery.store.cassandra.documents import Documents, Keep
from delivery.store.cassandra.lock import exclusive
from delivery.store.cassandra.session import Cassandra, Row
from delivery.store.interface import Unavailable

NOW = 1_800_000_000_000


@pytest.fixture
async def conversation(session: Cassandra) -> str:
    conversation = str(uuid4())
    assert await Documents(session).create(conversation, Document("direct", NOW))
    return conversation


def _more(document: Document) -> int:
    document.head += 1
    return document.head


async def test_a_document_is_made_once_and_read_back(session: Cassandra, conversation: str) -> None:
    documents = Documents(session)
    assert not await documents.create(conversation, Document("group", NOW))
    unknown = str(uuid4())
    assert await documents.read([conversation, unknown]) == {conversation: Document("direct", NOW)}
    assert await documents.change(unknown, _more, NOW) is None


async def test_changes_of_several_processes_all_count(session: Cassandra, conversation: str) -> None:
    processes = [Documents(session) for _ in range(3)]
    given = await asyncio.gather(*(p.change(conversation, _more, NOW) for p in processes for _ in range(5)))
    assert sorted(given) == list(range(1, 16))  # type: ignore[type-var]


async def test_a_decision_not_to_change_is_made_on_what_is_there_now(
    session: Cassandra, conversation: str
) -> None:
    one, other = Documents(session), Documents(session)
    await one.change(conversation, _more, NOW)
    await other.change(conversation, _more, NOW)

    def look(document: Document) -> int:
        raise Keep(document.head)

    assert await one.change(conversation, look, NOW) == 2


class _Lossy(Cassandra):
    """Answers of conditional writes get lost: before or after they were applied."""

    def __init__(self, session: Cassandra, applied: bool) -> None:
        self.__dict__ = session.__dict__
        self.applied = applied
        self.lost = 0

    async def swap(self, cql: str, *params: Any) -> tuple[bool, Row | None]:
        if not self.lost:
            self.lost += 1
            if self.applied:
                await super().swap(cql, *params)
            raise Unavailable("lost")
        return await super().swap(cql, *params)


@pytest.mark.parametrize("applied", [True, False])
async def test_a_change_with_a_lost_answer_happens_once(
    session: Cassandra, conversation: str, applied: bool
) -> None:
    documents = Documents(_Lossy(session, applied))
    assert await documents.change(conversation, _more, NOW) == 1
    assert (await documents.read([conversation]))[conversation].head == 1


async def test_a_lost_answer_is_found_behind_later_changes(session: Cassandra, conversation: str) -> None:
    class Overtaken(_Lossy):
        async def swap(self, cql: str, *params: Any) -> tuple[bool, Row | None]:
            lose = not self.lost
            try:
                return await super().swap(cql, *params)
            finally:
                if lose:
                    for _ in range(3):
                        await other.change(conversation, _more, NOW)

    other = Documents(session)
    assert await Documents(Overtaken(session, True)).change(conversation, _more, NOW) == 1
    assert (await other.read([conversation]))[conversation].head == 4


async def test_the_lock_keeps_others_out_and_appends_in(session: Cassandra, conversation: str) -> None:
    one, other = Documents(session), Documents(session)
    order = []

    async def second() -> None:
        async with exclusive(other, conversation, NOW) as held:
            assert held is not None
            order.append(await held.change(_more))

    async with exclusive(one, conversation, NOW) as held:
        assert held is not None
        waiting = asyncio.create_task(second())
        order.append(await other.change(conversation, _more, NOW))
        order.append(await held.change(_more))
        assert not waiting.done()
    await waiting
    assert order == [1, 2, 3]


async def test_who_has_lost_the_lock_changes_nothing(session: Cassandra, conversation: str) -> None:
    documents = Documents(session)

    def rob(document: Document) -> None:
        document.lock = None

    async with exclusive(documents, conversation, NOW) as held:
        assert held is not None
        await documents.change(conversation, rob, NOW)
        with pytest.raises(Unavailable):
            await held.change(_more)
    assert (await documents.read([conversation]))[conversation].head == 0


async def test_a_session_says_unavailable_when_nobody_answers() -> None:
    with pytest.raises(Unavailable):
        await Cassandra(["127.0.0.1"], "nowhere", port=21_001, request_timeout_s=1).open()
