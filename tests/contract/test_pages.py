"""The one read path: what is owed to whom, in what pieces (R12, R16)."""

from __future__ import annotations

from typing import Any

import pytest

from delivery.store.values import Page, PageRequest
from tests.contract.people import T0, People, new_id, seqs


async def page(people: People, user: str, after: int = 0, conversation: str = "", **fields: Any) -> Page:
    (one,) = await people.store.pages(
        [PageRequest(conversation or people.conversation, user, after, **fields)]
    )
    return one


async def test_pages_by_limit(people: People) -> None:
    await people.say(*[b"x"] * 7)
    first = await page(people, people.bob, limit=3)
    assert (seqs(first.events), first.through, first.head, first.floor) == ([1, 2, 3], 3, 7, 0)
    last = await page(people, people.bob, after=4, limit=3)
    assert (seqs(last.events), last.through, last.head) == ([5, 6, 7], 7, 7)
    assert await page(people, people.bob, after=7) == Page([], 7, 7, 0)


async def test_an_empty_conversation_is_one_empty_last_page(people: People) -> None:
    assert await page(people, people.bob) == Page([], 0, 0, 0)


async def test_a_stranger_and_an_unknown_conversation_get_nothing(people: People) -> None:
    await people.say(b"secret")
    for conversation, user in ((people.conversation, new_id()), (new_id(), people.alice)):
        one = await page(people, user, conversation=conversation)
        assert (one.events, one.head, one.floor) == ([], 0, 0)
        assert one.through >= one.head


async def test_max_bytes_cuts_but_always_gives_one(people: People) -> None:
    await people.append(
        people.send(body=b"x" * 100),
        people.send(body=b"x" * 50, extra=b"y" * 25, envelopes=b"z" * 25),
        people.send(body=b"x" * 101),
        people.send(body=b"x" * 5_000),
    )
    assert seqs((await page(people, people.bob, max_bytes=200)).events) == [1, 2]
    cut = await page(people, people.bob, after=2, max_bytes=200)
    assert (seqs(cut.events), cut.through, cut.head) == ([3], 3, 4)
    big = await page(people, people.bob, after=3, max_bytes=200)
    assert (seqs(big.events), big.through) == ([4], 4)
    assert seqs((await page(people, people.bob, max_bytes=0)).events) == [1]


async def test_several_pages_in_one_call_keep_their_order(people: People) -> None:
    other = await people.store.ensure_direct(people.alice, new_id(), new_id(), T0)
    await people.append(
        people.send(body=b"1"), people.send(conversation=other, body=b"2"), people.send(body=b"3")
    )
    requests = [
        PageRequest(other, people.alice, 0),
        PageRequest(people.conversation, people.alice, 1),
        PageRequest(other, people.bob, 0),
        PageRequest(people.conversation, people.alice, 0, 1),
        PageRequest(other, people.alice, 0),
    ]
    pages = await people.store.pages(requests)
    assert [[e.content for e in p.events] for p in pages] == [[b"2"], [b"3"], [], [b"1"], [b"2"]]
    assert pages[0].events[0].conversation == other
    assert await people.store.pages([]) == []


@pytest.mark.parametrize("limit", [1, 2, 100])
async def test_r16_only_what_lies_in_an_interval_is_owed(people: People, harness: Any, limit: int) -> None:
    """Joined at 3, left at 5, joined again at 8, left at 8, joined again at 11."""
    group = await harness.group(people.alice)
    carol = new_id()
    for joined, left in ((3, 5), (8, 8), (11, 0)):
        await harness.join(group, carol, joined)
        if left:
            await harness.leave(group, carol, left)
    await people.append(*(people.send(conversation=group) for _ in range(12)))
    assert seqs(await people.read(carol, conversation=group, limit=limit)) == [3, 4, 5, 8, 11, 12]
    assert seqs(await people.read(carol, after=4, conversation=group, limit=limit)) == [5, 8, 11, 12]
    assert seqs(await people.read(carol, after=9, conversation=group, limit=limit)) == [11, 12]
    assert seqs(await people.read(people.alice, conversation=group, limit=limit)) == list(range(1, 13))


