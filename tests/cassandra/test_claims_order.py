"""What a device sent in an order is stored in it, or not at all (rules R21, R22), whatever becomes of the rows. Each with the
twin that breaks without the rule."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Sequence
from typing import Any

import pytest

from delivery.store.cassandra import append, claims, judge
from delivery.store.cassandra import hot as hot_numbers
from delivery.store.cassandra.document import Claim, Document, State
from delivery.store.cassandra.rows import BUCKET
from delivery.store.cassandra.session import Cassandra
from delivery.store.errors import Blocked
from delivery.store.interface import Unavailable
from delivery.store.values import Outcome, Send
from tests.cassandra.two_gateways import Two, in_order, is_event, two
from tests.contract.people import T0, new_id, seqs

__all__ = ["two"]  # a fixture

STORED, DUPLICATE, OUT_OF_ORDER = Outcome.STORED, Outcome.DUPLICATE, Outcome.OUT_OF_ORDER


async def nothing_overtakes(two: Two) -> None:
    one, following = two.people.send(seq_num=1), two.people.send(seq_num=2)
    await two.fails(one)
    with pytest.raises(Unavailable):
        await two.over(two.other, following)
    two.now += claims.SETTLE_MS  # the first one is void: its number is the next again
    results = await two.over(two.other, one, following)
    assert [(result.outcome, result.seq) for result in results] == [(STORED, 2), (STORED, 3)]


async def test_r21_what_comes_behind_an_unknown_outcome_waits_for_it(two: Two) -> None:
    await nothing_overtakes(two)


async def test_twin_r21_without_it_the_later_message_overtakes(
    two: Two, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(judge, "waits", lambda claims, device, ours: False)
    with pytest.raises(pytest.fail.Exception):
        await nothing_overtakes(two)


async def test_r21_the_earlier_message_again_lets_the_later_one_pass(two: Two) -> None:
    sends = [two.people.send(seq_num=number) for number in (1, 2)]
    await two.fails(sends[0])
    two.now += 3_000
    results = await two.over(two.other, *sends)
    assert [(result.outcome, result.seq) for result in results] == [(STORED, 1), (STORED, 2)]


async def nothing_follows_what_may_be_void(two: Two, age_ms: int) -> None:
    """Its sender comes back late, with the earlier message and with what was written since."""
    sends = [two.people.send(seq_num=number) for number in (1, 2, 3)]
    await two.fails(sends[0])
    two.now += age_ms
    with pytest.raises((Blocked, Unavailable)):
        await two.over(two.other, *sends)
    two.now += claims.SETTLE_MS - age_ms
    await ends_in_order(two, sends)


@pytest.mark.parametrize("age_ms", [5_000, claims.CLAIM_MS + 500, claims.SETTLE_MS - 200])
async def test_r21_an_earlier_message_that_comes_again_too_late_is_not_followed(
    two: Two, age_ms: int
) -> None:
    await nothing_follows_what_may_be_void(two, age_ms)


async def test_twin_r21_followed_too_late_it_comes_last(two: Two, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(judge, "FOLLOWED_MS", 1 << 50)
    monkeypatch.setattr(append, "FOLLOWED_MS", 1 << 50)
    with pytest.raises(AssertionError):
        await nothing_follows_what_may_be_void(two, claims.SETTLE_MS - 200)


async def nothing_is_left_behind(two: Two) -> None:
    """Nobody knows what became of two; the second comes again before its gateway hears that the first was refused."""
    sends = [two.people.send(seq_num=number) for number in (1, 2)]
    await two.fails(*sends)
    two.now += 3_000
    with contextlib.suppress(Unavailable):
        await two.over(two.other, sends[1])
    two.now += claims.SETTLE_MS
    await ends_in_order(two, sends)


async def ends_in_order(two: Two, sends: Sequence[Send]) -> None:
    """Sent again, all of it is told, and read in its order."""
    in_order(await two.over(two.other, *sends), (await two.page()).events)


async def test_r21_a_message_that_comes_again_does_not_leave_an_earlier_one_behind(two: Two) -> None:
    await nothing_is_left_behind(two)


async def test_twin_r21_without_it_the_earlier_message_is_never_taken(
    two: Two, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(judge, "is_behind", lambda claims, claim, ours: False)
    with pytest.raises(AssertionError):
        await nothing_is_left_behind(two)


async def decided_together(two: Two) -> None:
    """The second was given its number 3.9 s after the first, which somebody looks at when it alone is old."""
    sends = [two.people.send(seq_num=number) for number in (1, 2)]
    await two.fails(sends[0])
    two.now += judge.FOLLOWED_MS - 100
    await two.fails(*sends)
    two.now += claims.SETTLE_MS - judge.FOLLOWED_MS + 200
    assert (await two.page()).events == []
    two.now += judge.FOLLOWED_MS
    assert (await two.page()).events == []
    await ends_in_order(two, sends)


async def test_r21_what_a_device_sent_in_an_order_is_decided_together(two: Two) -> None:
    await decided_together(two)


async def test_twin_r21_alone_the_number_of_the_first_does_not_go_back(
    two: Two, monkeypatch: pytest.MonkeyPatch
) -> None:
    def alone(document: Document, overdue_at: int) -> list[Claim]:
        return [one for one in document.claims if one.state is State.OPEN and one.allocated_at <= overdue_at]

    monkeypatch.setattr(claims, "_late", alone)
    with pytest.raises(AssertionError):
        await decided_together(two)


async def void_with_what_it_followed(two: Two) -> None:
    """Of a batch one replica has taken, the reads that decide find the second row alone."""
    sends = [two.people.send(seq_num=number) for number in (1, 2)]
    await two.fails(*sends)
    ((first, second), _), *_ = two.bad.lost
    two.bad.lost = [([second], False)]
    await two.bad.arrive()
    two.now += claims.SETTLE_MS
    assert (await two.page()).events == []
    two.bad.lost = [([first, second], False)]
    await two.bad.arrive()
    await ends_in_order(two, sends)


async def test_r21_what_came_behind_a_void_message_is_void(two: Two) -> None:
    await void_with_what_it_followed(two)


async def test_twin_r21_else_it_is_there_without_the_first(two: Two, monkeypatch: pytest.MonkeyPatch) -> None:
    async def all_told(session: Cassandra, message_ids: Iterable[str]) -> dict[Any, Any]:
        claimed = (await two.document()).claims
        return {one.key: (two.people.conversation, one.seq, one.at, b"", False) for one in claimed}

    monkeypatch.setattr(claims, "known", all_told)
    with pytest.raises(AssertionError):
        await void_with_what_it_followed(two)


async def test_r21_a_partition_after_the_other(two: Two) -> None:
    """The second half of a batch is not there without the first."""
    conversation = two.people.conversation

    def far(document: Any) -> None:
        document.head = document.floor = BUCKET - 3

    await two.documents.change(conversation, far, T0)
    sends = [two.people.send(seq_num=number) for number in range(1, 5)]
    await two.fails(*sends, lose=lambda one: is_event(one) and one[1][1] == 0)
    assert all(statement[1][1] == 0 for part, _ in two.bad.lost for statement in part)
    two.now += 3_000
    results = await two.over(two.other, *sends)
    assert [result.seq for result in results] == list(range(BUCKET - 2, BUCKET + 2))
    assert seqs((await two.page(BUCKET - 3)).events) == list(range(BUCKET - 2, BUCKET + 2))


async def device_is_remembered(two: Two) -> None:
    """R22: a document has room for 64 devices; of the others the last number is in a row of its own."""
    await two.over(two.other, two.people.send(seq_num=1))
    for _ in range(3):
        await two.over(two.other, *(two.people.send(device=new_id(), seq_num=1) for _ in range(30)))
    document = (await two.documents.read([two.people.conversation]))[two.people.conversation]
    assert two.people.phone not in document.lasts
    (result,) = await two.over(two.other, two.people.send(seq_num=2))
    assert (result.outcome, result.expected) == (STORED, 0)


async def test_r22_a_device_that_the_document_has_no_room_for_counts_on(two: Two) -> None:
    await device_is_remembered(two)


async def test_twin_r22_without_its_row_it_is_refused(two: Two, monkeypatch: pytest.MonkeyPatch) -> None:
    async def nothing(*_: Any) -> dict[str, int]:
        return {}

    monkeypatch.setattr(append, "numbers", nothing)
    monkeypatch.setattr(hot_numbers, "counted", nothing)
    with pytest.raises(AssertionError):
        await device_is_remembered(two)
