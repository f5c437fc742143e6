"""What decides whether a user wants to hear of an event: read, muted, archived, mentioned, and when it was."""

from __future__ import annotations

from typing import Any

from delivery.store.values import Attention, Flags, ReceiptWrite
from tests.contract.people import T0, People, new_id


async def test_nothing_is_known_of_what_is_not_there(people: People) -> None:
    nothing = Attention(0, 0, False, 0, 0)
    asked = [(people.bob, people.conversation, 1), (new_id(), new_id(), 5)]
    assert await people.store.attention(asked) == [nothing, nothing]
    assert await people.store.attention([]) == []


async def test_each_is_answered_in_its_place(people: People, harness: Any) -> None:
    group = await harness.group(people.alice, people.bob)
    await people.say(b"one", now=T0 + 1)
    await people.say(b"two", now=T0 + 2)
    await people.append(people.send(conversation=group), now=T0 + 3)
    await people.store.save([], [ReceiptWrite(people.conversation, people.bob, 2, 1)], T0)
    await people.store.set_flags(people.bob, group, Flags(T0 + 9, archived=True), T0)
    await people.store.set_flags(people.alice, people.conversation, Flags(T0 + 7), T0)
    assert await people.store.attention(
        [
            (people.bob, group, 1),
            (people.bob, people.conversation, 2),
            (people.alice, people.conversation, 1),
            (people.bob, group, 1),
        ]
    ) == [
        Attention(0, T0 + 9, True, 0, T0 + 3),
        Attention(1, 0, False, 0, T0 + 2),
        Attention(0, T0 + 7, False, 0, T0 + 1),
        Attention(0, T0 + 9, True, 0, T0 + 3),
    ]


async def test_what_oneself_has_sent_counts_as_read(people: People) -> None:
    await people.say(b"one", b"two")
    await people.store.save([], [ReceiptWrite(people.conversation, people.alice, sent=2)], T0)
    await people.store.save([], [ReceiptWrite(people.conversation, people.alice, 1, 1)], T0)
    (found,) = await people.store.attention([(people.alice, people.conversation, 2)])
    assert found.read == 2


async def test_the_last_mention_up_to_the_event(people: People, harness: Any) -> None:
    group = await harness.group(people.alice, people.bob)
    for mentions in ([people.bob], [], [people.bob], []):
        await people.append(people.send(conversation=group, mentions=mentions))
    asked = [(people.bob, group, seq) for seq in (1, 2, 3, 4)] + [(people.alice, group, 4)]
    assert [one.mention for one in await people.store.attention(asked)] == [1, 1, 3, 3, 0]
