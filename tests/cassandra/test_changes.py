"""A change of members whose process died behind its decision: it counts, and whoever comes next writes what is missing."""

from __future__ import annotations

from typing import Any

import pytest

from delivery.store import pending
from delivery.store.cassandra import changes
from delivery.store.cassandra.session import Cassandra
from delivery.store.cassandra.store import CassandraStore
from delivery.store.interface import Unavailable
from delivery.store.values import Change, Interval, PageRequest
from tests.contract.people import T0, new_id
from whatsapp.infra import clock


@pytest.fixture
def store(session: Cassandra) -> CassandraStore:
    return CassandraStore(session)


class Died(Exception):
    pass


async def left(store: CassandraStore, monkeypatch: pytest.MonkeyPatch) -> tuple[str, str, str, list[Change]]:
    """A group of Ann's to which Bob comes, by a process that decides it and does no more."""
    group, ann, bob = new_id(), new_id(), new_id()
    await store.create_group(group, T0)
    await store.change(new_id(), group, ann, [Change(new_id(), "member_added", b"\x80", (ann,))], T0)

    async def die(*_: Any) -> None:
        raise Died

    coming = [Change(new_id(), "member_added", b"\x80", (bob,))]
    with monkeypatch.context() as patched:
        patched.setattr(changes, "finish", die)
        with pytest.raises(Died):
            await store.change(new_id(), group, ann, coming, T0)
    return group, ann, bob, coming


async def seqs(store: CassandraStore, group: str, user: str) -> list[int]:
    (page,) = await store.pages([PageRequest(group, user, 0)])
    return [event.seq for event in page.events]


async def test_it_counts_and_a_repetition_ends_it(
    store: CassandraStore, session: Cassandra, monkeypatch: pytest.MonkeyPatch
) -> None:
    group, ann, bob, coming = await left(store, monkeypatch)
    members = (await store.conversations([group]))[group].members
    assert sorted(members) == sorted([Interval(ann, 1), Interval(bob, 2)])
    # The twin: until somebody writes it, its event is nowhere.
    rows = "SELECT seq FROM $.event WHERE conversation = ? AND bucket = 0"
    assert await session.rows(rows, group) == [(1,)]
    again = await store.change(new_id(), group, ann, coming, T0)
    assert again.seqs == [2]
    assert await session.rows(rows, group) == [(1,), (2,)]
    assert await seqs(store, group, bob) == [2]
    assert (await store.roster_heads([group]))[group].members == 2


async def test_the_next_change_ends_it(store: CassandraStore, monkeypatch: pytest.MonkeyPatch) -> None:
    group, ann, bob, _ = await left(store, monkeypatch)
    going = [Change(new_id(), "member_removed", b"\x80", (), (bob,))]
    assert (await store.change(new_id(), group, ann, going, T0)).seqs == [3]
    assert Interval(bob, 2, 3) in (await store.conversations([group]))[group].members
    assert await seqs(store, group, bob) == [2, 3]


async def test_a_reader_ends_what_was_left_for_a_while(
    store: CassandraStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(changes, "ABANDONED_MS", -1)
    group, ann, bob, _ = await left(store, monkeypatch)
    assert await seqs(store, group, ann) == [1, 2]
    assert await seqs(store, group, bob) == [2]
    (listed,) = await store.listed(bob, 10)
    assert (listed.head, listed.unread) == (2, 0)


async def test_a_write_that_fails_is_no_answer(
    store: CassandraStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    group, ann, _, coming = await left(store, monkeypatch)

    async def fail(*_: Any) -> None:
        raise Unavailable("no quorum")

    with monkeypatch.context() as patched:
        patched.setattr(Cassandra, "write", fail)
        with pytest.raises(Unavailable):
            await store.change(new_id(), group, ann, coming, T0)
    assert (await store.change(new_id(), group, ann, coming, T0)).seqs == [2]


LATER = T0 + 3 * 3_600_000


async def told(store: CassandraStore, group: str) -> list[int]:
    """What the sweep finds of a group."""
    found = []
    for writer in await store.outbox_writers(LATER, "an epoch"):
        for row in await store.outbox(writer, "an epoch", LATER):
            found += [seq for conversation, seq in row.heads if conversation == group]
    return sorted(found)


async def test_what_was_committed_long_ago_is_told_when_it_is_carried_out(
    store: CassandraStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After an outage of hours, or when staff have it tried again."""
    monkeypatch.setattr(clock, "now_ms", lambda: LATER)
    group, ann = new_id(), new_id()
    await store.create_group(group, T0)
    coming = [Change(new_id(), "member_added", b"\x80", (ann,))]
    await pending.ChangeMembers(new_id(), group, ann, coming, T0).perform(store)  # type: ignore[arg-type]
    assert await told(store, group) == [1]
    await pending.SetTimer(new_id(), group, ann, new_id(), 60, b"\x80", T0).perform(store)  # type: ignore[arg-type]
    assert await told(store, group) == [1, 2]


async def test_what_was_decided_long_ago_is_told_when_somebody_ends_it(
    store: CassandraStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(clock, "now_ms", lambda: T0)
    group, _, bob, _ = await left(store, monkeypatch)
    monkeypatch.setattr(clock, "now_ms", lambda: LATER)
    assert await told(store, group) == []
    assert await seqs(store, group, bob) == [2]
    assert await told(store, group) == [2]
