"""Numbers while the hot node that has the copy is away, full, or another one than it was."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from delivery.store.cassandra import leases
from delivery.store.errors import Blocked
from delivery.store.interface import Unavailable
from delivery.store.values import Appended, Outcome
from tests.cassandra.hotnode import anywhere, gateways, hot_node, short
from tests.cassandra.pair import PATIENCE_S, Pair, pair
from tests.contract.people import T0, People, new_id

__all__ = ["anywhere", "gateways", "hot_node", "pair", "short"]  # fixtures

STORED, DUPLICATE, OUT_OF_ORDER = Outcome.STORED, Outcome.DUPLICATE, Outcome.OUT_OF_ORDER

pytestmark = pytest.mark.usefixtures("short")


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
            async with asyncio.timeout(PATIENCE_S):
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


async def test_r24_without_the_hot_node_all_go_on_durably(pair: Pair) -> None:
    pair.node.kill()
    try:
        assert (await pair.stored(pair.other)) == [516]
        before = pair.one._db.swaps
        assert (await pair.stored(pair.one)) == [517]
        assert pair.one._db.swaps > before
    finally:
        pair.node.start()
    async with asyncio.timeout(PATIENCE_S):
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
    async with asyncio.timeout(PATIENCE_S):
        while (again := (await pair.document()).hot) is None:
            await pair.stored(pair.one)
            await asyncio.sleep(0.1)
    assert again.number > document.hot.number
    assert first > 3
