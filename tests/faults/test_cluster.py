"""C6 on a real Valkey Cluster: a master dies, yields, or hands its slots over while people write. Nothing is lost or reordered.

Processes inside the test, on three masters and three replicas. Each fault comes under load, with a device that is connected all
the time and one that comes afterwards; the twins take away what holds it.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest

from delivery import session_check
from delivery.inbox import dirty_key, marker_key
from delivery.lanes import lane_of
from tests.faults.engine import Seat, World, saved
from tests.faults.rig import stays
from tests.gateway.phone import new_id
from tests.support import early
from tests.support.cassandra import copies_are_on, on_cassandra
from tests.support.cluster import Cluster
from tests.support.patience import until
from whatsapp.infra import hot_cluster
from whatsapp.infra.bus import channel
from whatsapp.infra.limits import LIMITS
from whatsapp.infra.slots import slot_of_key
from whatsapp.wire import frames

#: A dead master is missed after 1.5 s, then its replica is elected, then sessions are opened again.
PATIENCE_S = 40.0
#: Where a slot has moved, a set is not taken for complete for 30 s, and the check after that takes the last marks away.
CHECKED_S = 80.0

Off = Callable[..., None]


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    with Cluster(early.folder("cluster"), spare=1) as cluster:
        yield cluster


@pytest.fixture
async def here(log: Any, cluster: Cluster) -> AsyncIterator[World]:
    """A log of this test alone on the module's cluster, which is whole again afterwards."""
    async with World(log, cluster.url) as world:
        yield world
    for server in cluster.cluster.members[:6]:
        if not server.answers():
            await asyncio.to_thread(cluster.restart, server)
    await until(lambda: _whole(cluster), "the cluster is whole again", PATIENCE_S)


def _whole(cluster: Cluster) -> bool:
    lines = cluster.cluster.view()
    replicas = sum("slave" in words[2] and "fail" not in words[2] for words in lines)
    return replicas == 3 and cluster.cluster.in_step()


class Talk:
    """Ann writes to Bob and to a group with him; Bob's tablet is connected to another process, his phone is not. Their keys, and
    the channel of Bob's process, are where the test wants them."""

    def __init__(self, world: World, cluster: Cluster) -> None:
        self.world, self.cluster = world, cluster
        self.sent: dict[str, list[int]] = {}
        self.stop = asyncio.Event()
        self.tasks: list[asyncio.Task[None]] = []

    async def open(self) -> Talk:
        self.there = await self.world.process()
        self.server = self.cluster.server_of(self.there.node.bus.process)
        (self.ann, phone), (self.bob, tablet) = await self.world.person(), await self.person_on(self.server)
        self.phone = new_id()
        await self.world.store.link_device(self.bob, self.phone, 1)
        self.worker = await self.world.lane_worker()
        self.worker.start(self.worker.lanes.look_for_orphans())
        self.process = await self.world.process(submit_lane=self.worker.submit)
        self.conversation = await self.world.direct(self.ann, self.bob)
        self.group = await self.world.group((self.ann, 1, 0), (self.bob, 1, 0))
        self.author = await self.process.seat(self.ann, phone)
        self.tablet = await self.there.seat(self.bob, tablet)
        for conversation in (self.conversation, self.group):
            self.sent[conversation] = []
            self.tasks.append(asyncio.ensure_future(self._write(conversation)))
        await self.said(5)
        return self

    async def person_on(self, server: Any) -> tuple[str, str]:
        while True:
            user, device = new_id(), new_id()
            if self.cluster.server_of(user) is server:
                await self.world.store.link_device(user, device, 1)
                return user, device

    async def _write(self, conversation: str) -> None:
        while not self.stop.is_set():
            self.sent[conversation].append(await self._say(conversation))
            await asyncio.sleep(0.01)

    async def _say(self, conversation: str) -> int:
        """The seq. With copies of documents on the hot node, those that are lost with it may have it sent again."""
        message_id = new_id()
        for attempt in itertools.count(1):
            self.author.send(conversation, message_id=message_id)
            answer = await self.author.answer(message_id, attempt)
            if isinstance(answer, frames.StatusUpdate) and answer.seq:
                return answer.seq
            assert on_cassandra() and copies_are_on() and answer.code == "unavailable", answer  # noqa: PT018
            await asyncio.sleep(0.1)
        raise AssertionError

    async def said(self, more: int) -> None:
        """So many more of each conversation."""
        wanted = {conversation: len(seqs) + more for conversation, seqs in self.sent.items()}
        await until(
            lambda: all(len(self.sent[c]) >= number for c, number in wanted.items()),
            "people write",
            PATIENCE_S,
        )

    async def end(self) -> None:
        self.stop.set()
        await asyncio.gather(*self.tasks)

    async def all_is_there(self, seat: Seat, timeout: float = PATIENCE_S) -> None:
        for conversation, seqs in self.sent.items():
            # The numbers that a lost copy of a document might have given out are never given out again (R24).
            dense = seqs if on_cassandra() and copies_are_on() else range(1, len(seqs) + 1)
            assert seqs == sorted(set(dense)), "its author's order"
            await seat.has(conversation, seqs, timeout)

    async def close(self) -> None:
        with contextlib.suppress(Exception):
            await self.end()


