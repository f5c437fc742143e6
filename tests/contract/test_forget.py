"""A user who is gone for good: no store keeps a byte that says who it was, and the others lose nothing that they are owed."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from delivery.store.values import Change, Flags, Forgotten, Outcome, PositionWrite, ReceiptWrite
from tests.contract.people import T0, People, new_id, seqs
from tests.contract.test_retention import DAY, KEEP, expire_all
from whatsapp.infra.needles import Needles

#: Times below those of test_retention: an expiry sees the whole store.
_past = iter(range(T0 // 4 - 200 * DAY, 0, -100 * DAY))


@pytest.fixture(scope="module")
def contract_url(postgres_server: Any) -> Iterator[str]:
    """A database for these tests: they look at every row there is, and the suite's has those of hundreds of tests."""
    name, url = postgres_server.create_numbered()
    yield url
    postgres_server.drop(name)


def change(kind: str = "info", *, joins: tuple[str, ...] = (), leaves: tuple[str, ...] = ()) -> Change:
    return Change(new_id(), kind, b"\x80", joins, leaves)


async def group_of(people: People, past: int, *members: str) -> str:
    conversation = new_id()
    await people.store.create_group(conversation, past)
    await people.store.change(
        new_id(), conversation, people.alice, [change("member_added", joins=members)], past
    )
    return conversation


async def a_rich_life(people: People, past: int) -> tuple[str, str]:
    """Of Alice: she writes to Bob, who reads and answers; a group with Bob, and one in which she is alone. Then she ends."""
    store = people.store
    of = people.conversation
    group = await group_of(people, past, people.alice, people.bob)
    alone = await group_of(people, past, people.alice)
    await people.append(
        people.send(seq_num=1, mentions=[people.bob]),
        people.send(sender=people.bob, device=people.tablet, mentions=[people.alice]),
        people.send(conversation=group, seq_num=1),
        people.send(conversation=group, sender=people.bob, device=people.tablet, mentions=[people.alice]),
        now=past,
    )
    await store.set_flags(people.alice, of, Flags(pinned=True, draft=b"to Bob"), past)
    await store.set_flags(people.bob, of, Flags(muted_until=past + 1), past)
    await store.withhold(people.alice, people.bob, True, past)
    await store.withhold(people.alice, people.bob, False, past)
    await store.save(
        [PositionWrite(people.phone, of, 2), PositionWrite(people.tablet, of, 1)],
        [ReceiptWrite(of, people.alice, 2, 2), ReceiptWrite(of, people.bob, 1, 0)],
        past,
    )
    await store.save([PositionWrite(people.phone, group, 2)], [ReceiptWrite(group, people.alice, 2, 2)], past)
    # The end: devices, drafts and groups go at once.
    await store.unlink_device(people.alice, people.phone, past + 1)
    await store.forget_flags(people.alice)
    for conversation in (group, alone):
        gone = [change("member_removed", leaves=(people.alice,))]
        await store.change(new_id(), conversation, people.alice, gone, past + 1)
    return group, alone


async def forget(people: People, past: int, **options: Any) -> Forgotten:
    return await people.store.forget_user(
        people.alice, [people.phone, people.desk], past + 1, past + 40 * DAY, **options
    )


async def test_nothing_is_taken_that_others_may_be_owed(people: People, harness: Any) -> None:
    past = next(_past)
    group, _ = await a_rich_life(people, past)
    direct_before = await people.read(people.bob)
    group_before = await people.read(people.bob, conversation=group)
    assert seqs(direct_before) == [1, 2]
    assert await forget(people, past) == Forgotten(0, 3)
    assert await people.read(people.bob) == direct_before
    assert await people.read(people.bob, conversation=group) == group_before
    assert (await people.store.conversations([people.conversation]))[people.conversation].current == {
        people.alice,
        people.bob,
    }


async def test_when_all_has_expired_nothing_names_the_user(people: People, harness: Any) -> None:
    past = next(_past)
    store = people.store
    group, alone = await a_rich_life(people, past)
    await people.append(
        people.send(conversation=group, sender=people.bob, device=people.tablet), now=past + 20 * DAY
    )
    await people.append(people.send(sender=people.bob, device=people.tablet), now=past + 20 * DAY)
    needles = Needles([("user", people.alice), ("device", people.phone)])
    assert await harness.search(needles), "what is searched for is there"
    await expire_all(people, past + KEEP + 2 * DAY)
    assert await forget(people, past) == Forgotten(3, 0)
    assert await forget(people, past) == Forgotten(0, 0), "said twice"
    await harness.outlive(past + 2 * DAY)
    assert await harness.search(needles) == []
    assert people.conversation not in {one.conversation for one in await store.listed(people.bob, 100)}
    known = await store.conversations([people.conversation, group, alone])
    assert {one: known[one].current for one in known} == {group: {people.bob}}
    # What lives goes on.
    assert seqs(await people.read(people.bob, conversation=group))[-1] == 5
    await people.append(
        people.send(conversation=group, sender=people.bob, device=people.tablet), now=past + 41 * DAY
    )
    assert seqs(await people.read(people.bob, conversation=group))[-1] == 6


async def test_it_goes_on_in_steps(people: People) -> None:
    past = next(_past)
    await a_rich_life(people, past)
    await expire_all(people, past + KEEP + 2 * DAY)
    steps = [await forget(people, past, limit=1) for _ in range(4)]
    assert steps == [Forgotten(1, 2), Forgotten(1, 1), Forgotten(1, 0), Forgotten(0, 0)]


async def test_who_writes_to_a_conversation_that_is_gone_is_refused(people: People) -> None:
    past = next(_past)
    await a_rich_life(people, past)
    await expire_all(people, past + KEEP + 2 * DAY)
    await forget(people, past)
    (result,) = await people.append(people.send(sender=people.bob, device=people.tablet), now=past + 41 * DAY)
    assert result.outcome == Outcome.NO_CONVERSATION, result
    assert (await people.store.conversations([people.conversation])) == {}


async def test_others_stay_as_they_are(people: People, harness: Any) -> None:
    """A stranger's conversations, and those of the other with a third."""
    past = next(_past)
    carol = new_id()
    theirs = await people.store.ensure_direct(people.bob, carol, new_id(), past)
    await a_rich_life(people, past)
    await people.append(
        people.send(conversation=theirs, sender=people.bob, device=people.tablet), now=past + 20 * DAY
    )
    await people.store.set_flags(people.bob, theirs, Flags(pinned=True), past)
    await people.store.save([PositionWrite(people.tablet, theirs, 1)], [], past)
    await expire_all(people, past + KEEP + 2 * DAY)
    await forget(people, past)
    assert seqs(await people.read(carol, conversation=theirs)) == [1]
    flags = await people.store.flags(people.bob, theirs)
    assert flags is not None
    assert flags.flags.pinned
    position = await people.store.positions(people.bob, people.tablet, [theirs])
    assert position[theirs].acked == 1
