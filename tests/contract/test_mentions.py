"""Unread mentions: kept with the message, of those who are owed it, until they have read it."""

from __future__ import annotations

import asyncio
import random
from typing import Any

import psycopg
import pytest

from delivery.store.values import Outcome, ReceiptWrite
from tests.contract.people import T0, People, new_id

DAY = 86_400_000


async def mentioned(people: People, user: str, conversation: str = "") -> int:
    found = {one.conversation: one.mentioned for one in await people.store.listed(user, 100)}
    return found[conversation or people.conversation]


async def test_a_mention_is_unread_until_its_message_is_read(people: People) -> None:
    both = [people.bob, people.alice]
    await people.append(
        people.send(), people.send(mentions=both), people.send(), people.send(mentions=[people.bob] * 3)
    )
    assert await mentioned(people, people.bob) == 2
    assert await mentioned(people, people.alice) == 0  # nobody mentions themselves
    await people.store.save([], [ReceiptWrite(people.conversation, people.bob, 2, 2)], T0)
    assert await mentioned(people, people.bob) == 1
    await people.append(people.send(sender=people.bob, device=people.tablet))
    await people.store.save([], [ReceiptWrite(people.conversation, people.bob, sent=5)], T0)
    assert await mentioned(people, people.bob) == 0


async def test_who_is_not_owed_the_message_has_no_mention(people: People, harness: Any) -> None:
    """Left before, joins later, is a stranger: nothing is stored for them, nor counted once they come."""
    left, later, stranger = new_id(), new_id(), new_id()
    group = await harness.group(people.alice, people.bob, left)
    await people.append(people.send(conversation=group))
    await harness.leave(group, left, 1)
    everybody = [people.bob, left, later, stranger]
    await people.append(people.send(conversation=group, mentions=everybody))
    assert await harness.mentions(group, *everybody) == [(people.bob, 2)]
    await harness.join(group, later, 3)
    await people.append(people.send(conversation=group))
    assert await mentioned(people, later, group) == 0
    assert await mentioned(people, left, group) == 0
    await harness.join(group, left, 4)
    await people.append(people.send(conversation=group, mentions=[left]))
    assert await mentioned(people, left, group) == 1


@pytest.mark.sql_only
async def test_who_joins_while_the_message_waits_for_its_turn_has_the_mention(
    people: People, harness: Any
) -> None:
    """Who is owed it is looked up after the conversation is locked, like everything about its place."""
    late = new_id()
    group = await harness.group(people.alice)
    async with await psycopg.AsyncConnection.connect(harness.url) as joining:
        await joining.execute("SELECT 1 FROM delivery_head WHERE conversation = %s FOR UPDATE", (group,))
        await joining.execute(
            "INSERT INTO delivery_member (conversation, member, joined_seq) VALUES (%s, %s, 1)", (group, late)
        )
        saying = asyncio.create_task(people.append(people.send(conversation=group, mentions=[late])))
        await harness.waiting()
        await joining.commit()
        assert (await saying)[0].outcome is Outcome.STORED
    assert await mentioned(people, late, group) == 1


async def test_in_a_batch_each_mention_is_of_its_own_message(people: People, harness: Any) -> None:
    other = await people.store.ensure_direct(people.alice, people.bob, new_id(), T0)
    assert other == people.conversation
    group = await harness.group(people.alice, people.bob)
    one = people.send(mentions=[people.bob])
    await people.append(one, people.send(conversation=group))
    # A batch in which something is repeated and something refused is judged send by send.
    results = await people.append(
        people.send(conversation=group, mentions=[people.bob]),
        one,
        people.send(conversation=new_id(), mentions=[people.bob]),
        people.send(seq_num=7, mentions=[people.bob]),
        people.send(),
        people.send(mentions=[people.bob]),
    )
    assert [result.outcome for result in results] == [
        Outcome.STORED, Outcome.DUPLICATE, Outcome.NO_CONVERSATION, Outcome.OUT_OF_ORDER, Outcome.STORED, Outcome.STORED,
    ]  # fmt: skip
    rows = [(c, *row) for c in (people.conversation, group) for row in await harness.mentions(c, people.bob)]
    assert rows == [
        (people.conversation, people.bob, 1), (people.conversation, people.bob, 3), (group, people.bob, 2),
    ]  # fmt: skip


async def test_a_deleted_message_mentions_nobody(people: People) -> None:
    one, two, three = (people.send(mentions=[people.bob]) for _ in range(3))
    await people.append(one, two)
    await people.append(
        people.amend(one.message_id, "delete"), three, people.amend(three.message_id, "delete")
    )
    assert await mentioned(people, people.bob) == 1


async def test_mentions_end_with_their_messages(people: People) -> None:
    await _mention_and_expire(people)
    assert await mentioned(people, people.bob) == 1


@pytest.mark.sql_only  # elsewhere they go by their time to live
async def test_mentions_of_expired_messages_take_no_room(people: People, harness: Any) -> None:
    await _mention_and_expire(people)
    assert await harness.mentions(people.conversation, people.bob) == [(people.bob, 2)]


async def _mention_and_expire(people: People) -> None:
    old = (
        T0 - random.randrange(1_000, 10_000) * DAY
    )  # a day of its own: what others expire is not looked at again
    await people.append(people.send(mentions=[people.bob]), now=old)
    await people.append(people.send(mentions=[people.bob]), now=T0)
    assert await mentioned(people, people.bob) == 2
    while await people.store.expire(T0, 30 * DAY):
        pass
