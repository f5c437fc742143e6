"""Rules R1, R3 and the interleaving V4: what an epoch is, and what counts under it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import redis

from delivery.inbox import dirty_key
from devtools import ports
from tests.faults.engine import World, saved, valkey
from tests.support.patience import until
from whatsapp.infra.hot import Hot

Off = Callable[..., None]
#: Longer than the poll of the epoch (1 s) and what follows from it.
POLLS_S = 2.5


# -- R1: the epoch ---------------------------------------------------------------------------------------------------------


async def test_r1_epoch_sees_a_flush_and_a_failback(tmp_path: Path, one_hot_url: str) -> None:
    """FLUSHALL keeps run id and replication id; A → B → A brings A's run id back: the epoch differs each time (V1, V6)."""
    hot = Hot(one_hot_url)
    await hot.start()
    await until(lambda: hot.available, "connected")
    epochs = [hot.epoch]

    async def next_epoch(what: str) -> None:
        await until(lambda: hot.available and hot.epoch not in epochs, what)
        epochs.append(hot.epoch)

    a = redis.Redis.from_url(one_hot_url)
    a.flushall()
    await next_epoch("the flush is seen")
    with valkey(tmp_path / "other", ports.choose()) as other:
        b = redis.Redis.from_url(other)
        await follow(b, a, one_hot_url)
        b.replicaof("NO", "ONE")  # type: ignore[no-untyped-call]
        await follow(a, b, other)
        a.replicaof("NO", "ONE")  # type: ignore[no-untyped-call]
        await next_epoch("the failback is seen")
    assert {epoch.split(".")[0] for epoch in epochs} == {epochs[0].split(".")[0]}, "the run id came back"
    await hot.stop()


async def follow(replica: Any, primary: Any, url: str) -> None:
    """Make a server the replica of another and wait until it is in step."""
    password, _, address = url.removeprefix("redis://:").partition("@")
    replica.config_set("masterauth", password)
    host, _, port = address.split("/")[0].partition(":")
    replica.replicaof(host, port)
    await until(
        lambda: replica.info("replication").get("master_link_status") == "up", "the replica is in step"
    )


async def test_r1_a_flush_is_seen_within_a_second(world: World) -> None:
    process = await world.process()
    before, term = process.hot.epoch, process.hot.term
    world.redis.flushall()
    await until(lambda: process.hot.epoch != before, "the epoch is new", POLLS_S)
    assert process.hot.term > term


# -- R2 to R4: progress and replay -------------------------------------------------------------------------------------------


async def two_nodes(world: World, tmp_path: Path) -> None:
    """V4: failover with a split primary. Bob's gateway is at the new node already, Ann's still at the old one: it marks there,
    moves its watermark, then reconnects. Raises if Bob does not hear of it."""
    (ann, phone), (bob, tablet) = await world.person(), await world.person()
    conversation = await world.direct(ann, bob)
    with valkey(tmp_path / "new", ports.choose()) as new_url:
        wire = await world.wire(world.hot_url)
        old_side, new_side = await world.process(hot_url=wire.url), await world.process(hot_url=new_url)
        seat = await new_side.seat(bob, tablet)
        writing = await old_side.seat(ann, phone)
        await writing.say(conversation)
        await until(lambda: saved(world, old_side), "the watermark is durable")
        assert seat.seqs(conversation) == []
        wire.to(new_url)
        await seat.has(conversation, [1], 3)
        for process in (old_side, new_side):
            await process.hot.stop()


async def test_v4_marks_on_the_old_primary_do_not_count(world: World, tmp_path: Path) -> None:
    await two_nodes(world, tmp_path)


async def test_v4_twin_without_progress_per_epoch(world: World, tmp_path: Path, off: Off) -> None:
    off("epoch_progress")
    with pytest.raises(AssertionError, match=r"got \[\], not \[1\]"):
        await two_nodes(world, tmp_path)


async def test_r3_marks_lost_behind_their_answer(world: World) -> None:
    """The node is flushed after it answered the marks and before the row is done: it was earned under the old epoch."""
    (ann, phone), (bob, tablet) = await world.person(), await world.person()
    conversation = await world.direct(ann, bob)
    process = await world.process()
    await (await process.seat(bob, tablet)).node.receipts.flush()
    process.node.hub.by_user[bob][tablet].outlet.close(1000)
    process.node.sessions.closed(process.node.hub.by_user[bob][tablet])
    mark = process.node.fanout._mark

    async def and_flush(*args: Any, **options: Any) -> Any:
        answer = await mark(*args, **options)
        world.redis.flushall()
        process.node.fanout._mark = mark  # type: ignore[method-assign]
        return answer

    process.node.fanout._mark = and_flush  # type: ignore[method-assign]
    await (await process.seat(ann, phone)).say(conversation)
    key = dirty_key(bob, tablet)
    await until(lambda: world.redis.zscore(key, conversation) == 1, "marked again")
