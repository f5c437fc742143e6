"""Numbers that were given out and whose rows did not come, or came late (rules R23, R25, C4; R21 and R22 are in
``test_claims_order``). Each with the twin that breaks without the rule."""

from __future__ import annotations

from typing import Any

import pytest

from delivery.store.cassandra import append, claims, devices, lock, pages, settling
from delivery.store.cassandra.session import Cassandra, Row
from delivery.store.errors import Blocked
from delivery.store.interface import Unavailable
from delivery.store.values import Appended, Outcome, Send
from tests.cassandra.two_gateways import Two, is_event, is_message, two
from tests.contract.people import T0, amendment, new_id, send, seqs

__all__ = ["two"]  # a fixture

STORED, DUPLICATE, OUT_OF_ORDER = Outcome.STORED, Outcome.DUPLICATE, Outcome.OUT_OF_ORDER


async def test_a_retry_over_another_gateway_ends_in_the_same_place(two: Two) -> None:
    one = two.people.send(seq_num=1)
    await two.fails(one)
    two.now += 3_000  # whoever tried first is taken for dead
    (result,) = await two.over(two.other, one)
    assert (result.outcome, result.seq) == (STORED, 1)
    assert (await two.over(two.first, one))[0] == Appended(DUPLICATE, 1, T0)
    await two.bad.arrive()
    assert seqs((await two.page()).events) == [1]


# -- R23: only what was durable in time is acknowledged


async def late_is_not_acknowledged(two: Two) -> Send:
    one = two.people.send()

    def stall() -> None:
        two.now += claims.CLAIM_MS + 1

    two.bad.meanwhile = stall
    with pytest.raises(Unavailable):
        await two.first.append(new_id(), [one], T0)
    two.bad.meanwhile = lambda: None
    assert not (await two.other.stored([(one.sender, one.message_id)]))[0], (
        "a retry would be a duplicate (V18)"
    )
    return one


async def test_r23_rows_that_took_too_long_are_not_acknowledged(two: Two) -> None:
    one = await late_is_not_acknowledged(two)
    two.now += claims.SETTLE_MS
    assert (await two.over(two.other, one))[0] == Appended(DUPLICATE, 1, T0)  # it was there, after all
    assert seqs((await two.page()).events) == [1]


