"""When a copy's lease counts as dead: not before nobody acts any more on having seen it open."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from delivery.store.cassandra import leases
from delivery.store.cassandra.document import Hot as Mark
from delivery.store.cassandra.leases import Leases
from delivery.store.cassandra.session import Cassandra
from delivery.store.interface import Unavailable
from tests.contract.people import new_id


class Node:
    """A hot node as a process sees it."""

    def __init__(self) -> None:
        self.seen = (1, new_id())

    def under(self, key: str) -> tuple[int, str]:
        return self.seen


class Pair:
    """Two processes and a hot node."""

    def __init__(self, session: Cassandra) -> None:
        self.session = session
        self.node: Any = Node()
        self.one, self.other = self.process(), self.process()

    def process(self) -> Leases:
        return Leases(self.session, self.node)

    async def mark(self, process: Leases) -> Mark:
        lease = await process.usable("c")
        assert lease is not None
        return Mark(1, *lease, 512)

    async def gone(self, process: Leases, mark: Mark) -> tuple[bool, float]:
        """Whether it is dead, and how long that took to say."""
        loop = asyncio.get_running_loop()
        began = loop.time()
        return await process.gone("c", mark, began + 20), loop.time() - began


@pytest.fixture
async def pair(session: Cassandra, monkeypatch: pytest.MonkeyPatch) -> Pair:
    monkeypatch.setattr(leases, "CONFIRMED_S", 0.4)
    monkeypatch.setattr(leases, "_AGAIN_S", 0.1)
    monkeypatch.setattr(leases, "DEAD_S", 0.6)
    monkeypatch.setattr(leases, "REOPEN_S", 1.0)
    return Pair(session)


async def test_whoever_closes_it_waits_for_those_who_have_seen_it_open(pair: Pair) -> None:
    mark = await pair.mark(pair.one)
    await pair.other.close(mark)
    dead, waited = await pair.gone(pair.other, mark)
    assert dead
    assert waited >= leases.CONFIRMED_S


async def test_one_that_was_opened_meanwhile_is_not_dead(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    """The process has read the lease before that: it looks again, and waits as ever when that one is closed."""
    first = await pair.mark(pair.one)
    await pair.one.close(first)
    await asyncio.sleep(leases.REOPEN_S)
    await pair.other.confirm([first])  # as of before
    monkeypatch.setattr(leases, "_AGAIN_S", 30.0)
    pair.one._seen.clear()
    second = await pair.mark(pair.one)
    assert second.number > first.number
    assert pair.other._seen[first.epoch].number == first.number
    assert await pair.other.gone("c", second, asyncio.get_running_loop().time() + 20) is False
    monkeypatch.setattr(leases, "_AGAIN_S", 0.1)
    await asyncio.sleep(leases.DEAD_S)
    await pair.one.close(second)
    dead, waited = await pair.gone(pair.other, second)
    assert dead
    assert waited >= leases.CONFIRMED_S


async def test_a_slow_answer_does_not_make_it_dead(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    """It took longer to read the lease than that counts for: later it is waited for as ever."""
    mark = await pair.mark(pair.one)
    await pair.other.confirm([mark])
    monkeypatch.setattr(leases, "CONFIRMED_S", -1.0)
    with pytest.raises(Unavailable):
        await pair.other.gone("c", mark, asyncio.get_running_loop().time())
    monkeypatch.setattr(leases, "CONFIRMED_S", 0.4)
    await asyncio.sleep(leases.DEAD_S)
    await pair.one.close(mark)
    dead, waited = await pair.gone(pair.other, mark)
    assert dead
    assert waited >= leases.CONFIRMED_S


async def test_nobody_waits_for_one_that_ended_long_ago(pair: Pair) -> None:
    """A process that has begun since then."""
    mark = await pair.mark(pair.one)
    await pair.one.close(mark)
    await asyncio.sleep(leases.REOPEN_S)
    late = pair.process()
    assert await late.gone("c", mark, asyncio.get_running_loop().time())  # at the first look
    again = await pair.mark(pair.other)
    assert again.number > mark.number
    assert await pair.process().gone("c", mark, asyncio.get_running_loop().time())


async def test_a_node_that_is_away_has_its_lease_closed(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    """Sooner by a process that has known it than by one that has only just begun."""
    monkeypatch.setattr(leases, "AWAY_S", 0.1)
    monkeypatch.setattr(leases, "FIRST_S", 60.0)
    mark = await pair.mark(pair.one)
    known, pair.node.seen = pair.node.seen[1], (0, "")
    now = asyncio.get_running_loop().time()
    with pytest.raises(Unavailable):
        await pair.other.gone("c", mark, now + 0.5)
    pair.node.seen = (0, known)
    dead, _ = await pair.gone(pair.one, mark)
    assert dead
