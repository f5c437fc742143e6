"""Numbers from copies of state documents on a hot node (rules R23 and R24): what is lost of it loses nothing else. Each with the
twin that breaks without the rule."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from delivery.store.cassandra import copied, documents, leases, lost
from delivery.store.cassandra.document import Document, Lost
from delivery.store.cassandra.session import Cassandra, Row, Statement
from delivery.store.errors import Blocked
from delivery.store.interface import Appended, Outcome, PageRequest, Send, Unavailable
from tests.cassandra.hotnode import Gateways, HotNode, anywhere, gateways, hot_node, short
from tests.cassandra.test_claims import is_event
from tests.contract.harness import T0, People, new_id, seqs

__all__ = ["anywhere", "gateways", "hot_node", "short"]  # fixtures

STORED, DUPLICATE, OUT_OF_ORDER = Outcome.STORED, Outcome.DUPLICATE, Outcome.OUT_OF_ORDER
#: How a test waits for what a process finds out by itself.
_PATIENCE_S = 30.0

pytestmark = pytest.mark.usefixtures("short")


class Stalling(Cassandra):
    """A session that can be made to stand still before events are written, counts conditional writes, and loses rows by id."""

    swaps = 0
    lose: Callable[[Statement], bool] = staticmethod(lambda statement: False)

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.stands = asyncio.Event()
        self.goes = asyncio.Event()
        self.goes.set()

    async def batch(self, statements: Sequence[Statement], *, logged: bool = False) -> None:
        if any(self.lose(one) for one in statements):
            raise Unavailable("lost")
        if any(is_event(one) for one in statements):
            self.stands.set()
            await self.goes.wait()
        await super().batch(statements, logged=logged)

    async def swap(self, cql: str, *params: Any) -> tuple[bool, Row | None]:
        self.swaps += 1
        return await super().swap(cql, *params)


class Pair:
    """Two gateways, and a conversation that has a copy."""

    def __init__(self, one: Any, other: Any, node: HotNode) -> None:
        self.one, self.other, self.node = one, other, node

    async def meet(self) -> Pair:
        self.people = await People(self.other).meet()
        self.conversation = self.people.conversation
        # A test before this one may have closed the lease of the same node.
        async with asyncio.timeout(_PATIENCE_S):
            while not await self.other._documents.hot.leases.usable(self.conversation):
                await asyncio.sleep(0.05)
        await self.stored(self.other, 3)
        return self

    async def stored(self, store: Any, count: int = 1) -> list[int]:
        """The seqs of so many messages."""
        return [one.seq for one in await self.over(store, *(self.people.send() for _ in range(count)))]

    async def over(self, store: Any, *sends: Send) -> list[Appended]:
        """The results of an append, sent again until it is known."""
        async with asyncio.timeout(_PATIENCE_S):
            while True:
                try:
                    return (await store.append(new_id(), sends, T0)).results  # type: ignore[no-any-return]
                except Unavailable:
                    await asyncio.sleep(0.05)

    async def page(self, after: int = 0) -> Any:
        async with asyncio.timeout(_PATIENCE_S):
            while True:
                try:
                    (page,) = await self.other.pages([PageRequest(self.conversation, self.people.bob, after)])
                except Unavailable:
                    await asyncio.sleep(0.05)
                    continue
                return page

    async def document(self) -> Document:
        (found,) = (await self.other._documents.read([self.conversation])).values()
        return found  # type: ignore[no-any-return]


@pytest.fixture
async def pair(gateways: Gateways, hot_node: HotNode) -> Pair:
    return await Pair(await gateways.open(Stalling), await gateways.open(), hot_node).meet()


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


def _restart(pair: Pair, **how: Any) -> Callable[[], None]:
    def restart() -> None:
        pair.node.kill()
        pair.node.start(**how)

    return restart


async def test_r24_after_a_restart_of_the_hot_node(pair: Pair) -> None:
    await no_number_twice(pair, _restart(pair))


async def test_r24_a_stale_copy_of_the_hot_node_counts_for_nothing(pair: Pair) -> None:
    pair.node.dump("old")
    await no_number_twice(pair, _restart(pair, dump="old"))


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
        await no_number_twice(pair, _restart(pair, dump="old"))


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


async def test_r23_nor_behind_a_restart(pair: Pair) -> None:
    await paused_writer_is_not_believed(pair, _restart(pair, emptied=True))


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
    pair.one._db.lose = lambda statement: statement[0].startswith("INSERT INTO $.message ")
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
    assert results[0].seq < results[1].seq
    assert seqs((await pair.page()).events) == [1, 2, 3, *(result.seq for result in results)]


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


async def test_r24_what_another_node_has_answered_is_not_believed(
    pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A cluster's client asks a promoted replica in place of its master: it may not have the latest numbers."""
    hot, run = pair.one._hot, pair.one._hot.run_under
    await pair.stored(pair.one)

    async def elsewhere(*asked: Any) -> Any:
        answers = await run(*asked)
        monkeypatch.setattr(hot, "under", lambda key: (2, "another"))
        return answers

    monkeypatch.setattr(hot, "run_under", elsewhere)
    assert (await pair.stored(pair.one)) == [516], "numbered by what is durable, behind the block of the copy"


