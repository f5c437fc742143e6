"""After a restore that lost something, numbers that devices may have are given to nothing else."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from delivery.store.cassandra import life
from delivery.store.cassandra.document import Document
from delivery.store.cassandra.session import Cassandra
from delivery.store.cassandra.store import CassandraStore
from delivery.store.interface import Store
from delivery.store.values import Change, PageRequest, PositionWrite
from tests.contract.people import T0, People, amendment, new_id, send


@pytest.fixture(autouse=True)
def lives() -> Iterator[None]:
    yield
    life.set_current(0)


@pytest.fixture
async def store(session: Cassandra) -> Store:
    return CassandraStore(session)  # type: ignore[return-value]


async def _lost(session: Cassandra, people: People) -> None:
    """Five messages, of which Bob's device has all; the last two and what was said of them are gone."""
    await people.say(b"1", b"2", b"3", b"4", b"5")
    await people.store.save([PositionWrite(people.tablet, people.conversation, 5)], [], T0)
    documents = CassandraStore(session)._documents

    def decide(document: Document) -> None:
        document.head, document.ordinal, document.claims = 3, 3, []
        document.lasts = {}

    await documents.change(people.conversation, decide, T0)
    for seq in (4, 5):
        await session.run(
            f"DELETE FROM $.event USING TIMESTAMP {T0 * 1000 + 999} WHERE conversation = ? AND bucket = 0 AND seq = ?",
            people.conversation,
            seq,
        )


async def _page(store: Store, people: People, after: int) -> list[bytes | None]:
    request = PageRequest(people.conversation, people.bob, after, 100, 1 << 20)
    (page,) = await store.pages([request])
    assert page.through == page.head
    return [event.content for event in page.events]


@pytest.mark.parametrize("restored", [True, False])
async def test_a_device_that_has_what_was_lost_gets_what_comes_next(
    session: Cassandra, store: Store, restored: bool
) -> None:
    people = await People(store).meet()
    await _lost(session, people)
    life.set_current(77 if restored else 0)
    again = CassandraStore(session)
    one, two = (
        send(people.conversation, people.alice, people.phone, body=body) for body in (b"new", b"newer")
    )
    first = (await again.append(new_id(), [one], T0)).results[0].seq
    second = (await again.append(new_id(), [two], T0)).results[0].seq
    if not restored:  # the twin: it believes to have these two
        assert (first, second) == (4, 5)
        assert await _page(store, people, 5) == []
        return
    assert (first, second) == (3 + life.SKIPPED + 1, 3 + life.SKIPPED + 2)
    assert await _page(store, people, 5) == [b"new", b"newer"]
    assert await _page(store, people, 0) == [b"1", b"2", b"3", b"new", b"newer"]
    (listed,) = [
        one for one in await store.listed(people.bob, 100) if one.conversation == people.conversation
    ]
    assert listed.unread == 5


async def test_members_timers_and_amendments_too_and_what_begins_later_begins_at_one(
    session: Cassandra, store: Store
) -> None:
    people = await People(store).meet()
    target = send(people.conversation, people.alice, people.phone)
    await store.append(new_id(), [target], T0)
    group = new_id()
    await store.create_group(group, T0)
    await store.change(
        new_id(), group, people.alice, [Change(new_id(), "member_added", b"\x80", (people.alice,))], T0
    )
    life.set_current(78)
    again = CassandraStore(session)
    edit = amendment(people.conversation, people.alice, people.phone, target.message_id, "edit", b"x")
    assert (await again.append(new_id(), [edit], T0)).results[0].seq == life.SKIPPED + 2
    timer = await again.set_timer(new_id(), people.conversation, people.alice, new_id(), 60, b"\x80", T0)
    assert timer is not None
    assert timer.seq == life.SKIPPED + 3
    joined = Change(new_id(), "member_added", b"\x80", (people.bob,))
    changed = await again.change(new_id(), group, people.alice, [joined], T0)
    assert changed.seqs == [life.SKIPPED + 2]
    young = new_id()
    await again.create_group(young, T0)
    changed = await again.change(
        new_id(), young, people.alice, [Change(new_id(), "info", b"\x80", (people.alice,))], T0
    )
    assert changed.seqs == [1]
