"""Two gateways at once: order, dedupe and numbers hold without anything between them but the store."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from typing import Any

import pytest

from delivery.store.errors import Blocked
from delivery.store.interface import Unavailable
from delivery.store.values import Change, Outcome, Send
from tests.contract.people import T0, People, new_id, read_all, seqs

STORED, DUPLICATE, CONFLICT, OUT_OF_ORDER = (
    Outcome.STORED, Outcome.DUPLICATE, Outcome.CONFLICT, Outcome.OUT_OF_ORDER,
)  # fmt: skip


async def test_c2_the_same_sends_over_two_gateways_are_stored_once(people: People, harness: Any) -> None:
    other = await harness.gateway()
    for _ in range(15):
        batch = [people.send() for _ in range(5)]
        first, second = await asyncio.gather(
            people.store.append(people.writer, batch, T0), other.append(new_id(), batch, T0 + 1)
        )
        for one, two in zip(first.results, second.results, strict=True):
            assert {one.outcome, two.outcome} == {STORED, DUPLICATE}
            assert (one.seq, one.at) == (two.seq, two.at)
        assert bool(first.row) != bool(second.row)
    events = await people.read(people.bob)
    assert seqs(events) == list(range(1, 76))
    assert len({event.message_id for event in events}) == 75


async def test_c2_one_message_id_raced_into_two_conversations_lands_in_one(
    people: People, harness: Any
) -> None:
    """Neither batch waits for the other's head; the unique key decides, and the loser answers as for a retry. A store without a
    key over all conversations may let both win; a message that is stored is known to both of them."""
    other = await harness.gateway()
    second = await people.store.ensure_direct(people.alice, new_id(), new_id(), T0)
    for _ in range(15):
        ids = [new_id(), new_id()]
        here = [people.send(message_id=i) for i in ids]
        there = [people.send(message_id=i, conversation=second) for i in reversed(ids)]
        answers = await asyncio.gather(
            people.store.append(people.writer, here, T0), other.append(new_id(), there, T0)
        )
        found = Counter(result.outcome for answer in answers for result in answer.results)
        if harness.ONE_KEY:
            assert found == {STORED: 2, CONFLICT: 2}
        else:
            assert found[STORED] >= 2
            assert found[STORED] + found[CONFLICT] == 4
            again = await people.append(here[0], people.send(message_id=ids[0], conversation=second))
            assert {result.outcome for result in again} <= {DUPLICATE, CONFLICT}
    logs = [await people.read(people.bob), await read_all(people.store, second, people.alice)]
    for log in logs:
        assert len({event.message_id for event in log}) == len(log)
    if harness.ONE_KEY:
        assert len({event.message_id for log in logs for event in log}) == sum(map(len, logs)) == 30


async def test_c3_numbers_of_one_device_over_two_gateways_stay_in_order(people: People, harness: Any) -> None:
    """A replaced socket's sends and the retries of them over another gateway: each stored once, in the device's order."""
    sends = [people.send(seq_num=n) for n in range(1, 41)]
    stores = [people.store, await harness.gateway()]

    async def push(store: Any, seed: int) -> None:
        dice = random.Random(seed)
        start = 0
        while start < len(sends):
            batch = sends[start : start + dice.randint(1, 6)]
            for result in (await store.append(new_id(), batch, T0)).results:
                if result.outcome is OUT_OF_ORDER:
                    start = min(start, result.expected - 1)
                    break
                start += 1

    await asyncio.gather(*(push(store, seed) for seed, store in enumerate(stores)))
    events = await people.read(people.bob)
    assert [event.seq_num for event in events] == list(range(1, 41))
    assert seqs(events) == list(range(1, 41))


async def test_r17_heads_are_locked_in_one_order_so_random_batches_never_deadlock(
    people: People, harness: Any
) -> None:
    conversations = [await people.store.ensure_direct(people.alice, new_id(), new_id(), T0) for _ in range(6)]
    stores = [people.store, *[await harness.gateway() for _ in range(3)]]
    before = await harness.deadlocks()

    async def push(store: Any, seed: int) -> list[Send]:
        dice = random.Random(seed)
        done = []
        for _ in range(12):
            batch = [people.send(conversation=dice.choice(conversations)) for _ in range(dice.randint(2, 20))]
            answer = await store.append(new_id(), batch, T0)
            assert all(result.outcome is STORED for result in answer.results)
            done += batch
        return done

    sent = [one for part in await asyncio.gather(*map(push, stores, range(4))) for one in part]
    for conversation in conversations:
        events = await read_all(people.store, conversation, people.alice)
        mine = [one.message_id for one in sent if one.conversation == conversation]
        assert seqs(events) == list(range(1, len(mine) + 1))
        assert sorted(event.message_id for event in events) == sorted(mine)
    assert before == await harness.deadlocks()


async def test_a_reader_never_sees_a_hole(people: People, harness: Any) -> None:
    """seqs become visible in order: what a page passes never fills up later."""
    other = await harness.gateway()
    seen: list[int] = []
    writing = True

    async def read() -> None:
        while writing:
            seen.extend(seqs(await people.read(people.bob, after=seen[-1] if seen else 0)))

    async def write(store: Any) -> None:
        for _ in range(20):
            await store.append(new_id(), [people.send() for _ in range(3)], T0)

    reader = asyncio.create_task(read())
    await asyncio.gather(write(other), write(await harness.gateway()))
    writing = False
    await reader
    seen.extend(seqs(await people.read(people.bob, after=seen[-1] if seen else 0)))
    assert seen == list(range(1, 121))


async def test_one_locked_conversation_does_not_keep_the_others_of_its_batch(
    people: People, harness: Any
) -> None:
    store = await harness.gateway(lock_ms=100)
    free = await people.store.ensure_direct(people.alice, new_id(), new_id(), T0)
    batch = [people.send(), people.send(conversation=free), people.send(), people.send(conversation=free)]
    async with harness.held(people.conversation):
        with pytest.raises(Unavailable) as raised:
            await store.append(people.writer, batch, T0)
    blocked = raised.value
    if not harness.ALONE:  # the exception ends the caller's transaction: nothing is stored
        assert [r.seq for r in (await store.append(people.writer, batch, T0)).results] == [1, 1, 2, 2]
        return
    assert isinstance(blocked, Blocked)
    assert [result and (result.outcome, result.seq) for result in blocked.results] == [
        None, (STORED, 1), None, (STORED, 2),
    ]  # fmt: skip
    assert (await people.store.outbox(people.writer, "e", T0))[-1] == (
        people.writer,
        blocked.row,
        T0,
        ((free, 2),),
    )
    again = await store.append(people.writer, batch, T0)
    assert [(r.outcome, r.seq) for r in again.results] == [
        (STORED, 1),
        (DUPLICATE, 1),
        (STORED, 2),
        (DUPLICATE, 2),
    ]


async def test_a_lock_that_is_given_back_in_time_costs_nothing(people: People, harness: Any) -> None:
    async with harness.held(people.conversation):
        task = asyncio.create_task(people.store.append(people.writer, [people.send()], T0))
        await harness.waiting()
    assert (await task).results[0].outcome is STORED


async def test_r17_a_member_list_is_as_of_its_head(people: People, harness: Any) -> None:
    """A list that says it was read at head h knows every change up to h."""
    group = await harness.group(people.alice)
    other = await harness.gateway()

    async def change() -> None:
        for seq in range(1, 40):
            joins = [Change(new_id(), "member_added", joins=(new_id(),))]
            changed = await people.store.change(people.writer, group, people.alice, joins, T0)
            assert changed.seqs == [seq]

    task = asyncio.create_task(change())
    while not task.done():
        conversation = (await other.conversations([group]))[group]
        joined = {interval.joined for interval in conversation.members}
        assert joined >= set(range(1, conversation.head + 1))
    await task