@pytest.mark.parametrize("command", ["append", "recall"])
async def test_a_hot_node_that_takes_nothing_is_gone_without(pair: Pair, command: str) -> None:
    with pair.node.redis as node:
        node.config_set("maxmemory", "1")
    try:
        if command == "append":
            assert (await pair.stored(pair.other)) > [512]
        else:
            await pair.over(pair.other, pair.people.amend(new_id(), "edit", b"of nothing"))
            async with asyncio.timeout(_PATIENCE_S):
                while (await pair.document()).hot is not None:
                    await pair.stored(pair.other)
    finally:
        with pair.node.redis as node:
            node.config_set("maxmemory", "0")
    assert (await pair.page()).head >= 3


async def test_who_comes_in_the_same_batch_does_not_wait(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only what has a copy on the node that is away; its sender is told to come again."""
    monkeypatch.setattr(leases, "DEAD_S", 60.0)
    monkeypatch.setattr(leases, "REOPEN_S", 60.0)
    people = await People(pair.one).meet()
    pair.node.flush()
    lost, other = pair.people.send(), people.send()
    with pytest.raises(Blocked) as blocked:
        await pair.one.append(new_id(), [lost, other], T0)
    results = blocked.value.results
    assert results[0] is None
    assert results[1] == Appended(STORED, 1, T0)
    with pytest.raises(Unavailable):
        await pair.one.append(new_id(), [lost], T0)  # alone it waits, not for ever
    monkeypatch.setattr(leases, "DEAD_S", 0.6)
    assert (await pair.over(pair.one, lost))[0].seq > 3


# -- without a hot node


async def test_r24_without_the_hot_node_all_go_on_durably(pair: Pair) -> None:
    pair.node.kill()
    try:
        assert (await pair.stored(pair.other)) == [516]
        before = pair.one._db.swaps
        assert (await pair.stored(pair.one)) == [517]
        assert pair.one._db.swaps > before
    finally:
        pair.node.start()
    async with asyncio.timeout(_PATIENCE_S):
        while not pair.node.copies(pair.conversation):
            await pair.stored(pair.one)
            await asyncio.sleep(0.1)
    page = await pair.page()
    assert len(page.events) == page.head - 512


async def test_r24_who_alone_has_no_hot_node_ends_the_lease_for_everybody(
    pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody is ahead of the other meanwhile: the one gives no number out that the other has."""
    hot = pair.one._hot
    before = (await pair.document()).hot
    monkeypatch.setattr(hot, "under", lambda key: (0, ""))
    (mine,) = await pair.stored(pair.one)
    assert mine > 512
    theirs = await pair.stored(pair.other, 2)
    assert theirs == [mine + 1, mine + 2]
    after = (await pair.document()).hot
    # Another one, if the machine was so slow that a lease was to be had again.
    assert after is None or after.number > before.number


async def test_a_lease_that_was_closed_is_opened_again(pair: Pair) -> None:
    document = await pair.document()
    assert document.hot is not None
    await pair.one._documents.hot.leases.close(document.hot)
    (first,) = await pair.stored(pair.one)
    async with asyncio.timeout(_PATIENCE_S):
        while (again := (await pair.document()).hot) is None:
            await pair.stored(pair.one)
            await asyncio.sleep(0.1)
    assert again.number > document.hot.number
    assert first > 3


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
