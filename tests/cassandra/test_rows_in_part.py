"""Rows of which nodes, or time, have left a part. Where a node has missed a write, a read gives it what the others have of the
columns that were asked for, and no more (``RowIteratorMergeListener`` of Cassandra): what is to count from then on is read
whole."""

from __future__ import annotations

import re
from typing import Any

import pytest

from delivery.store.cassandra import changes, claims, events, rows
from delivery.store.cassandra.rows import BUCKET
from delivery.store.cassandra.session import Cassandra
from delivery.store.interface import Unavailable
from delivery.store.values import Appended, Change, Outcome, ReceiptWrite, Send
from tests.cassandra.hotnode import gateways, hot_node, short
from tests.cassandra.pair import Pair, pair
from tests.cassandra.two_gateways import Two, is_event, is_message, two
from tests.contract.people import T0, new_id, seqs

__all__ = ["gateways", "hot_node", "pair", "short", "two"]  # fixtures

COLUMNS = len(events.EventRow._fields)
_KEY = "WHERE conversation = ? AND bucket = ? AND seq = ? AND message_id = ?"


class OnOneNode:
    """An event that one node of three has, which is among the two that answer, until it is lost with all that no read has given
    to another."""

    def __init__(self, session: Cassandra, monkeypatch: pytest.MonkeyPatch) -> None:
        self._session = session
        self._given: set[str] = set()
        self._rows = session.rows

        async def read(cql: str, *params: Any, **options: Any) -> Any:
            columns, _, table = cql.partition(" FROM $.event")
            if table:
                self._given |= set(re.findall(r"\w+", columns))
            return await self._rows(cql, *params, **options)

        monkeypatch.setattr(session, "rows", read)

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
    monkeypatch.setattr(events, "_WHOLE", f"SELECT {', '.join(['kind'] * COLUMNS)} FROM $.event {_KEY}")
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