async def test_twin_r23_without_a_deadline_they_are(two: Two, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(append, "CLAIM_MS", 1 << 50)
    with pytest.raises(pytest.fail.Exception):
        await late_is_not_acknowledged(two)


async def deadline_is_the_numbers(two: Two) -> None:
    """V16: the second attempt has what is left of the first one's time."""
    one = two.people.send()
    await two.fails(one)
    two.now += claims.CLAIM_MS + 1
    with pytest.raises(Unavailable):
        await two.first.append(new_id(), [one], T0)


async def test_r23_the_deadline_belongs_to_the_number(two: Two) -> None:
    await deadline_is_the_numbers(two)


# -- R25: what a reader passes never fills up later


async def passed_stays_empty(two: Two) -> None:
    gone, behind = two.people.send(body=b"gone"), two.people.send(body=b"behind")
    await two.fails(gone)
    assert (await two.over(two.other, behind))[0].seq == 2
    young = await two.page()
    assert (young.events, young.through, young.head) == ([], 0, 2)
    assert young.wait_ms > 0
    two.now += claims.SETTLE_MS
    passed = await two.page()
    assert (seqs(passed.events), passed.through, passed.wait_ms) == ([2], 2, 0)
    await two.over(two.other, two.people.send(body=b"later"))
    await two.bad.arrive()
    assert seqs((await two.page()).events) == [2, 3], "what was passed has come"
    assert await two.other.find(two.people.conversation, gone.message_id) == 0
    (again,) = await two.over(two.other, gone)
    assert (again.outcome, again.seq) == (STORED, 4)
    assert seqs((await two.page(passed.through)).events) == [3, 4]


async def test_r25_an_old_hole_is_void_for_everybody_and_for_good(two: Two) -> None:
    await passed_stays_empty(two)


async def test_twin_r25_without_the_deletion_a_late_row_is_seen(
    two: Two, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = Cassandra.run

    async def without(self: Cassandra, cql: str, *params: Any) -> None:
        if cql != claims._VOID:
            await run(self, cql, *params)

    monkeypatch.setattr(Cassandra, "run", without)
    with pytest.raises(AssertionError, match="what was passed has come"):
        await passed_stays_empty(two)


async def young_hole_stops_readers(two: Two) -> None:
    slow, behind = two.people.send(body=b"slow"), two.people.send(body=b"behind")
    await two.fails(slow)
    await two.over(two.other, behind)
    position = (await two.page()).through
    two.now += 3_000
    (result,) = await two.over(two.other, slow)
    assert result.outcome is STORED
    assert seqs((await two.page(position)).events) == [1, 2], "acknowledged, and never read"


async def test_r25_a_young_hole_is_not_passed(two: Two) -> None:
    await young_hole_stops_readers(two)


async def test_twin_r25_who_passes_a_young_hole_misses_a_message(
    two: Two, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pages, "_claimed", lambda document: ([], set()))
    with pytest.raises(AssertionError, match="acknowledged, and never read"):
        await young_hole_stops_readers(two)


async def test_an_event_that_is_there_when_its_writer_is_dead_is_one_of_the_log(two: Two) -> None:
    one = two.people.send(seq_num=1)
    await two.fails(one, lose=is_message)
    two.now += claims.SETTLE_MS
    assert (await two.over(two.other, two.people.send(seq_num=2)))[0].seq == 2
    assert seqs((await two.page()).events) == [1, 2]
    assert (await two.over(two.other, one))[0] == Appended(DUPLICATE, 1, T0)


async def test_what_is_found_to_be_there_is_announced(two: Two) -> None:
    await two.fails(two.people.send(), lose=is_message)
    before = set(await two.other.outbox_writers(two.now))
    two.now += claims.SETTLE_MS
    await settling.end_claims(two.session, two.documents, two.people.conversation, two.now)
    (writer,) = set(await two.other.outbox_writers(two.now)) - before
    (row,) = await two.other.outbox(writer, "e", two.now)
    assert row.heads == ((two.people.conversation, 1),)


async def test_what_has_ended_long_ago_is_dropped_by_the_way(
    two: Two, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two people who write now and then: what the other gateway stored is a claim that nobody has dropped."""
    for store in (two.first, two.other):
        await two.over(store, two.people.send())
    applied = 0

    async def counted(self: Cassandra, cql: str, *params: Any) -> tuple[bool, Row | None]:
        nonlocal applied
        outcome = await swap(self, cql, *params)
        applied += outcome[0]
        return outcome

    swap = Cassandra.swap
    monkeypatch.setattr(Cassandra, "swap", counted)
    two.now += claims.SETTLE_MS
    assert (await two.over(two.first, two.people.send()))[0].seq == 3
    assert applied <= 1
    assert len((await two.document()).claims) <= 1


# -- C4: a device that is linked meanwhile


async def is_owed_to_a_new_device(two: Two) -> None:
    one, tablet = two.people.send(), new_id()
    await two.over(two.other, two.people.send())
    await two.fails(one)
    await two.other.link_device(two.people.bob, tablet, T0)
    two.now += 3_000
    assert (await two.over(two.other, one))[0].outcome is STORED  # told after the link
    behind = {one.conversation: one.acked for one in await two.other.behind(two.people.bob, tablet)}
    assert behind == {two.people.conversation: 1}


async def test_c4_what_is_under_way_when_a_device_is_linked_is_owed_to_it(two: Two) -> None:
    await is_owed_to_a_new_device(two)


async def test_twin_c4_a_head_alone_is_above_it(two: Two, monkeypatch: pytest.MonkeyPatch) -> None:
    async def nothing(*_: Any) -> dict[str, int]:
        return {}

    monkeypatch.setattr(devices, "under_way", nothing)
    with pytest.raises(AssertionError):
        await is_owed_to_a_new_device(two)


# -- amendments


async def test_an_amendment_that_was_lost_is_made_once(two: Two) -> None:
    said = two.people.send(body=b"said")
    await two.over(two.other, said)
    edit = two.people.amend(said.message_id, "edit", b"edited", seq_num=1)
    await two.fails(edit)
    (one,) = (await two.page()).events
    assert one.content == b"said"
    (result,) = await two.over(two.other, edit)
    assert (result.outcome, result.seq) == (STORED, 2)
    await two.bad.arrive()
    message, event = (await two.page()).events
    assert (message.content, message.edited, event.seq) == (b"edited", True, 2)


async def test_nobody_decides_on_rows_that_are_half_changed(
    two: Two, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another amendment waits for one with an unknown outcome, and in the end it is settled."""
    monkeypatch.setattr(lock, "LOCK_WAIT_S", 0.2)
    said = two.people.send(body=b"said")
    await two.over(two.other, said)
    await two.fails(two.people.amend(said.message_id, "edit", b"one"))
    delete = amendment(two.people.conversation, two.people.alice, two.people.desk, said.message_id, "delete")
    with pytest.raises(Unavailable):
        await two.over(two.other, delete)
    two.now += claims.SETTLE_MS
    assert (await two.over(two.other, delete))[0].outcome is STORED
    (message, event) = (await two.page()).events
    assert (message.content, event.kind) == (None, "delete")


async def test_one_conversation_with_an_unknown_outcome_costs_the_others_nothing(two: Two) -> None:
    free = await two.other.ensure_direct(two.people.alice, new_id(), new_id(), T0)
    batch = [two.people.send(), send(free, two.people.alice, two.people.phone)]
    two.bad.lose = lambda one: is_event(one) and one[1][0] == two.people.conversation
    with pytest.raises(Blocked) as raised:
        await two.first.append(new_id(), batch, T0)
    assert raised.value.results == [None, Appended(STORED, 1, T0)]
    assert raised.value.row > 0
    assert not raised.value.unsure


async def test_who_writes_is_told_when_what_is_not_answered_may_be_a_duplicate(two: Two) -> None:
    """It would never be told to anybody: its outbox row is that of the others, who are answered, and its claim has ended."""
    free = await two.other.ensure_direct(two.people.alice, new_id(), new_id(), T0)
    batch = [two.people.send(), send(free, two.people.alice, two.people.phone)]
    two.bad.silent = lambda one: is_message(one) and one[1][2] == two.people.conversation
    writer = new_id()
    with pytest.raises(Blocked) as raised:
        await two.first.append(writer, batch, T0)
    assert raised.value.results == [None, Appended(STORED, 1, T0)]
    assert raised.value.unsure
    assert (await two.over(two.other, batch[0]))[0].outcome is DUPLICATE
    (row,) = await two.other.outbox(writer, "", T0)
    assert row.row == raised.value.row
    assert dict(row.heads) == {two.people.conversation: 1, free: 1}
