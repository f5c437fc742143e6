"""A message whose number a copy on a hot node has given out before, and which comes again over a process that goes the durable
way: what it finds in the copy counts as the copy does (R23). And rows of a lost copy that come late: none is seen (R24)."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from delivery.store.cassandra import append, judge
from delivery.store.interface import Unavailable
from delivery.store.values import Outcome
from tests.cassandra.hotnode import gateways, hot_node, short
from tests.cassandra.pair import Pair, pair
from tests.cassandra.two_gateways import is_event
from tests.contract.people import T0, new_id, seqs

__all__ = ["gateways", "hot_node", "pair", "short"]  # fixtures

pytestmark = pytest.mark.usefixtures("short")


async def comes_again(pair: Pair, before: Callable[[], Any]) -> None:
    """It stands still when it has found the claim, until the copy is lost and somebody has gone on without it."""
    held = pair.people.send(body=b"held")
    pair.one._db.lose = is_event
    with pytest.raises(Unavailable):
        await pair.one.append(new_id(), [held], T0)
    pair.one._db.lose = lambda statement: False
    assert (await pair.document()).head == 4
    hot = pair.one._documents.hot
    hot.makes = False
    hot.known.clear()
    await before()
    pair.one._db.stands.clear()
    pair.one._db.goes.clear()
    paused = asyncio.create_task(pair.one.append(new_id(), [held], T0))
    await pair.one._db.stands.wait()
    pair.node.flush()
    await pair.stored(pair.other)
    passed = (await pair.page()).through
    pair.one._db.goes.set()
    (told,) = await asyncio.gather(paused, return_exceptions=True)
    there = [event.seq for event in (await pair.page()).events if event.content == b"held"]
    if not isinstance(told, BaseException) and told.results[0].outcome is Outcome.STORED:
        assert there == [told.results[0].seq], "acknowledged, and gone"
    (result,) = await pair.over(pair.other, held)
    assert result.seq > passed, "a reader has passed it"
    events = (await pair.page()).events
    assert [event.seq for event in events if event.content == b"held"] == [result.seq]
    assert len(seqs(events)) == len(set(seqs(events)))


async def comes_late(pair: Pair, ahead_ms: int) -> None:
    """The second number of a copy, which is lost before its row is written, by a gateway whose clock is ahead."""
    first, held = pair.people.send(), pair.people.send(body=b"held")
    pair.one._db.lose = is_event
    with pytest.raises(Unavailable):
        await pair.one.append(new_id(), [first], T0 + ahead_ms)
    pair.one._db.lose = lambda statement: False
    pair.one._db.stands.clear()
    pair.one._db.goes.clear()
    paused = asyncio.create_task(pair.one.append(new_id(), [held], T0 + ahead_ms))
    await pair.one._db.stands.wait()
    pair.node.flush()
    (behind,) = await pair.stored(pair.other)
    assert (await pair.page()).through == behind
    pair.one._db.goes.set()
    (told,) = await asyncio.gather(paused, return_exceptions=True)
    assert isinstance(told, Unavailable)
    there = [event.content for event in (await pair.page()).events]
    assert b"held" not in there, "a late row is seen"


@pytest.mark.parametrize("ahead_ms", [0, 3_600_000])
async def test_r24_no_row_of_a_lost_copy_is_seen_whatever_its_timestamp(pair: Pair, ahead_ms: int) -> None:
    await comes_late(pair, ahead_ms)


async def test_twin_r24_of_a_clock_that_is_ahead(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(judge, "_bounded", lambda document, now: now)
    with pytest.raises(AssertionError, match="a late row is seen"):
        await comes_late(pair, 3_600_000)


async def nothing() -> None: ...


async def test_r23_a_claim_that_only_a_copy_has_counts_as_the_copy_does(pair: Pair) -> None:
    await comes_again(pair, nothing)


async def test_twin_r23_a_claim_of_a_copy_is_taken_for_durable(
    pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(append, "_of_copy", lambda document, judged: False)
    with pytest.raises(AssertionError, match="acknowledged, and gone"):
        await comes_again(pair, nothing)


async def test_r23_so_does_one_of_a_copy_that_was_called_back_and_not_folded(pair: Pair) -> None:
    async def freeze() -> None:
        document = await pair.document()
        assert document.hot is not None
        copies = pair.other._documents.hot.copies
        (copy,) = await copies.read([(pair.conversation, document.hot)])
        assert await copies.freeze(pair.conversation, document.hot, copy.version)

    await comes_again(pair, freeze)
