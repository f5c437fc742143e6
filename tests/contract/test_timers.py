"""A conversation's timer: every message behind its event goes when its time has come, and what is about it too."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from delivery.store.values import Outcome, TimerSet
from tests.contract.people import T0, People, amendment, new_id, send, seqs
from tests.contract.test_vanishing import _times, vanish_all

HOUR = 3_600_000


async def set_timer(people: People, user: str, seconds: int, now: int = T0) -> TimerSet | None:
    return await people.store.set_timer(new_id(), people.conversation, user, new_id(), seconds, b"\x80", now)


async def timers(people: People) -> list[int]:
    """As Alice and Bob know it."""
    listed = [(await people.store.listed(user, 10))[0] for user in (people.alice, people.bob)]
    return [one.timer for one in listed]


async def test_messages_behind_the_event_end_by_the_timer(people: People) -> None:
    now = next(_times)
    (before,) = await people.append(people.send(body=b"stays"), now=now)
    answer = await set_timer(people, people.bob, 3600, now + 1)
    assert answer is not None
    assert (answer.seq, answer.withheld) == (2, False)
    assert before.until == 0
    # Alone, with others, behind an amendment, repeated, with a shorter and a longer time of its own.
    one, poll = people.send(body=b"3"), people.send(kind="poll", body=b"4")
    results = await people.append(
        one, poll, people.send(lasts=HOUR // 2), people.send(lasts=2 * HOUR), now=now + 2
    )
    assert [r.until - now - 2 for r in results] == [HOUR, HOUR, HOUR // 2, HOUR]
    results = await people.append(
        people.amend(one.message_id, "edit", b"3!"),
        people.amend(poll.message_id, "vote", b"yes", sender=people.bob, device=people.tablet),
        people.send(body=b"9"),
        people.send(lasts=HOUR // 2),
        one,
        now=now + 3,
    )
    assert [r.until - now for r in results[:4]] == [HOUR + 2, HOUR + 2, HOUR + 3, HOUR // 2 + 3]
    assert results[4].outcome is Outcome.DUPLICATE
    answer = await set_timer(people, people.alice, 0, now + 4)
    assert answer is not None
    assert answer.seq == 11
    (after,) = await people.append(people.send(body=b"stays too"), now=now + 4)
    assert after.until == 0
    read = {event.seq: event for event in await people.read(people.bob)}
    assert {seq: event.until - now for seq, event in read.items() if event.until} == {
        3: HOUR + 2, 4: HOUR + 2, 5: HOUR // 2 + 2, 6: HOUR + 2, 7: HOUR + 2, 8: HOUR + 2, 9: HOUR + 3, 10: HOUR // 2 + 3,
    }  # fmt: skip
    await vanish_all(people, now + HOUR + 2)
    left = {event.seq: event.content for event in await people.read(people.bob)}
    assert left == {
        1: b"stays", 2: b"", 3: None, 4: None, 5: None, 6: None, 9: b"9", 10: None, 11: b"", 12: b"stays too",
    }  # fmt: skip
    (third,) = [event for event in await people.read(people.alice) if event.seq == 3]
    assert third.until == now + 2 + HOUR, "it still says for how long it was kept"


async def test_what_is_set_already_is_no_event_and_outsiders_set_nothing(people: People) -> None:
    writers: list[str] = []

    async def set_timer(people: People, user: str, seconds: int) -> TimerSet | None:
        writers.append(new_id())
        c = people.conversation
        return await people.store.set_timer(writers[-1], c, user, new_id(), seconds, b"\x80", T0)

    assert await set_timer(people, people.alice, 0) == TimerSet(0, 0, False)
    answer = await set_timer(people, people.alice, 60)
    assert answer is not None
    assert answer.seq == 1
    assert await set_timer(people, people.bob, 60) == TimerSet(0, 0, False)
    assert await set_timer(people, new_id(), 5) is None
    assert await people.store.set_timer(new_id(), new_id(), people.alice, new_id(), 5, b"\x80", T0) is None
    assert await timers(people) == [60, 60]
    (event,) = await people.read(people.bob)
    assert (event.kind, event.sender, event.extra, event.ordinal) == ("timer", people.alice, b"\x80", 0)
    rows = [row for writer in writers for row in await people.store.outbox(writer, "epoch", T0)]
    assert [row.heads for row in rows] == [((people.conversation, 1),)]


async def test_a_member_who_left_knows_no_timer(people: People, harness: Any) -> None:
    group = await harness.group(people.alice, people.bob)
    await people.append(send(group, people.alice, people.phone))
    await harness.leave(group, people.bob, 1)
    set_ = people.store.set_timer
    assert await set_(new_id(), group, people.bob, new_id(), 5, b"\x80", T0) is None
    answer = await set_(new_id(), group, people.alice, new_id(), 5, b"\x80", T0)
    assert answer is not None
    assert answer.seq == 2
    for user, expected in ((people.alice, 5), (people.bob, 0)):
        (listed,) = [one for one in await people.store.listed(user, 10) if one.conversation == group]
        assert listed.timer == expected


async def test_two_gateways_and_a_change_at_once(people: People, harness: Any) -> None:
    """Whatever the order, a message behind the event has the timer, and none before it has."""
    other = await harness.gateway()
    bob = {"sender": people.bob, "device": people.tablet}
    for round_ in range(1, 6):
        await asyncio.gather(
            *[people.append(people.send()) for _ in range(4)],
            *[other.append(new_id(), [people.send(**bob)], T0) for _ in range(4)],
            set_timer(people, people.bob, round_ * 60),
        )
    current = 0
    for event in await people.read(people.alice):
        if event.kind == "timer":
            current += 60_000
        else:
            assert event.until == (T0 + current if current else 0)
    assert current == 5 * 60_000


async def test_a_message_whose_time_has_come_is_gone_before_it_is_emptied(people: People) -> None:
    now = next(_times)
    one = people.send(kind="poll", lasts=1000)
    await people.append(one, now=now)
    bob = {"sender": people.bob, "device": people.tablet}
    for number, (kind, fields) in enumerate((("edit", {}), ("vote", bob), ("reaction", bob))):
        for at, outcome in ((now + 999, Outcome.STORED), (now + 1000, Outcome.GONE)):
            amended = people.amend(one.message_id, kind, b"x", **fields)
            (result,) = await people.append(amended, now=at)
            assert result.outcome is outcome
            assert result.until == (now + 1000 if outcome is Outcome.STORED else 0)
        assert len(await people.read(people.bob)) == 2 + number
    await vanish_all(people, now + 1000)
    assert seqs(await people.read(people.bob)) == [1]


async def test_a_deleted_message_says_nothing_of_its_time(people: People) -> None:
    now = next(_times)
    one = people.send(lasts=1000)
    await people.append(one, now=now)
    (result,) = await people.append(people.amend(one.message_id, "delete"), now=now + 1)
    assert (result.outcome, result.until) == (Outcome.STORED, 0)
    await vanish_all(people, now + 1000)
    assert [(e.content, e.until) for e in await people.read(people.bob)] == [(None, 0), (b"", 0)]


async def test_what_the_blocked_sets_tells_the_other_nothing(people: People) -> None:
    await people.say(b"1")
    await people.store.withhold(people.bob, people.alice, True, T0)
    answer = await set_timer(people, people.alice, 60)
    assert answer is not None
    assert (answer.seq, answer.withheld) == (2, True)
    assert await timers(people) == [60, 0]
    assert await set_timer(people, people.alice, 60) == TimerSet(0, 0, True)
    first = people.send()
    results = await people.append(
        first,
        people.amend(first.message_id, "edit", b"x"),
        people.send(),
        people.send(sender=people.bob, device=people.tablet),
    )
    # Hers end as she believes, his as he does.
    assert [r.until for r in results] == [T0 + 60_000] * 3 + [0]
    plain = await people.append(people.send(), people.send(sender=people.bob, device=people.tablet))
    assert [r.until for r in plain] == [T0 + 60_000, 0]
    assert [event.kind for event in await people.read(people.bob)] == ["text", "text", "text"]
    assert (await people.read(people.alice))[1].kind == "timer"
    (listed,) = await people.store.listed(people.bob, 10)
    assert listed.head == 8
    # The unblock reveals nothing either; the next change is for both.
    await people.store.withhold(people.bob, people.alice, False, T0)
    assert await timers(people) == [60, 0]
    answer = await set_timer(people, people.bob, 30)
    assert answer is not None
    assert not answer.withheld
    assert await timers(people) == [30, 30]
    (last,) = await people.append(people.send())
    assert last.until == T0 + 30_000


@pytest.mark.parametrize("who", ["alice", "bob"])
@pytest.mark.parametrize("seconds", [60, 0])
async def test_after_a_block_either_can_make_the_timer_one_again(
    people: People, who: str, seconds: int
) -> None:
    """What either sets is an event for both, also when it is what one of them believes already."""
    await people.say(b"1")
    await people.store.withhold(people.bob, people.alice, True, T0)
    await set_timer(people, people.alice, 60)
    await people.store.withhold(people.bob, people.alice, False, T0)
    assert await timers(people) == [60, 0]
    answer = await set_timer(people, getattr(people, who), seconds)
    assert answer == TimerSet(3, answer.row if answer else 0, False)
    assert await timers(people) == [seconds, seconds]
    assert [event.seq for event in await people.read(people.bob)] == [1, 3]
    assert await set_timer(people, getattr(people, who), seconds) == TimerSet(0, 0, False)


async def test_votes_are_one_for_each_user_and_poll(people: People) -> None:
    poll, text = people.send(kind="poll"), people.send()
    await people.append(poll, text)
    bob = {"sender": people.bob, "device": people.tablet}

    async def vote(target: str, body: bytes, **fields: Any) -> Outcome:
        (result,) = await people.append(people.amend(target, "vote", body, **fields))
        return result.outcome  # type: ignore[no-any-return]

    assert await vote(text.message_id, b"a") is Outcome.NO_TARGET, "no poll"
    assert await vote(poll.message_id, b"") is Outcome.NO_TARGET, "nothing to take back"
    for body in (b"a", b"b", b"secret"):
        assert await vote(poll.message_id, body, **bob) is Outcome.STORED
    assert await vote(poll.message_id, b"c") is Outcome.STORED
    (result,) = await people.append(people.amend(poll.message_id, "reaction", b"+", **bob))
    assert result.outcome is Outcome.STORED, "a reaction is none"
    assert await vote(poll.message_id, b"") is Outcome.STORED
    events = await people.read(people.bob)
    assert [(e.seq, e.kind, e.content) for e in events[2:]] == [
        (5, "vote", b"secret"), (7, "reaction", b"+"), (8, "vote", b""),
    ]  # fmt: skip
    assert [e.ordinal for e in events] == [1, 2, 2, 2, 2]
    (result,) = await people.append(people.amend(poll.message_id, "delete"))
    assert await vote(poll.message_id, b"a", **bob) is Outcome.GONE
    assert [e.kind for e in await people.read(people.bob)] == ["poll", "text", "delete"]


async def test_as_many_votes_as_members_and_none_lost_at_once(harness: Any) -> None:
    users = [new_id() for _ in range(30)]
    group = await harness.group(*users)
    store, other = harness.store, await harness.gateway()
    poll = send(group, users[0], new_id(), kind="poll")
    await store.append(new_id(), [poll], T0)

    async def vote(number: int, at: Any) -> None:
        votes = [
            amendment(group, users[number], new_id(), poll.message_id, "vote", b"%d" % choice, distinct=1)
            for choice in range(3)
        ]
        for one in votes:
            (result,) = (await at.append(new_id(), [one], T0)).results
            assert result.outcome is Outcome.STORED

    await asyncio.gather(*[vote(number, (store, other)[number % 2]) for number in range(30)])
    page = await store.history(group, users[0], 0, 0, 100)
    votes = [(event.sender, event.content) for event in page.events if event.kind == "vote"]
    assert sorted(votes) == sorted((user, b"2") for user in users)
