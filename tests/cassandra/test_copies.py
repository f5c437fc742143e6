"""Numbers from copies of state documents on a hot node (rules R23 and R24): what is lost of it loses nothing else. Each with the
twin that breaks without the rule."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from delivery.store.cassandra import copied, documents, leases, lost
from delivery.store.cassandra.document import Document, Lost
from delivery.store.cassandra.session import Statement
from delivery.store.interface import Unavailable
from delivery.store.values import Appended, Outcome
from tests.cassandra.hotnode import anywhere, gateways, hot_node, short
from tests.cassandra.pair import Pair, pair, restart
from tests.cassandra.two_gateways import in_order, is_event, is_message
from tests.contract.people import T0, new_id, seqs

__all__ = ["anywhere", "gateways", "hot_node", "pair", "short"]  # fixtures

STORED, DUPLICATE, OUT_OF_ORDER = Outcome.STORED, Outcome.DUPLICATE, Outcome.OUT_OF_ORDER

pytestmark = pytest.mark.usefixtures("short")


# -- what it is for


async def test_plain_messages_of_all_gateways_cost_no_conditional_write(pair: Pair) -> None:
    assert pair.node.copies(pair.conversation)
    await pair.stored(pair.one)
    before = pair.one._db.swaps
    found: list[int] = []
    for _ in range(4):
        found += await pair.stored(pair.one) + await pair.stored(pair.other)
    assert found == list(range(5, 13))
    assert pair.one._db.swaps == before
    assert seqs((await pair.page()).events) == list(range(1, 13))


async def test_gateways_that_meet_give_every_number_once(pair: Pair) -> None:
    parts = await asyncio.gather(
        *(pair.stored(store, 3) for store in (pair.one, pair.other) for _ in range(6))
    )
    assert sorted(seq for part in parts for seq in part) == list(range(4, 40))
    assert seqs((await pair.page()).events) == list(range(1, 40))


async def test_a_block_of_numbers_that_is_used_up_is_followed_by_another(
    pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(copied, "BLOCK", 4)
    found = [seq for _ in range(8) for seq in await pair.stored(pair.one, 3)]
    assert found == list(range(4, 28))


async def test_other_changes_call_the_copy_back(pair: Pair) -> None:
    """And what follows makes another."""
    first = pair.node.copies(pair.conversation)
    (message,) = await pair.over(pair.one, send := pair.people.send())
    edit = pair.people.amend(send.message_id, "edit", b"edited")
    assert (await pair.over(pair.other, edit))[0] == Appended(STORED, 5, T0)
    assert pair.node.copies(pair.conversation) == []
    assert await pair.stored(pair.one) == [6]
    (second,) = pair.node.copies(pair.conversation)
    assert [second] != first
    assert message.seq == 4
    assert seqs((await pair.page()).events) == [1, 2, 3, 4, 5, 6]


async def test_a_retry_over_another_gateway_finds_the_claim_of_the_copy(pair: Pair) -> None:
    pair.one._db.lose = is_event
    send = pair.people.send(seq_num=1)
    with pytest.raises(Unavailable):
        await pair.one.append(new_id(), [send], T0)
    assert (await pair.page()).through == 3  # it may come
    (result,) = await pair.over(pair.other, send)
    assert (result.outcome, result.seq) == (STORED, 4)


async def test_who_dies_after_calling_a_copy_back_holds_nobody_up(pair: Pair) -> None:
    document = await pair.document()
    assert document.hot is not None
    copies = pair.one._documents.hot.copies
    (copy,) = await copies.read([(pair.conversation, document.hot)])
    assert await copies.freeze(pair.conversation, document.hot, copy.version)
    assert seqs((await pair.page()).events) == [1, 2, 3]
    assert await pair.stored(pair.other) == [4]
    assert len(pair.node.copies(pair.conversation)) == 1


# -- R24: a copy that is lost


async def no_number_twice(pair: Pair, lose: Callable[[], None]) -> None:
    """Two writers, one before and one behind the loss."""
    sent = [pair.people.send(seq_num=number) for number in (1, 2)]
    assert [one.seq for one in await pair.over(pair.one, *sent)] == [4, 5]
    lose()
    behind = pair.people.send(seq_num=3)
    (result,) = await pair.over(pair.other, behind)
    assert result.seq > 5, "a number is given out twice"
    (again,) = await pair.over(pair.one, pair.people.send(seq_num=4))
    assert again.seq == result.seq + 1
    assert (await pair.over(pair.one, *sent, behind))[2] == Appended(DUPLICATE, result.seq, T0)
    (refused,) = await pair.over(pair.one, pair.people.send(seq_num=4))
    assert (refused.outcome, refused.expected) == (OUT_OF_ORDER, 5)
    page = await pair.page()
    assert seqs(page.events) == [1, 2, 3, 4, 5, result.seq, again.seq]
    assert [one.ordinal for one in page.events] == [1, 2, 3, 4, 5, 6, 7]
    assert page.through == again.seq


async def test_r24_after_a_flush_no_number_is_given_out_again(pair: Pair) -> None:
    await no_number_twice(pair, pair.node.flush)


async def test_r24_a_copy_that_somebody_deletes_is_made_again(pair: Pair) -> None:
    def delete() -> None:
        with pair.node.redis as node:
            node.delete(*pair.node.copies(pair.conversation))

    await no_number_twice(pair, delete)


async def test_r24_after_a_restart_of_the_hot_node(pair: Pair) -> None:
    await no_number_twice(pair, restart(pair))


async def test_r24_a_stale_copy_of_the_hot_node_counts_for_nothing(pair: Pair) -> None:
    pair.node.dump("old")
    await no_number_twice(pair, restart(pair, dump="old"))


@pytest.mark.usefixtures("anywhere")
async def test_twin_r24_who_believes_a_stale_copy_gives_numbers_out_again(
    pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def not_closed(self: leases.Leases, mark: Any) -> None:
        """Nor does a writer that finds the node away while it restarts end the lease."""

    monkeypatch.setattr(leases.Leases, "reachable", lambda self, conversation, mark: True)
    monkeypatch.setattr(leases.Leases, "close", not_closed)
    pair.node.dump("old")
    with pytest.raises(AssertionError, match="given out twice"):
        await no_number_twice(pair, restart(pair, dump="old"))


async def paused_writer_is_not_believed(pair: Pair, lose: Callable[[], None]) -> None:
    """It has a number of the copy, and stands still until somebody has gone on without the copy."""
    held = pair.people.send(body=b"held", seq_num=1)
    pair.one._db.goes.clear()
    paused = asyncio.create_task(pair.one.append(new_id(), [held], T0))
    await pair.one._db.stands.wait()
    assert (await pair.document()).head == 4
    lose()
    (behind,) = await pair.stored(pair.other)
    position = (await pair.page()).through
    assert position == behind > 4, "a number is given out twice"
    pair.one._db.goes.set()
    (told,) = await asyncio.gather(paused, return_exceptions=True)
    after = await pair.page(0)
    if not isinstance(told, BaseException):
        raise AssertionError("acknowledged, behind what a reader has passed")
    assert b"held" not in [one.content for one in after.events], "a late row is seen"
    (result,) = await pair.over(pair.other, held)
    assert (result.outcome, result.seq) == (STORED, behind + 1)
    assert [one.content for one in (await pair.page(position)).events] == [b"held"]


async def test_r23_a_paused_writer_acknowledges_nothing_that_was_passed(pair: Pair) -> None:
    await paused_writer_is_not_believed(pair, pair.node.flush)


async def test_r23_nor_behind_arestart(pair: Pair) -> None:
    await paused_writer_is_not_believed(pair, restart(pair, emptied=True))


async def test_twin_r23_without_a_lease_it_does(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    async def nothing(*_: Any) -> set[int]:
        return set()

    monkeypatch.setattr(copied.HotDocuments, "over", nothing)
    with pytest.raises(AssertionError, match="acknowledged, behind what a reader has passed"):
        await paused_writer_is_not_believed(pair, pair.node.flush)


async def test_twin_r24_without_a_base_the_number_is_given_out_again(
    pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Document, "given", property(lambda self: self.head))
    with pytest.raises(AssertionError, match="given out twice"):
        await paused_writer_is_not_believed(pair, pair.node.flush)


async def test_twin_r24_without_the_deletion_a_late_row_is_seen(
    pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("delivery.store.cassandra.settling.never", lambda conversation, lost: [])
    with pytest.raises(AssertionError, match="a late row is seen"):
        await paused_writer_is_not_believed(pair, pair.node.flush)


async def hurried(pair: Pair) -> None:
    """A writer is about to tell its sender when the copy is lost: whoever goes on without it finds the row."""
    pair.one._db.goes.clear()
    send = pair.people.send(body=b"just in time")
    writing = asyncio.create_task(pair.one.append(new_id(), [send], T0))
    await pair.one._db.stands.wait()
    pair.node.flush()
    going_on = asyncio.create_task(pair.stored(pair.other))
    await asyncio.sleep(leases.CONFIRMED_S / 4)
    pair.one._db.goes.set()
    (told,) = await asyncio.gather(writing, return_exceptions=True)
    (behind,) = await going_on
    events = {one.seq: one.content for one in (await pair.page()).events}
    if not isinstance(told, BaseException):
        assert events.get(told.results[0].seq) == b"just in time", "acknowledged and gone"
    assert behind in events


async def test_r23_what_is_acknowledged_while_a_lease_ends_is_found(pair: Pair) -> None:
    await hurried(pair)


async def test_a_row_that_nobody_was_told_of_is_one_of_the_log(pair: Pair) -> None:
    """Its writer dies behind it, and then the copy is lost, which is all that knows of it."""
    pair.one._db.lose = is_message
    send = pair.people.send(seq_num=1)
    with pytest.raises(Unavailable):
        await pair.one.append(new_id(), [send], T0)
    pair.node.flush()
    (behind,) = await pair.stored(pair.other)
    assert seqs((await pair.page()).events) == [1, 2, 3, 4, behind]
    assert (await pair.over(pair.other, send))[0] == Appended(DUPLICATE, 4, T0)


async def void_with_what_it_followed(pair: Pair) -> None:
    """Of two rows one replica has taken, the reads that decide find the second alone."""
    rows: list[Statement] = []

    def second(statement: Statement) -> bool:
        rows.append(statement)
        return len(rows) == 2

    sends = [pair.people.send(seq_num=number) for number in (1, 2)]
    pair.one._db.lose = second
    with pytest.raises(Unavailable):
        await pair.one.append(new_id(), sends, T0)
    pair.one._db.lose = lambda statement: False
    assert all(is_event(row) for row in rows)
    await pair.other._db.batch([rows[1]])
    pair.node.flush()
    results = await pair.over(pair.other, *sends)
    assert [result.outcome for result in results] == [STORED, STORED]
    in_order(results, (await pair.page()).events, before=[1, 2, 3])


async def test_r21_what_came_behind_a_lost_message_is_void(pair: Pair) -> None:
    await void_with_what_it_followed(pair)


async def test_twin_r21_else_it_is_there_without_the_first(
    pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lost, "_in_order", lambda document, behind, untold: behind)
    with pytest.raises(AssertionError):
        await void_with_what_it_followed(pair)


async def test_what_a_block_withholds_is_known_again(pair: Pair) -> None:
    people = pair.people
    await pair.other.withhold(people.bob, people.alice, True, T0)
    assert await pair.stored(pair.one, 2) == [4, 5]
    await pair.stored(pair.one)
    assert pair.node.copies(pair.conversation)
    pair.node.flush()
    page = await pair.page()
    assert (seqs(page.events), page.head) == ([1, 2, 3], 3)
    assert (await pair.other.withheld_after([pair.conversation]))[pair.conversation, people.bob] == (3, 6)


async def test_a_copy_that_nobody_uses_is_called_back(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(documents, "COOL_S", 0.0)
    await pair.other._documents.cool()
    assert pair.node.copies(pair.conversation) == []
    assert await pair.stored(pair.one) == [4]


def test_what_is_deleted_is_all_but_what_was_there() -> None:
    gone = Lost(4094, 4099, 1, [4096])
    assert [(params[2], params[3], params[4]) for _, params in lost.never("c", gone)] == [
        (0, 4094, 4096),
        (1, 4096, 4100),
    ]
    assert [seq for seq in range(4093, 4102) if lost.is_void(gone, seq)] == [4095, 4097, 4098, 4099]
