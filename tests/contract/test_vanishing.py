"""Messages that are not to be kept: emptied when their time has come, and what is about them too."""

from __future__ import annotations

import itertools
from typing import Any

from delivery.store.values import Outcome
from tests.contract.people import T0, People, seqs

#: The sweep sees the whole store: each test has a time of its own, below all that others use.
_times = itertools.count(T0 // 2, 10_000_000)


async def vanish_all(people: People, now: int, limit: int = 1000) -> int:
    total = 0
    while gone := await people.store.vanish(now, limit):
        assert gone <= limit
        total += gone
    return total


async def test_a_message_is_emptied_when_its_time_has_come(people: People, harness: Any) -> None:
    now = next(_times)
    await people.append(
        people.send(body=b"kept"),
        people.send(body=b"secret 1", extra=b"secret", envelopes=b"secret", lasts=10),
        people.send(body=b"secret 2", lasts=20),
        people.send(body=b"kept too"),
        now=now,
    )
    assert await vanish_all(people, now + 9) == 0
    assert await vanish_all(people, now + 10) == 1
    assert [e.content for e in await people.read(people.bob)] == [b"kept", None, b"secret 2", b"kept too"]
    assert await vanish_all(people, now + 60) == 1
    assert await vanish_all(people, now + 60) == 0
    events = await people.read(people.bob)
    assert [(e.seq, e.content) for e in events] == [(1, b"kept"), (2, None), (3, None), (4, b"kept too")]
    assert not any(b"secret" in value for value in await harness.contents(people.conversation))
    # It is as a deleted one to whoever wants to change it.
    (result,) = await people.append(people.amend(events[1].message_id, "edit", b"x"))
    assert result.outcome is Outcome.GONE


async def test_what_is_about_it_goes_with_it(people: People) -> None:
    now = next(_times)
    one = people.send(body=b"1", lasts=10)
    await people.append(one, now=now)
    as_bob = {"sender": people.bob, "device": people.tablet}
    await people.append(
        people.amend(one.message_id, "edit", b"2"),
        people.amend(one.message_id, "reaction", b"+", **as_bob),
        people.send(),
        now=now,
    )
    assert await vanish_all(people, now + 10) == 1
    events = await people.read(people.bob)
    assert seqs(events) == [1, 4]
    assert (events[0].content, events[0].edited) == (None, False)


async def test_every_way_of_storing_keeps_the_time(people: People) -> None:
    """Alone, in a list with others, behind an amendment, with mentions, repeated, refused."""
    now = next(_times)
    first = people.send()
    until = now + 5
    await people.append(first, now=now)
    again = people.send(lasts=5)
    results = await people.append(
        people.send(),
        again,
        people.send(lasts=5, mentions=[people.bob]),
        people.send(lasts=5, seq_num=7),
        people.amend(first.message_id, "edit", b"x"),
        people.send(lasts=5),
        people.send(lasts=5, mentions=[people.bob]),
        now=now,
    )
    await people.append(again, now=now)
    assert await vanish_all(people, until, limit=1) == 4
    emptied = [e.seq for e in await people.read(people.bob) if e.content is None]
    assert emptied == [results[i].seq for i in (1, 2, 5, 6)]


async def test_an_expired_or_deleted_message_is_no_trouble(people: People) -> None:
    now = next(_times)
    one = people.send(lasts=5)
    await people.append(one, now=now)
    await people.append(people.amend(one.message_id, "delete"), now=now)
    assert await vanish_all(people, now + 5) == 1
    assert [(e.kind, e.content) for e in await people.read(people.bob)] == [("text", None), ("delete", b"")]