async def test_r12_who_left_reads_to_the_end_and_learns_of_nothing_behind_it(
    people: People, harness: Any
) -> None:
    group = await harness.group(people.alice, people.bob)
    await people.append(*(people.send(conversation=group) for _ in range(3)))
    await harness.leave(group, people.bob, 2)
    one = await page(people, people.bob, conversation=group)
    assert (seqs(one.events), one.head) == ([1, 2], 2)
    assert one.through == 2, "how many came afterwards is not told"
    empty = await page(people, people.bob, after=2, conversation=group)
    assert (empty.events, empty.head, empty.through) == ([], 2, 2)
    for before in (2, 100):
        back = await people.store.history(group, people.bob, 0, before, 10)
        assert (back.through, back.head) == (min(before - 1, 2), 2)


async def test_someone_who_joins_later_is_owed_nothing_yet(people: People, harness: Any) -> None:
    group = await harness.group(people.alice)
    await people.append(*(people.send(conversation=group) for _ in range(3)))
    await harness.join(group, people.bob, 4)
    one = await page(people, people.bob, conversation=group)
    assert (one.events, one.head) == ([], 0)
    await people.append(people.send(conversation=group))
    assert seqs(await people.read(people.bob, conversation=group)) == [4]


async def test_history_both_ways(people: People) -> None:
    store = people.store
    await people.say(*[b"x"] * 9)
    forward = await store.history(people.conversation, people.bob, 2, 0, 3)
    assert (seqs(forward.events), forward.through, forward.head) == ([3, 4, 5], 5, 9)
    backward = await store.history(people.conversation, people.bob, 0, 5, 3)
    assert (seqs(backward.events), backward.head) == ([2, 3, 4], 9)
    assert seqs((await store.history(people.conversation, people.bob, 0, 3, 10)).events) == [1, 2]
    assert seqs((await store.history(people.conversation, people.bob, 0, 1_000, 2)).events) == [8, 9]
    assert (await store.history(people.conversation, people.bob, 0, 1, 10)).events == []
    for before in (0, 5):
        stranger = await store.history(people.conversation, new_id(), 0, before, 10)
        assert (stranger.events, stranger.head) == ([], 0)


async def test_history_keeps_to_the_intervals(people: People, harness: Any) -> None:
    group = await harness.group(people.alice)
    await harness.join(group, people.bob, 2)
    await harness.leave(group, people.bob, 3)
    await harness.join(group, people.bob, 6)
    await people.append(*(people.send(conversation=group) for _ in range(7)))
    assert seqs((await people.store.history(group, people.bob, 0, 7, 2)).events) == [3, 6]
    assert seqs((await people.store.history(group, people.bob, 0, 100, 10)).events) == [2, 3, 6, 7]
    assert seqs((await people.store.history(group, people.bob, 0, 6, 10)).events) == [2, 3]
    assert seqs((await people.store.history(group, people.bob, 2, 0, 2)).events) == [3, 6]


async def test_who_knows_which_event(people: People, harness: Any) -> None:
    store = people.store
    group = await harness.group(people.alice)
    early, late = people.send(conversation=group), people.send(conversation=group)
    here = people.send()
    await people.append(early, here)
    await harness.join(group, people.bob, 2)
    await people.append(late)
    asked = {
        (group, people.alice, early.message_id): True,
        (group, people.bob, early.message_id): False,
        (group, people.bob, late.message_id): True,
        (group, new_id(), late.message_id): False,
        (group, people.alice, here.message_id): False,
        (people.conversation, people.bob, here.message_id): True,
        (people.conversation, people.bob, new_id()): False,
        (new_id(), people.bob, here.message_id): False,
    }
    assert await store.knows(list(asked)) == list(asked.values())
    assert await store.knows([]) == []


async def test_what_may_have_expired_counts_as_known(people: People) -> None:
    old = T0 // 3  # an expiry sees the whole store: far below what other tests write
    gone = people.send()
    await people.append(gone, now=old)
    await people.append(people.send())
    asked = [
        (people.conversation, people.bob, gone.message_id),
        (people.conversation, new_id(), gone.message_id),
    ]
    assert await people.store.knows(asked) == [True, False]
    while await people.store.expire(old + 2, 1, 100):
        pass
    assert await people.store.knows(asked) == [True, False]
