"""C1-C3, R18, R19: what one append promises, and what it answers when a message comes again."""

from __future__ import annotations

from typing import Any

import pytest

from delivery.store.values import Appended, Outcome, Send
from tests.contract.people import T0, People, new_id, seqs
from whatsapp.infra import faults

STORED, DUPLICATE, CONFLICT = Outcome.STORED, Outcome.DUPLICATE, Outcome.CONFLICT
OUT_OF_ORDER, NO_CONVERSATION = Outcome.OUT_OF_ORDER, Outcome.NO_CONVERSATION


async def test_c1_everything_stored_is_read_back_whole(people: People) -> None:
    sent = [
        people.send(body=b"", kind="text"),
        people.send(body=bytes(range(256)), extra=b"\x81\xa1a\x01", envelopes=b"\x00\xff"),
        people.send(body=b"x" * 65_536, seq_num=1),
        people.send(
            sender=people.bob, device=people.tablet, body="\u2713\0".encode(), kind="edit", envelopes=b"e"
        ),
    ]
    results = await people.append(*sent, now=T0 + 7)
    assert results == [Appended(STORED, seq, T0 + 7) for seq in (1, 2, 3, 4)]
    events = await people.read(people.bob)
    for i, (event, original) in enumerate(zip(events, sent, strict=True), 1):
        assert (event.conversation, event.seq, event.at) == (people.conversation, i, T0 + 7)
        for field in Send.__struct_fields__:
            if field not in ("body_hash", "mentions", "lasts", "answers"):  # these show elsewhere
                assert getattr(event, field) == getattr(original, field), field
    assert [event.ordinal for event in events] == [1, 2, 3, 3]


async def test_c3_seqs_are_dense_and_in_list_order_over_batches(people: People) -> None:
    sent = [people.send(body=str(i).encode()) for i in range(40)]
    for start in (0, 1, 8, 20):
        end = {0: 1, 1: 8, 8: 20, 20: 40}[start]
        assert [r.seq for r in await people.append(*sent[start:end])] == list(range(start + 1, end + 1))
    events = await people.read(people.bob, limit=7)
    assert [event.message_id for event in events] == [one.message_id for one in sent]
    assert seqs(events) == list(range(1, 41))


async def test_c3_conversations_of_one_batch_are_numbered_each_for_itself(people: People) -> None:
    other = await people.store.ensure_direct(people.alice, new_id(), new_id(), T0)
    sends = [
        people.send(conversation=c) for c in (other, people.conversation, other, other, people.conversation)
    ]
    assert [r.seq for r in await people.append(*sends)] == [1, 1, 2, 3, 2]
    sends = [people.send(conversation=c) for c in (people.conversation, other)]
    assert [r.seq for r in await people.append(*sends)] == [3, 4]


async def retry_has_one_place(people: People) -> None:
    """C2: the same message again is answered with its first place, and stored once."""
    one = people.send(body=b"once")
    (first,) = await people.append(one, now=T0)
    (again,) = await people.append(one, now=T0 + 60_000)
    assert again == Appended(DUPLICATE, first.seq, T0)
    assert len(await people.read(people.bob)) == 1


async def test_c2_retry_gets_the_first_result(people: People) -> None:
    await retry_has_one_place(people)


