"""Message requests: until a user accepts a stranger, nothing of what the user has reaches the stranger."""

from __future__ import annotations

from typing import Any

import psycopg
import pytest

from delivery.store.errors import Blocked
from delivery.store.values import Outcome, Receipt, ReceiptWrite
from tests.contract.people import T0, People, new_id


class Strangers(People):
    """Alice writes to Bob, who does not know her."""

    async def shown(self, user: str) -> list[Receipt]:
        return [one for one in await self.store.receipts([], user, 0) if one.user != user]

    async def listed(self, user: str) -> Any:
        (one,) = await self.store.listed(user, 10)
        return one

    async def unaccepted(self) -> frozenset[str]:
        return (await self.store.conversations([self.conversation]))[self.conversation].unaccepted


async def meet(harness: Any) -> Strangers:
    people = Strangers(harness.store)
    await people.meet()
    await people.store.request(people.conversation, [people.bob])
    return people


async def test_who_is_not_accepted_is_told_no_receipts(harness: Any) -> None:
    people = await meet(harness)
    assert await people.unaccepted() == {people.bob}
    assert not (await people.listed(people.bob)).request, "nothing was said yet"
    await people.say(b"1", b"2")
    marks = [ReceiptWrite(people.conversation, people.bob, 2, 1)]
    await people.store.save([], [*marks, ReceiptWrite(people.conversation, people.alice, 1)], T0)
    assert await people.shown(people.alice) == []
    (each,) = await people.store.message_receipts(people.conversation, people.alice, 1, "", 10)
    assert (each.delivered, each.read) == (False, False)
    # Only in this direction.
    assert [one.delivered for one in await people.shown(people.bob)] == [1]
    assert [e.request for e in await people.read(people.bob)] == [True, True]
    assert [e.request for e in await people.read(people.alice)] == [False, False]
    page = await people.store.history(people.conversation, people.bob, 0, 1 << 40, 10)
    assert [e.request for e in page.events] == [True, True]
    assert (await people.listed(people.bob)).request
    assert (await people.listed(people.bob)).unread == 1
    assert not (await people.listed(people.alice)).request
    assert await people.store.badges([people.bob], T0) == {people.bob: 0}
    # By whatever way it is accepted, once.
    nobody = await people.store.accept(people.alice, T0 + 5, others=[people.bob, new_id()])
    assert nobody == []
    told = await people.store.accept(people.bob, T0 + 5, others=[people.alice, new_id()])
    assert told == [(people.conversation, people.alice)]
    assert await people.store.accept(people.bob, T0 + 6, conversations=[people.conversation, new_id()]) == []
    assert await people.unaccepted() == frozenset()
    # Whoever was away since before hears of it.
    (receipt,) = await people.store.receipts([], people.alice, T0 + 5)
    assert receipt == Receipt(people.conversation, people.bob, 2, 1, T0 + 5, T0 + 5)
    assert await people.store.badges([people.bob], T0) == {people.bob: 1}
    assert [e.request for e in await people.read(people.bob)] == [False, False]


async def test_an_answer_accepts_and_what_is_not_stored_does_not(harness: Any) -> None:
    people = await meet(harness)
    (first,) = await people.append(message := people.send())

    def answer(**fields: Any) -> Any:
        send = people.send(sender=people.bob, device=people.tablet, **fields)
        send.answers = True
        return send

    assert first.outcome is Outcome.STORED
    (refused,) = await people.append(answer(seq_num=7))
    assert refused.outcome is Outcome.OUT_OF_ORDER
    assert await people.unaccepted() == {people.bob}
    # In one batch with what is refused, with sends of others, and behind an amendment.
    await people.append(answer(seq_num=7), people.send(), answer(seq_num=1))
    assert await people.unaccepted() == frozenset()
    await people.store.request(people.conversation, [people.bob])
    await people.append(people.amend(message.message_id, "edit", b"x"), answer())
    assert await people.unaccepted() == frozenset()
    await people.store.request(people.conversation, [people.bob])
    reaction = people.amend(message.message_id, "reaction", b"x", sender=people.bob, device=people.tablet)
    reaction.answers = True
    await people.append(reaction)
    assert await people.unaccepted() == frozenset()


async def test_a_block_and_a_request_are_two_things(harness: Any) -> None:
    people = await meet(harness)
    await people.say(b"1")
    await people.store.save([], [ReceiptWrite(people.conversation, people.bob, 1, 1)], T0)
    await people.store.withhold(people.bob, people.alice, True, T0 + 1)
    await people.say(b"withheld")
    await people.store.withhold(people.bob, people.alice, False, T0 + 2)
    assert await people.shown(people.alice) == []
    assert await people.unaccepted() == {people.bob}
    assert (await people.listed(people.bob)).request
    await people.store.withhold(people.bob, people.alice, True, T0 + 3)
    await people.store.accept(people.bob, T0 + 4, others=[people.alice])
    await people.store.withhold(people.bob, people.alice, False, T0 + 5)
    assert [one.read for one in await people.shown(people.alice)] == [1]


async def test_all_of_what_was_said_is_withheld_so_it_is_no_request(harness: Any) -> None:
    people = await meet(harness)
    await people.store.withhold(people.bob, people.alice, True, T0)
    await people.say(b"withheld")
    assert not (await people.listed(people.bob)).request


@pytest.mark.sql_only
async def test_who_accepts_in_a_long_transaction_holds_up_that_conversation_alone(harness: Any) -> None:
    """An address book is added in one transaction with all that it accepts: the sends of others do not wait for its end."""
    people = await meet(harness)
    await people.say(b"1")
    free = await people.store.ensure_direct(people.alice, new_id(), new_id(), T0)
    answer = people.send(sender=people.bob, device=people.tablet)
    answer.answers = True
    store = await harness.gateway(lock_ms=100)
    async with await psycopg.AsyncConnection.connect(harness.url) as adding:
        await adding.execute(
            "SELECT delivery_accept(ARRAY[%s::uuid], ARRAY[%s::uuid], %s::bigint)",
            (people.conversation, people.bob, T0),
        )
        with pytest.raises(Exception) as raised:
            await store.append(people.writer, [answer, people.send(conversation=free)], T0)
    if harness.ALONE:
        assert isinstance(raised.value, Blocked)
        assert [one and one.outcome for one in raised.value.results] == [None, Outcome.STORED]
    (again, _) = (await store.append(people.writer, [answer, people.send(conversation=free)], T0)).results
    assert (again.outcome, again.seq) == (Outcome.STORED, 2)
    assert await people.unaccepted() == frozenset()