async def what_was_shown_stays(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    """A reader is shown what its writer does not know about, and then the hot node forgets that it was given a number."""
    pair.one._db.lose = is_message
    one = pair.people.send(body=b"all of it")
    with pytest.raises(Unavailable):
        await pair.one.append(new_id(), [one], T0)
    node = OnOneNode(pair.other._db, monkeypatch)
    assert seqs((await pair.page()).events) == [1, 2, 3, 4]
    await node.lost(pair.conversation, 4, one.message_id)
    pair.node.flush()
    await pair.stored(pair.other)
    assert (await pair.over(pair.other, one))[0] == Appended(Outcome.DUPLICATE, 4, T0)
    (found,) = (event for event in (await pair.page()).events if event.seq == 4)
    assert found.content == b"all of it"


async def test_what_a_reader_was_shown_is_there_for_good(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    await what_was_shown_stays(pair, monkeypatch)


async def test_twin_what_was_shown_in_part_comes_again_elsewhere(
    pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    columns = events._COLUMNS.replace("allocated_at, base, body_hash", "seq, seq, seq")
    monkeypatch.setattr(events, "_UP", events._UP.replace(events._COLUMNS, columns))
    with pytest.raises(AssertionError, match="DUPLICATE"):
        await what_was_shown_stays(pair, monkeypatch)


async def what_a_change_is_told_stays(two: Two, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is repeated, and found by its message id, of which only one node has the row."""
    group, ann = new_id(), new_id()
    await two.other.create_group(group, T0)
    change = Change(new_id(), "member_added", b"", joins=(ann,))
    done = await two.other.change(new_id(), group, ann, [change], T0)
    asked: set[str] = set()
    rows_of = two.session.rows

    async def read(cql: str, *params: Any, **options: Any) -> Any:
        columns, _, table = cql.partition(" FROM $.message ")
        if table:
            asked.update(re.findall(r"\w+", columns))
        return await rows_of(cql, *params, **options)

    monkeypatch.setattr(two.session, "rows", read)
    again = await two.other.change(new_id(), group, ann, [change], T0)
    assert again.seqs == done.seqs
    key = "WHERE message_id = ? AND sender = ?"
    cql = "SELECT column_name, kind FROM system_schema.columns WHERE keyspace_name = ? AND table_name = 'message'"
    missing = [
        name
        for name, kind in await rows_of(cql, two.session.keyspace)
        if kind == "regular" and name not in asked
    ]
    if missing:
        lose = f"DELETE {', '.join(missing)} FROM $.message USING TIMESTAMP ? {key}"
        await two.session.run(lose, 2**61, change.message_id, ann)
    assert (
        None
        not in (
            await rows_of(
                f"SELECT conversation, seq, at, body_hash FROM $.message {key}", change.message_id, ann
            )
        )[0]
    )


async def test_what_a_change_is_told_is_there_for_good(two: Two, monkeypatch: pytest.MonkeyPatch) -> None:
    await what_a_change_is_told_stays(two, monkeypatch)


async def test_twin_a_change_that_was_looked_for_in_part_is_not(
    two: Two, monkeypatch: pytest.MonkeyPatch
) -> None:
    part = "SELECT conversation, seq FROM $.message WHERE message_id = ? AND sender = ?"
    monkeypatch.setattr(changes, "_STORED", part)
    with pytest.raises(AssertionError):
        await what_a_change_is_told_stays(two, monkeypatch)


async def a_part_is_nothing(two: Two, monkeypatch: pytest.MonkeyPatch) -> None:
    """Something that asks for some columns has read the event, before its only node was lost."""
    one = two.people.send(body=b"all of it")
    two.bad.silent = is_event
    with pytest.raises(Unavailable):
        await two.first.append(new_id(), [one], T0)
    two.bad.silent = lambda statement: False
    node = OnOneNode(two.session, monkeypatch)
    await two.other.traced("by_seq", two.people.conversation, 1)
    await node.lost(two.people.conversation, 1, one.message_id)
    assert seqs((await two.page()).events) == []
    two.now += claims.SETTLE_MS
    assert seqs((await two.page()).events) == []
    (result,) = await two.over(two.other, one)
    assert result.outcome is Outcome.STORED
    (found,) = (await two.page()).events
    assert (found.seq, found.content) == (result.seq, b"all of it")


async def test_a_part_of_an_event_is_no_event(two: Two, monkeypatch: pytest.MonkeyPatch) -> None:
    await a_part_is_nothing(two, monkeypatch)


async def test_twin_a_part_is_taken_for_all_of_it(two: Two, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(events.EventRow, "is_rest", property(lambda row: row.kind is None))
    with pytest.raises(AssertionError):
        await a_part_is_nothing(two, monkeypatch)


async def test_a_part_of_a_row_by_message_id_does_not_refuse_its_message(
    two: Two,
) -> None:
    """Without what the body was, a repetition would be told that it is another message."""
    one = two.people.send(body=b"said")
    await two.fails(one, lose=is_message)
    columns = {"message_id": one.message_id, "sender": one.sender, "conversation": one.conversation, "seq": 1}
    await two.session.write([rows.of("message", **columns, at=T0, stamp=T0 * 1000)])
    two.now += claims.SETTLE_MS
    assert (await two.over(two.other, one))[0] == Appended(Outcome.DUPLICATE, 1, T0)


async def expired(two: Two, said: Send, seq: int) -> None:
    """The row of an event has come to the end of its time to live, which is not that of what changes have written since."""
    key = (two.people.conversation, 0, seq, said.message_id)
    ((written,),) = await two.session.rows(f"SELECT WRITETIME(kind) FROM $.event {_KEY}", *key)
    await two.session.run(f"DELETE FROM $.event USING TIMESTAMP ? {_KEY}", written, *key)


async def test_what_an_edit_leaves_of_an_expired_message_is_passed_over(two: Two) -> None:
    """Its row goes by a time to live of its own, what the edit has written minutes later."""
    said = two.people.send(body=b"said", mentions=[two.people.bob])
    await two.over(two.other, said, two.people.send(body=b"more"))
    await two.over(two.other, two.people.amend(said.message_id, "edit", b"meant"))
    key = (two.people.conversation, 0, 1, said.message_id)
    await expired(two, said, 1)
    assert await two.session.rows(f"SELECT kind, content FROM $.event {_KEY}", *key) == [(None, b"meant")]
    page = await two.page()
    assert (seqs(page.events), page.through) == ([2, 3], 3)
    back = await two.other.history(two.people.conversation, two.people.bob, 0, 3, 10)
    assert seqs(back.events) == [2]
    (listed,) = await two.other.listed(two.people.bob, 10, "")
    assert listed.mentioned == 0
    await two.other.save([], [ReceiptWrite(two.people.conversation, two.people.bob, read=1)], T0)
    assert await two.other.badges([two.people.bob], T0) == {two.people.bob: 2}


@pytest.mark.parametrize("kind", ["edit", "delete", "reaction"])
async def test_nothing_is_said_about_what_is_left_of_a_message(two: Two, kind: str) -> None:
    """And the others of its batch are answered."""
    said = two.people.send(body=b"said")
    await two.over(two.other, said, two.people.send())
    await two.over(two.other, two.people.amend(said.message_id, "edit", b"meant"))
    await expired(two, said, 1)
    late, more = two.people.amend(said.message_id, kind, b"x"), two.people.send()
    outcomes = [one.outcome for one in await two.over(two.other, late, more)]
    assert outcomes == [Outcome.NO_TARGET, Outcome.STORED]


async def test_what_is_left_of_a_message_is_not_the_last_of_its_conversation(two: Two) -> None:
    first, said = two.people.send(body=b"first"), two.people.send(body=b"said")
    await two.over(two.other, first, said)
    edit = two.people.amend(said.message_id, "edit", b"meant")
    await two.over(two.other, edit)
    await expired(two, said, 2)
    await expired(two, edit, 3)
    (listed,) = await two.other.listed(two.people.bob, 10, "")
    assert listed.last is not None
    assert (listed.last.seq, listed.last.content) == (1, b"first")