async def test_twin_c2_without_dedupe_a_retry_is_stored_twice(
    people: People, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(faults, "off", lambda name: name == "dedupe")
    with pytest.raises(AssertionError):
        await retry_has_one_place(people)


async def test_c2_the_same_id_with_another_body_or_conversation_is_a_conflict(people: People) -> None:
    other = await people.store.ensure_direct(people.alice, new_id(), new_id(), T0)
    one = people.send(body=b"a")
    await people.append(one)
    results = await people.append(
        people.send(message_id=one.message_id, body=b"b"), people.send(message_id=new_id(), body=b"new")
    )
    assert [r.outcome for r in results] == [CONFLICT, STORED]
    assert results[1].seq == 2
    (result,) = await people.append(people.send(message_id=one.message_id, body=b"a", conversation=other))
    assert result.outcome is CONFLICT
    (result,) = await people.append(people.send(message_id=one.message_id, body=b"a", conversation=new_id()))
    assert result.outcome is CONFLICT
    assert await people.read(people.alice, conversation=other) == []


async def test_c2_another_sender_may_use_the_same_id(people: People) -> None:
    one = people.send(body=b"a")
    results = await people.append(
        one, people.send(message_id=one.message_id, body=b"a", sender=people.bob, device=people.tablet)
    )
    assert [(r.outcome, r.seq) for r in results] == [(STORED, 1), (STORED, 2)]


async def test_c2_repeated_inside_one_list_is_as_if_sent_in_two(people: People) -> None:
    one, two = people.send(body=b"1"), people.send(body=b"2")
    results = await people.append(
        one, two, one, people.send(message_id=two.message_id, body=b"3"), people.send()
    )
    assert [(r.outcome, r.seq) for r in results] == [
        (STORED, 1),
        (STORED, 2),
        (DUPLICATE, 1),
        (CONFLICT, 0),
        (STORED, 3),
    ]


async def test_an_unknown_conversation_is_told_and_stores_nothing(people: People) -> None:
    missing = new_id()
    results = await people.append(people.send(conversation=missing), people.send())
    assert [(r.outcome, r.seq) for r in results] == [(NO_CONVERSATION, 0), (STORED, 1)]
    result = await people.store.append(people.writer, [people.send(conversation=missing)], T0)
    assert result.row == 0
    assert await people.store.conversations([missing]) == {}


async def test_an_empty_list_is_nothing(people: People) -> None:
    assert await people.store.append(people.writer, [], T0) == ([], 0)


# -- seqNum -------------------------------------------------------------------------------------------------------------


async def counted(people: People, *numbers: int) -> list[Any]:
    return await people.append(*(people.send(seq_num=number) for number in numbers))


def outcomes(results: list[Any]) -> list[tuple[Any, int]]:
    return [(r.outcome, r.expected if r.outcome is OUT_OF_ORDER else r.seq) for r in results]


async def gap_is_refused(people: People) -> None:
    """R19: only the durable last + 1 is stored."""
    assert outcomes(await counted(people, 2)) == [(OUT_OF_ORDER, 1)]
    assert outcomes(await counted(people, 1)) == [(STORED, 1)]
    assert outcomes(await counted(people, 1, 3)) == [(OUT_OF_ORDER, 2), (OUT_OF_ORDER, 2)]
    assert len(await people.read(people.bob)) == 1


async def test_r19_only_the_next_number_is_stored(people: People) -> None:
    await gap_is_refused(people)


async def test_twin_r19_without_the_check_a_gap_is_stored(
    people: People, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(faults, "off", lambda name: name == "seqnum")
    with pytest.raises(AssertionError):
        await gap_is_refused(people)


@pytest.mark.parametrize(
    ("numbers", "expected"),
    [
        ((1, 2, 3), [(STORED, 1), (STORED, 2), (STORED, 3)]),
        ((1, 3, 2), [(STORED, 1), (OUT_OF_ORDER, 2), (STORED, 2)]),
        ((3, 2, 1), [(OUT_OF_ORDER, 1), (OUT_OF_ORDER, 1), (STORED, 1)]),
        ((1, 1, 2), [(STORED, 1), (OUT_OF_ORDER, 2), (STORED, 2)]),
        ((2, 3, 4), [(OUT_OF_ORDER, 1)] * 3),
        ((1, 2, 4, 5, 3), [(STORED, 1), (STORED, 2), (OUT_OF_ORDER, 3), (OUT_OF_ORDER, 3), (STORED, 3)]),
        ((1, 0, 2, 0, 4), [(STORED, 1), (STORED, 2), (STORED, 3), (STORED, 4), (OUT_OF_ORDER, 3)]),
    ],
)
async def test_r19_a_list_is_judged_as_if_sent_one_by_one(
    people: People, numbers: Any, expected: Any
) -> None:
    assert outcomes(await counted(people, *numbers)) == expected


async def test_r18_a_retry_is_answered_before_its_number_is_judged(people: People) -> None:
    sends = [people.send(seq_num=n) for n in (1, 2, 3)]
    await people.append(*sends)
    assert outcomes(await people.append(sends[0], sends[2], people.send(seq_num=4))) == [
        (DUPLICATE, 1), (DUPLICATE, 3), (STORED, 4),
    ]  # fmt: skip


async def test_r18_a_conflict_leaves_a_gap_that_is_not_jumped(people: People) -> None:
    used = people.send(body=b"a")
    await people.append(used)
    results = await people.append(
        people.send(seq_num=1),
        people.send(seq_num=2, message_id=used.message_id, body=b"b"),
        people.send(seq_num=3),
    )
    assert outcomes(results) == [(STORED, 2), (CONFLICT, 0), (OUT_OF_ORDER, 2)]


async def test_r19_each_device_counts_in_each_conversation(people: People) -> None:
    other = await people.store.ensure_direct(people.alice, new_id(), new_id(), T0)
    results = await people.append(
        people.send(seq_num=1),
        people.send(seq_num=1, device=people.desk),
        people.send(seq_num=1, conversation=other),
        people.send(seq_num=2, device=people.desk),
        people.send(seq_num=2),
    )
    assert [r.outcome for r in results] == [STORED] * 5
    assert [event.seq_num for event in await people.read(people.bob)] == [1, 1, 2, 2]


async def test_r19_an_unknown_conversation_does_not_count(people: People) -> None:
    missing = new_id()
    results = await people.append(people.send(seq_num=1, conversation=missing), people.send(seq_num=1))
    assert outcomes(results) == [(NO_CONVERSATION, 0), (STORED, 1)]


async def test_find(people: People, harness: Any) -> None:
    group = await harness.group(people.alice, people.bob)
    one = people.send()
    await people.append(people.send(), one, people.send(conversation=group))
    assert await people.store.find(people.conversation, one.message_id) == 2
    assert await people.store.find(group, one.message_id) == 0
    assert await people.store.find(people.conversation, new_id()) == 0
