"""Rows of which nodes, or time, have left a part. Where a node has missed a write, a read gives it what the others have of the
columns that were asked for, and no more (``RowIteratorMergeListener`` of Cassandra): what is to count from then on is read
whole."""

from __future__ import annotations

import re
from typing import Any

import pytest

from delivery.store.cassandra import claims, events
from delivery.store.cassandra.rows import BUCKET
from delivery.store.cassandra.session import Cassandra
from delivery.store.interface import Appended, Outcome, ReceiptWrite, Unavailable
from tests.cassandra.hotnode import gateways, hot_node, short
from tests.cassandra.test_claims import Two, is_event, is_message, two
from tests.cassandra.test_copies import Pair, pair
from tests.contract.harness import T0, new_id, seqs

__all__ = ["gateways", "hot_node", "pair", "short", "two"]  # fixtures

_KEY = "WHERE conversation = ? AND bucket = ? AND seq = ? AND message_id = ?"


class OnOneNode:
    """An event that one node of three has, which is among the two that answer, until it is lost with all that no read has given
    to another."""

    def __init__(self, session: Cassandra, monkeypatch: pytest.MonkeyPatch) -> None:
        self._session = session
        self._given: set[str] = set()
        self._rows = session.rows

        async def rows(cql: str, *params: Any, **options: Any) -> Any:
            columns, _, table = cql.partition(" FROM $.event")
            if table:
                self._given |= set(re.findall(r"\w+", columns))
            return await self._rows(cql, *params, **options)

        monkeypatch.setattr(session, "rows", rows)

    async def lost(self, conversation: str, seq: int, message_id: str) -> None:
        cql = "SELECT column_name, kind FROM system_schema.columns WHERE keyspace_name = ? AND table_name = 'event'"
        columns = await self._rows(cql, self._session.keyspace)
        missing = sorted({name for name, kind in columns if kind == "regular"} - self._given)
        if missing:
            cql = f"DELETE {', '.join(missing)} FROM $.event USING TIMESTAMP ? {_KEY}"
            await self._session.run(cql, 2**61, conversation, seq // BUCKET, seq, message_id)


async def what_is_settled_stays(two: Two, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its writer did not know whether it is there; its sender is told that it is."""
    one = two.people.send(body=b"all of it")
    two.bad.silent = is_event
    with pytest.raises(Unavailable):
        await two.first.append(new_id(), [one], T0)
    node = OnOneNode(two.session, monkeypatch)
    two.now += claims.SETTLE_MS
    assert (await two.over(two.other, one))[0] == Appended(Outcome.DUPLICATE, 1, T0)
    await node.lost(two.people.conversation, 1, one.message_id)
    (found,) = (await two.page()).events
    assert (found.content, found.sender) == (b"all of it", two.people.alice)


async def test_what_is_settled_is_there_for_good(two: Two, monkeypatch: pytest.MonkeyPatch) -> None:
    await what_is_settled_stays(two, monkeypatch)


async def test_twin_a_row_that_was_looked_for_by_its_key_is_not(
    two: Two, monkeypatch: pytest.MonkeyPatch
) -> None:
    there = f"SELECT {', '.join(['seq'] * 6)}, kind FROM $.event {_KEY}"
    monkeypatch.setattr(events, "_WHOLE", there)
    with pytest.raises((AssertionError, ValueError)):
        await what_is_settled_stays(two, monkeypatch)


async def test_what_is_found_behind_a_lost_copy_is_there_for_good(
    pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    pair.one._db.lose = is_message
    one = pair.people.send(body=b"all of it")
    with pytest.raises(Unavailable):
        await pair.one.append(new_id(), [one], T0)
    pair.node.flush()
    node = OnOneNode(pair.other._db, monkeypatch)
    await pair.stored(pair.other)
    assert (await pair.over(pair.other, one))[0] == Appended(Outcome.DUPLICATE, 4, T0)
    await node.lost(pair.conversation, 4, one.message_id)
    (found,) = (event for event in (await pair.page()).events if event.seq == 4)
    assert found.content == b"all of it"


async def test_what_an_edit_leaves_of_an_expired_message_is_passed_over(two: Two) -> None:
    """Its row goes by a time to live of its own, what the edit has written minutes later."""
    said = two.people.send(body=b"said")
    await two.over(two.other, said, two.people.send(body=b"more"))
    await two.over(two.other, two.people.amend(said.message_id, "edit", b"meant"))
    key = (two.people.conversation, 0, 1, said.message_id)
    ((written,),) = await two.session.rows(f"SELECT WRITETIME(kind) FROM $.event {_KEY}", *key)
    await two.session.run(f"DELETE FROM $.event USING TIMESTAMP ? {_KEY}", written, *key)
    assert await two.session.rows(f"SELECT kind, content FROM $.event {_KEY}", *key) == [(None, b"meant")]
    page = await two.page()
    assert (seqs(page.events), page.through) == ([2, 3], 3)
    back = await two.other.history(two.people.conversation, two.people.bob, 0, 3, 10)
    assert seqs(back.events) == [2]
    await two.other.save([], [ReceiptWrite(two.people.conversation, two.people.bob, read=1)], T0)
    assert await two.other.badges([two.people.bob], T0) == {two.people.bob: 2}
