"""The rows by message id, of which there are more than of anything else: what is wrong with one is found among many, and many
cost few reads."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from delivery.store.cassandra import fsck_messages, rows
from delivery.store.cassandra.session import Cassandra
from delivery.store.cassandra.store import CassandraStore
from tests.contract.people import T0, People, new_id
from whatsapp.infra import clock

MANY = 120


class Counting(Cassandra):
    """Counts what is read."""

    def __init__(self, session: Cassandra) -> None:
        self.__dict__ = dict(session.__dict__)
        self.reads = 0

    async def rows(self, cql: str, *params: Any, **options: Any) -> Any:
        self.reads += 1
        return await super().rows(cql, *params, **options)


@pytest.fixture
async def people(session: Cassandra, monkeypatch: pytest.MonkeyPatch) -> People:
    """Who has written a lot."""
    monkeypatch.setattr(clock, "now_ms", lambda: T0)
    people = await People(CassandraStore(session)).meet()
    for start in range(0, MANY, 40):
        await people.say(*(b"%d" % number for number in range(start, start + 40)))
    return people


async def walked(store: CassandraStore, among: Sequence[str]) -> list[str]:
    """These, as a walk meets them."""
    found, after = [], ""
    while True:
        keys, after = await store.inspected("walk", "messages", after, 200)
        found += [key for key in keys if key in among]
        if not after:
            return found


async def test_one_that_is_nowhere_is_found_among_many_by_few_reads(
    people: People, session: Cassandra
) -> None:
    ids = [event.message_id for event in await people.read(people.bob, limit=MANY)]
    wrong = {new_id(): seq for seq in (3, MANY)}  # of another message, which stands there
    for id_, seq in wrong.items():
        values = {"message_id": id_, "sender": people.alice, "conversation": people.conversation, "seq": seq}
        await session.write([rows.of("message", **values, at=T0, body_hash=b"h", stamp=1)])
    keys = await walked(people.store, [*ids, *wrong])
    assert len(keys) == MANY + len(wrong)
    counting = Counting(session)
    store = CassandraStore(counting)
    for asked in (keys, list(reversed(keys)), sorted(wrong)):  # also such as no walk has found
        found = await store.inspected("examine", "messages", asked)
        assert {(row.key, row.facts["seq"]) for row in found} == set(wrong.items())
    counting.reads = 0
    await store.inspected("examine", "messages", keys)
    assert counting.reads <= 6
    for row in found:
        await store.inspected("mend", "messages", row)
    assert await store.inspected("examine", "messages", keys) == []


async def test_more_that_came_in_between_is_no_matter(
    people: People, session: Cassandra, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Then the rest is read by id."""
    monkeypatch.setattr(fsck_messages, "_MORE", 1)
    ids = [event.message_id for event in await people.read(people.bob, limit=MANY)]
    asked = (await walked(people.store, ids))[::2]
    found = await fsck_messages._rows_of(session, asked)
    assert sorted(row[0] for row in found) == sorted(asked)
