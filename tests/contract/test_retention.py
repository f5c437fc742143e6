"""Events end by age: a floor closes the hole, positions record it, and what was counted stays right."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from delivery.store.values import Behind, Outcome, PageRequest, Position, PositionWrite, ReceiptWrite
from tests.contract.people import T0, People, new_id, seqs

DAY = 24 * 60 * 60 * 1000
KEEP = 30 * DAY
#: An expiry sees the whole store: every test takes a time below all that others, before it too, have left behind.
_past = iter(range(T0 // 2 - 200 * DAY, 0, -100 * DAY))


async def expire_all(people: People, now: int, limit: int = 5000) -> int:
    total = 0
    while gone := await people.store.expire(now, KEEP, limit):
        assert gone <= limit
        total += gone
    return total


async def test_with_the_clock_moved_old_events_end_and_young_ones_stay(people: People) -> None:
    past = next(_past)
    await people.say(b"1", b"2", b"3", now=past)
    await people.say(b"4", now=past + 2 * DAY)
    assert await expire_all(people, past + KEEP) == 0
    assert await expire_all(people, past + 31 * DAY) == 3
    (page,) = await people.store.pages([PageRequest(people.conversation, people.bob, 0)])
    assert (seqs(page.events), page.through, page.head, page.floor) == ([4], 4, 4, 3)
    assert page.events[0].ordinal == 4
    assert await expire_all(people, past + 40 * DAY) == 1
    (page,) = await people.store.pages([PageRequest(people.conversation, people.bob, 0)])
    assert (page.events, page.head, page.floor) == ([], 4, 4)
    assert page.through >= 4, "the hole is closed"
    assert (await people.append(people.send(), now=past + 41 * DAY))[0].seq == 5


async def test_what_has_expired_is_not_stored_any_more(people: People) -> None:
    """Whoever was removed meanwhile, and sends under its id again, is refused like others."""
    past = next(_past)
    old, young = people.send(), people.send()
    await people.append(old, now=past)
    await people.append(young, now=past + 2 * DAY)
    assert await expire_all(people, past + 31 * DAY) == 1
    stored = await people.store.stored([(people.alice, one.message_id) for one in (old, young)])
    assert [bool(one) for one in stored] == [False, True]


async def test_expiry_is_a_recorded_end_for_devices_that_did_not_read(people: People) -> None:
    past = next(_past)
    store = people.store
    await people.say(*[b"x"] * 4, now=past)
    await store.save([PositionWrite(people.tablet, people.conversation, 1)], [], past)
    await store.save([PositionWrite(people.phone, people.conversation, 4)], [], past)
    await people.say(b"y", now=past + 20 * DAY)
    assert await expire_all(people, past + 31 * DAY) == 4
    of = people.conversation
    assert (await store.positions(people.bob, people.tablet, [of]))[of] == Position(4, 5, 4)
    assert (await store.positions(people.alice, people.phone, [of]))[of] == Position(4, 5, 0)
    assert await store.behind(people.bob, people.tablet) == [Behind(of, 5, 4)]
    await store.save([PositionWrite(people.tablet, of, 5)], [], past)
    assert (await store.positions(people.bob, people.tablet, [of]))[of] == Position(5, 5, 4)


async def test_expiry_reaches_devices_that_never_acknowledged(people: People) -> None:
    past = next(_past)
    await people.say(b"1", b"2", now=past)
    assert await expire_all(people, past + 31 * DAY) == 2
    of = people.conversation
    assert (await people.store.positions(people.bob, people.tablet, [of]))[of] == Position(2, 2, 2)
    assert await people.store.behind(people.bob, people.tablet) == []
    await people.store.link_device(people.bob, people.desk, past + 31 * DAY)
    assert (await people.store.positions(people.bob, people.desk, [of]))[of] == Position(2, 2, 0)


async def test_expiry_respects_what_was_owed(people: People, harness: Any) -> None:
    """Who left and had read it all lost nothing; who joined later was owed nothing of it."""
    past = next(_past)
    store = people.store
    carol, dave, hers, his = new_id(), new_id(), new_id(), new_id()
    await store.link_device(carol, hers, past)
    await store.link_device(dave, his, past)
    group = await harness.group(people.alice, carol)
    await people.append(*(people.send(conversation=group) for _ in range(4)), now=past)
    await store.save([PositionWrite(hers, group, 2)], [], past)
    await harness.leave(group, carol, 2)
    await harness.join(group, dave, 5)
    await people.append(people.send(conversation=group), now=past + 20 * DAY)
    assert await expire_all(people, past + 31 * DAY) == 4
    assert (await store.positions(carol, hers, [group]))[group] == Position(2, 2, 0)
    assert (await store.positions(dave, his, [group]))[group] == Position(4, 5, 0)
    assert seqs(await people.read(dave, conversation=group)) == [5]


async def test_expiry_goes_by_the_log_not_by_clocks(people: People) -> None:
    """An older time behind a younger one waits for it: a floor has no holes."""
    past = next(_past)
    for offset in (0, 5 * DAY, DAY, 6 * DAY):
        await people.say(b"x", now=past + offset)
    assert await expire_all(people, past + 33 * DAY) == 1
    assert seqs(await people.read(people.bob)) == [2, 3, 4]
    assert await expire_all(people, past + KEEP + 5 * DAY + 1) == 2
    assert seqs(await people.read(people.bob)) == [4]


async def test_expiry_in_steps(people: People) -> None:
    past = next(_past)
    others = [await people.store.ensure_direct(people.alice, new_id(), new_id(), T0) for _ in range(3)]
    for conversation in others:
        await people.append(*(people.send(conversation=conversation) for _ in range(5)), now=past)
    await people.append(*(people.send() for _ in range(7)), now=past)
    assert await people.store.expire(past + 31 * DAY, KEEP, 4) == 4
    assert await expire_all(people, past + 31 * DAY, limit=4) == 18
    for conversation in (*others, people.conversation):
        assert await people.read(people.alice, conversation=conversation) == []


async def test_unread_after_expiry_counts_what_can_still_be_read(people: People) -> None:
    past = next(_past)
    await people.append(people.send(), people.send(kind="edit"), people.send(), now=past)
    await people.say(b"4", b"5", now=past + 10 * DAY)
    await people.store.save([], [ReceiptWrite(people.conversation, people.bob, 1, 1)], past)
    assert (await people.store.listed(people.bob, 5))[0].unread == 3
    await expire_all(people, past + 31 * DAY)
    (one,) = await people.store.listed(people.bob, 5)
    assert (one.unread, one.last and one.last.seq) == (2, 5)
    await expire_all(people, past + 50 * DAY)
    (one,) = await people.store.listed(people.bob, 5)
    assert (one.unread, one.last, one.head) == (0, None, 5)


async def test_a_message_id_is_remembered_for_the_retention(people: People) -> None:
    past = next(_past)
    one = people.send()
    await people.append(one, now=past)
    assert (await people.append(one, now=past + 29 * DAY))[0].outcome is Outcome.DUPLICATE
    await expire_all(people, past + 31 * DAY)
    assert await people.store.find(people.conversation, one.message_id) == 0
    assert (await people.append(one, now=past + 31 * DAY))[0].seq == 2


async def test_history_and_seq_num_survive_expiry(people: People) -> None:
    past = next(_past)
    await people.append(people.send(seq_num=1), people.send(seq_num=2), now=past)
    await expire_all(people, past + 31 * DAY)
    (result,) = await people.append(people.send(seq_num=3), now=past + 31 * DAY)
    assert (result.outcome, result.seq) == (Outcome.STORED, 3)
    page = await people.store.history(people.conversation, people.bob, 0, 100, 10)
    assert (seqs(page.events), page.floor) == ([3], 2)


async def test_appends_go_on_while_events_expire(people: People, harness: Any) -> None:
    past = next(_past)
    other = await harness.gateway()
    await people.say(*[b"x"] * 60, now=past)

    async def write() -> None:
        for _ in range(15):
            answer = await other.append(people.writer, [people.send()], past + 31 * DAY)
            assert answer.results[0].outcome is Outcome.STORED

    _, gone = await asyncio.gather(write(), expire_all(people, past + 31 * DAY, limit=5))
    assert gone == 60
    assert seqs(await people.read(people.bob)) == list(range(61, 76))


async def test_what_nobody_expires_is_found(people: People) -> None:
    past = next(_past)
    await people.say(b"1", b"2", now=past)
    await people.say(b"3", now=past + 40 * DAY)
    # A day is over before all of it can be overdue.
    before, after = past - DAY, past + 2 * DAY
    found = await people.store.overdue("messages", after)
    assert found == await people.store.overdue("messages", before) + 1
    assert await people.store.overdue("messages", after, 0) == 0
    while await people.store.expire(after + KEEP, KEEP):
        pass
    assert await people.store.overdue("messages", after) == 0
    for kind in ("mentions", "vanishing", "outbox"):
        assert await people.store.overdue(kind, 1) == 0
    with pytest.raises(KeyError):
        await people.store.overdue("dreams", after)
