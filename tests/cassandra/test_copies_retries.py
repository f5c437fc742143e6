"""A message whose number a copy on a hot node has given out before, and which comes again over a process that goes the durable
way: what it finds in the copy counts as the copy does (R23)."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from delivery.store.cassandra import append
from delivery.store.interface import Outcome, Unavailable
from tests.cassandra.hotnode import gateways, hot_node, short
from tests.cassandra.test_claims import is_event
from tests.cassandra.test_copies import Pair, pair
from tests.contract.harness import T0, new_id, seqs

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