@contextlib.asynccontextmanager
async def talking(world: World, cluster: Cluster) -> AsyncIterator[Talk]:
    talk = Talk(world, cluster)
    try:
        yield await talk.open()
    finally:
        await talk.close()


async def dies(talk: Talk) -> None:
    await asyncio.to_thread(talk.cluster.kill, talk.server)
    await taken_over(talk)


async def yields(talk: Talk) -> None:
    await asyncio.to_thread(talk.cluster.fail_over, talk.server)
    await taken_over(talk)


async def taken_over(talk: Talk) -> None:
    await until(
        lambda: talk.cluster.server_of(talk.bob) is not talk.server and talk.there.hot.available,
        "a replica has taken over",
        PATIENCE_S,
    )


async def dies_twice(talk: Talk) -> None:
    """The old master is back as a replica, and the new one dies in its turn."""
    await dies(talk)
    await asyncio.to_thread(talk.cluster.restart, talk.server)
    await until(lambda: _whole(talk.cluster), "it follows", PATIENCE_S)
    await asyncio.to_thread(talk.cluster.kill, talk.cluster.server_of(talk.bob))
    await until(
        lambda: talk.cluster.server_of(talk.bob) is talk.server and talk.there.hot.available,
        "back",
        PATIENCE_S,
    )


async def moves(talk: Talk) -> None:
    """Every slot that matters goes to another master key by key, and back all at once."""
    cluster = talk.cluster.cluster
    tags = [talk.bob, talk.ann, talk.conversation, talk.group, f"lane:{lane_of(talk.group)}"]
    tags += [talk.there.node.bus.process, talk.process.node.bus.process, talk.worker.bus.process]
    slots = {slot_of_key(f"{{{tag}}}") for tag in tags}
    owners = {slot: cluster.owner(slot) for slot in slots}
    for slot, owner in owners.items():
        await asyncio.to_thread(cluster.move, slot, _other(talk.cluster, owner))
        await talk.said(1)
    for slot, owner in owners.items():
        await asyncio.to_thread(cluster.move_range, slot, slot, owner)
        await talk.said(1)
    await until(lambda: talk.there.hot.available, "all nodes are there", PATIENCE_S)


def _other(cluster: Cluster, owner: Any) -> Any:
    ports = [
        int(words[1].split("@")[0].rpartition(":")[2])
        for words in cluster.cluster.view()
        if "master" in words[2] and len(words) > 8
    ]
    return next(s for s in cluster.cluster.members if s.port in ports and s is not owner)


async def flushed(talk: Talk) -> None:
    talk.cluster.flush(talk.bob)


Fault = Callable[[Talk], Awaitable[None]]


