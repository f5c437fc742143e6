"""Events that change the members of a group, with the change itself (C4, R16, R17)."""

from __future__ import annotations

import asyncio
from typing import Any

from delivery.store.values import Change, Interval, PageRequest, RosterHead
from tests.contract.people import T0, People, new_id


def change(kind: str = "info", *, joins: tuple[str, ...] = (), leaves: tuple[str, ...] = ()) -> Change:
    return Change(new_id(), kind, b"\x80", joins, leaves)


async def group(people: People, *members: str) -> str:
    conversation = new_id()
    await people.store.create_group(conversation, T0)
    await people.store.change(
        new_id(), conversation, people.alice, [change(), change("member_added", joins=members)], T0
    )
    return conversation


async def intervals(people: People, conversation: str) -> list[Interval]:
    return sorted((await people.store.conversations([conversation]))[conversation].members)


async def owed(people: People, conversation: str, user: str) -> list[int]:
    (page,) = await people.store.pages([PageRequest(conversation, user, 0)])
    return [event.seq for event in page.events]


async def test_members_join_and_leave_with_an_event(people: People) -> None:
    store, carol = people.store, new_id()
    conversation = await group(people, people.alice, people.bob)
    assert await intervals(people, conversation) == sorted(
        [Interval(people.alice, 2, 0), Interval(people.bob, 2, 0)]
    )
    done = await store.change(
        new_id(),
        conversation,
        people.alice,
        [change("member_added", joins=(carol,)), change("member_removed", leaves=(people.bob,))],
        T0 + 1,
    )
    assert done.seqs == [3, 4]
    assert await intervals(people, conversation) == sorted(
        [Interval(people.alice, 2, 0), Interval(people.bob, 2, 4), Interval(carol, 3, 0)]
    )
    await store.change(new_id(), conversation, people.alice, [change()], T0 + 2)
    # Each is owed the events of the interval, one's own coming and going included.
    assert await owed(people, conversation, people.alice) == [2, 3, 4, 5]
    assert await owed(people, conversation, people.bob) == [2, 3, 4]
    assert await owed(people, conversation, carol) == [3, 4, 5]
    assert await store.roster_heads([conversation, new_id()]) == {conversation: RosterHead(5, 4, 2)}


async def test_who_comes_back_is_not_owed_what_was_said_meanwhile(people: People) -> None:
    conversation = await group(people, people.alice, people.bob)
    for one in (
        change(leaves=(people.bob,)),
        change(),
        change(joins=(people.bob,)),
        change(),
    ):
        await people.store.change(new_id(), conversation, people.alice, [one], T0)
    assert await owed(people, conversation, people.bob) == [2, 3, 5, 6]


async def test_a_member_does_not_join_and_a_stranger_does_not_leave(people: People) -> None:
    conversation = await group(people, people.alice)
    await people.store.change(
        new_id(), conversation, people.alice, [change(joins=(people.alice,)), change(leaves=(new_id(),))], T0
    )
    assert await intervals(people, conversation) == [Interval(people.alice, 2, 0)]


async def test_a_repeated_change_changes_nothing(people: People) -> None:
    conversation = await group(people, people.alice)
    changes = [change("member_added", joins=(people.bob,)), change()]
    first = await people.store.change(new_id(), conversation, people.alice, changes, T0)
    again = await people.store.change(new_id(), conversation, people.alice, changes, T0 + 1)
    assert again.seqs == first.seqs == [3, 4]
    assert first.row
    assert not again.row
    assert (await people.store.roster_heads([conversation]))[conversation].head == 4


async def test_a_change_leaves_an_outbox_row(people: People) -> None:
    conversation, writer = await group(people, people.alice), new_id()
    done = await people.store.change(writer, conversation, people.alice, [change(), change()], T0)
    (row,) = await people.store.outbox(writer, "epoch", T0)
    assert (row.row, row.heads) == (done.row, ((conversation, 4),))


async def test_a_conversation_that_does_not_exist_is_not_changed(people: People) -> None:
    writer = new_id()
    assert (await people.store.change(writer, new_id(), people.alice, [change()], T0)).seqs == []
    assert await people.store.outbox(writer, "epoch", T0) == []


async def test_events_count_as_no_message(people: People) -> None:
    conversation = await group(people, people.alice, people.bob)
    await people.append(people.send(conversation=conversation))
    await people.store.change(new_id(), conversation, people.alice, [change()], T0)
    (listed,) = [c for c in await people.store.listed(people.bob, 10) if c.conversation == conversation]
    assert (listed.kind, listed.head, listed.unread) == ("group", 4, 1)


async def test_messages_and_changes_at_once_take_dense_seqs(people: People, harness: Any) -> None:
    conversation = await group(people, people.alice, people.bob)
    stores = [people.store, *[await harness.gateway() for _ in range(2)]]

    async def write(store: Any, i: int) -> None:
        if i % 2:
            await store.append(new_id(), [people.send(conversation=conversation)], T0)
        else:
            who = new_id()
            await store.change(new_id(), conversation, people.alice, [change(joins=(who,))], T0)

    await asyncio.gather(*[write(stores[i % 3], i) for i in range(24)])
    assert await owed(people, conversation, people.alice) == list(range(2, 27))
    joined = [interval.joined for interval in await intervals(people, conversation)]
    assert len(set(joined)) == 13  # two at once with the group, then twelve at a seq of their own
