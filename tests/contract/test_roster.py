"""Conversations and their members."""

from __future__ import annotations

import asyncio
from typing import Any

from delivery.store.values import Conversation, Interval, ReceiptWrite
from tests.contract.people import T0, People, new_id


async def test_a_direct_conversation_is_one_for_both_sides(people: People) -> None:
    store = people.store
    assert await store.ensure_direct(people.bob, people.alice, new_id(), T0) == people.conversation
    assert (await store.conversations([people.conversation]))[people.conversation] == Conversation(
        people.conversation,
        "direct",
        0,
        tuple(Interval(user, 1, 0) for user in sorted((people.alice, people.bob))),
    )


async def test_a_direct_conversation_is_one_under_races(people: People, harness: Any) -> None:
    stores = [people.store, *[await harness.gateway() for _ in range(3)]]
    for _ in range(5):
        a, b = new_id(), new_id()
        pairs = ((a, b), (b, a), (a, b), (b, a))
        found = await asyncio.gather(
            *(store.ensure_direct(*pair, new_id(), T0) for store, pair in zip(stores, pairs, strict=True))
        )
        assert len(set(found)) == 1
        conversation = (await people.store.conversations(found))[found[0]]
        assert sorted(member.user for member in conversation.members) == sorted((a, b))


async def test_notes_to_oneself_are_a_conversation_of_one(people: People) -> None:
    conversation = await people.store.ensure_direct(people.alice, people.alice, new_id(), T0)
    assert (await people.store.conversations([conversation]))[conversation].members == (
        Interval(people.alice, 1, 0),
    )
    assert conversation == await people.store.ensure_direct(people.alice, people.alice, new_id(), T0)


async def test_peers_are_the_others_of_direct_conversations_by_pages(people: People, harness: Any) -> None:
    store, others = people.store, [new_id() for _ in range(3)]
    for other in others:
        await store.ensure_direct(people.alice, other, new_id(), T0)
    await store.ensure_direct(people.alice, people.alice, new_id(), T0)
    await harness.group(people.alice, new_id())
    want = sorted([*others, people.bob])
    none = "00000000-0000-0000-0000-000000000000"
    assert await store.direct_peers(people.alice, 3, none) == want[:3]
    assert await store.direct_peers(people.alice, 3, want[2]) == want[3:]
    assert await store.direct_peers(new_id(), 3, none) == []


async def test_conversations_know_every_interval(people: People, harness: Any) -> None:
    group = await harness.group(people.alice, people.bob)
    await harness.leave(group, people.bob, 4)
    await harness.join(group, people.bob, 9)
    found = await people.store.conversations([group, new_id(), people.conversation])
    assert set(found) == {group, people.conversation}
    assert found[group].kind == "group"
    assert sorted(found[group].members) == sorted(
        [Interval(people.alice, 1, 0), Interval(people.bob, 1, 4), Interval(people.bob, 9, 0)]
    )
    assert await people.store.conversations([]) == {}


async def test_listed_counts_what_is_unread(people: People) -> None:
    store = people.store
    await people.append(people.send(), people.send(kind="reaction"), people.send(), people.send(body=b"last"))
    (one,) = await store.listed(people.bob, 10)
    assert (one.conversation, one.kind, one.head, one.unread) == (people.conversation, "direct", 4, 3)
    assert (one.peers, one.delivered, one.read) == ((people.alice,), 0, 0)
    assert one.last is not None
    assert (one.last.seq, one.last.content) == (4, b"last")
    await store.save([], [ReceiptWrite(people.conversation, people.bob, 4, 1)], T0)
    (one,) = await store.listed(people.bob, 10)
    assert (one.unread, one.delivered, one.read) == (2, 4, 1)
    await store.save([], [ReceiptWrite(people.conversation, people.bob, 4, 4)], T0)
    assert (await store.listed(people.bob, 10))[0].unread == 0


async def test_listed_counts_ones_own_sends_as_read(people: People) -> None:
    seqs = await people.say(b"1", b"2")
    await people.store.save([], [ReceiptWrite(people.conversation, people.alice, sent=seqs[-1])], T0)
    (one,) = await people.store.listed(people.alice, 10)
    assert (one.unread, one.read) == (0, 0)
    await people.append(people.send(sender=people.bob, device=people.tablet))
    assert (await people.store.listed(people.alice, 10))[0].unread == 1


async def test_listed_counts_in_the_intervals_only(people: People, harness: Any) -> None:
    group = await harness.group(people.alice)
    await harness.join(group, people.bob, 2)
    await harness.leave(group, people.bob, 3)
    await harness.join(group, people.bob, 6)
    await people.append(*(people.send(conversation=group) for _ in range(7)))
    listed = {one.conversation: one for one in await people.store.listed(people.bob, 10)}
    assert (listed[group].unread, listed[group].head) == (4, 7)
    await people.store.save([], [ReceiptWrite(group, people.bob, 6, 6)], T0)
    listed = {one.conversation: one for one in await people.store.listed(people.bob, 10)}
    assert listed[group].unread == 1
    assert listed[group].peers == ()


async def test_listed_of_a_member_who_left_ends_where_he_left(people: People, harness: Any) -> None:
    carol = new_id()
    group = await harness.group(people.alice, carol)
    await people.append(*(people.send(conversation=group, body=str(i).encode()) for i in (1, 2, 3)))
    await harness.leave(group, carol, 2)
    (one,) = await people.store.listed(carol, 10)
    assert one.last is not None
    assert (one.head, one.unread, one.last.content) == (2, 2, b"2")


async def test_listed_in_pages(people: People) -> None:
    user = new_id()
    made = sorted([await people.store.ensure_direct(user, new_id(), new_id(), T0) for _ in range(5)])
    found: list[str] = []
    while page := await people.store.listed(user, 2, found[-1] if found else ""):
        assert len(page) <= 2
        assert all(one.last is None and one.head == 0 and one.unread == 0 for one in page)
        found += [one.conversation for one in page]
    assert found == made
    assert await people.store.listed(new_id(), 10) == []