@pytest.mark.slow
@pytest.mark.parametrize("fault", [dies, yields, dies_twice, moves, flushed])
async def test_c6_loses_and_reorders_nothing(
    here: World, cluster: Cluster, fault: Fault, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(session_check, "LIMITS", replace(LIMITS, session_check_ms=5_000))
    async with talking(here, cluster) as talk:
        await fault(talk)
        await talk.said(5)
        await talk.end()
        await talk.all_is_there(talk.tablet)
        assert not talk.author.screen.closed
        assert not talk.tablet.screen.closed, "sockets stay"
        phone = await talk.there.seat(talk.bob, talk.phone)
        await talk.all_is_there(phone)
        await until(lambda: saved(here, talk.process), "every row is done on every node", PATIENCE_S)
        await talk.there.saved()
        # A replay that comes behind the last ack leaves a mark to the check of the sessions; after a move that rebuilds first.
        await until(lambda: _cleaned(talk), "no mark stays", CHECKED_S)


async def _cleaned(talk: Talk) -> bool:
    await talk.there.saved()
    return not await talk.there.dirty(talk.bob, talk.phone)


async def lost_with_its_master(world: World, cluster: Cluster, off: Off, *more: str) -> tuple[Talk, str]:
    """A mark was answered by a master that dies before its replica has it, and the publish is lost: V4, on one node of three.
    (Opening again and the check, which would find it too, are off.)"""
    off("reopen", "check", "publish", *more)
    talk = Talk(world, cluster)
    talk.there = await world.process()
    (ann, phone), (bob, tablet) = await world.person(), await talk.person_on(cluster.cluster.owner(0))
    talk.bob, talk.server = bob, cluster.server_of(bob)
    conversation = await world.direct(ann, bob)
    seat = await talk.there.seat(bob, tablet)
    seat.leave()
    talk.process, talk.tablet = await world.process(), seat
    author = await talk.process.seat(ann, phone)
    assert await author.say(conversation) == 1
    with cluster.talk(bob) as server:
        await until(lambda: server("ZSCORE", dirty_key(bob, tablet), conversation), "it is marked")
        await until(lambda: saved(world, talk.process), "and its row is done")
        await until(lambda: _in_step(cluster, talk.server), "its replica follows")
        server("ZREM", dirty_key(bob, tablet), conversation)  # as if it had not come so far
        server("WAIT", 1, 1000)
    await asyncio.to_thread(cluster.kill, talk.server)
    await until(
        lambda: cluster.server_of(bob) is not talk.server and talk.there.hot.available,
        "taken over",
        PATIENCE_S,
    )
    return talk, conversation


def _in_step(cluster: Cluster, server: Any) -> bool:
    with cluster.cluster.talk(server) as talk:
        return "state=online" in talk("INFO", "replication").decode()


async def test_r4_a_lost_mark_of_one_node_is_made_again(here: World, cluster: Cluster, off: Off) -> None:
    talk, conversation = await lost_with_its_master(here, cluster, off)

    await until(lambda: _mark_of(talk, conversation), "it is marked again", PATIENCE_S)


async def test_r4_twin_progress_that_counts_under_every_epoch(
    here: World, cluster: Cluster, off: Off
) -> None:
    talk, conversation = await lost_with_its_master(here, cluster, off, "epoch_progress")
    await stays(lambda: not _mark_of(talk, conversation), "nobody marks it", 3)


def _mark_of(talk: Talk, conversation: str) -> Any:
    with talk.cluster.talk(talk.bob) as server:
        return server("ZSCORE", dirty_key(talk.bob, talk.tablet.session.device), conversation)


async def came_back_with_a_hole(world: World, cluster: Cluster, off: Off, *more: str) -> tuple[Seat, str]:
    """R5: a slot leaves, loses what it is told there, comes back, and nobody was connected. Its first owner has a new epoch
    by then, so the marker does not fit."""
    off("check")
    process = await world.process()
    (ann, phone), (bob, tablet) = await world.person(), await world.person()
    conversation = await world.direct(ann, bob)
    (await process.seat(bob, tablet)).leave()
    author = await process.seat(ann, phone)
    slot, source = slot_of_key(f"{{{bob}}}"), cluster.server_of(bob)
    target = _other(cluster, source)
    await until(lambda: _marker(cluster, bob, tablet) == process.hot.under(bob)[1], "its marker is there")
    first = process.hot.under(bob)[1]
    await asyncio.to_thread(cluster.cluster.move, slot, target)
    await author.say(conversation)
    with cluster.cluster.talk(target) as server:
        await until(lambda: _score(server, dirty_key(bob, tablet), conversation), "it is marked")
        server("ZREM", dirty_key(bob, tablet), conversation)
    await asyncio.to_thread(cluster.cluster.move, slot, source)
    await until(lambda: process.hot.table.owners[slot] == ("127.0.0.1", source.port), "it is known", 10)
    # Its epoch is new, and the replay that follows from it is over: a later one would mark again what is taken away here.
    await until(lambda: process.hot.under(bob)[1] not in ("", first), "its epoch is new", 10)
    progress = process.node.fanout.progress
    await until(lambda: progress._epoch == process.hot.epoch and not progress._broken, "it is replayed", 10)
    await until(lambda: saved(world, process), "its rows are done")
    with cluster.talk(bob) as server:  # what the new epoch's replay has marked is not what is tried here
        server("ZREM", dirty_key(bob, tablet), conversation)
    await until(lambda: process.hot.under(bob)[0], "its node is there")
    off("check", *more)
    return await process.seat(bob, tablet), conversation


def _marker(cluster: Cluster, user: str, device: str) -> str:
    with cluster.talk(user) as server:
        return (server("GET", marker_key(user, device)) or b"").decode()


def _score(server: Any, key: str, conversation: str) -> Any:
    try:
        return server("ZSCORE", key, conversation)
    except Exception:
        return None


async def test_r5_a_marker_from_before_a_slot_left_does_not_count(
    here: World, cluster: Cluster, off: Off, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hot_cluster, "UNSETTLED_S", -1.0)
    seat, conversation = await came_back_with_a_hole(here, cluster, off)
    await seat.has(conversation, [1])


async def test_r5_twin_any_marker_counts(
    here: World, cluster: Cluster, off: Off, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hot_cluster, "UNSETTLED_S", -1.0)
    seat, conversation = await came_back_with_a_hole(here, cluster, off, "marker")
    await stays(lambda: seat.seqs(conversation) == [], "it is lost", 1)


async def test_a_subscription_at_a_master_that_yields_is_made_anew(here: World, cluster: Cluster) -> None:
    """Nobody on the other nodes is opened again for nothing; who listens there hears what comes."""
    process = await here.process()
    term = process.hot.term
    await asyncio.to_thread(cluster.fail_over, cluster.server_of(process.node.bus.process))
    await until(lambda: process.hot.term not in (0, term), "terms began anew", PATIENCE_S)
    got: list[Any] = []
    process.node.bus.subscribe("t", got.append)
    other = await here.process()
    other.node.bus.send(process.node.bus.process, "t", 1)
    await until(lambda: got == [1], f"it hears on {channel(process.node.bus.process)}", PATIENCE_S)
