"""The interleavings V2 and V3: writers that died or do not know an outcome, and the sweep."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from delivery.inbox import Registration
from delivery.outbox import Progress
from delivery.sweep import Sweep
from tests.faults.engine import Process, Seat, World, saved
from tests.faults.rig import stays
from tests.gateway.phone import new_id
from tests.support.patience import until
from whatsapp.wire import frames

Off = Callable[..., None]
#: Longer than the poll of the epoch (1 s) and what follows from it.
POLLS_S = 2.5


async def dead_writers_row(world: World) -> tuple[Seat, str, str]:
    """Bob is connected; a writer that is gone stored one message, marked it and had its watermark moved."""
    (ann, phone), (bob, tablet) = await world.person(), await world.person()
    conversation = await world.direct(ann, bob)
    process = await world.process()
    seat = await process.seat(bob, tablet)
    writer = new_id()
    await world.append(conversation, ann, phone, writer)
    row, _ = await world.log.newest(writer)
    return seat, conversation, f"{writer} {row}"


async def flushed_and_swept_anew(world: World, off: Off, *more: str) -> tuple[Seat, str]:
    """V3: the publish was lost, the node is flushed, and the sweep starts anew with it. (Opening again and the check, which
    would find it too, are off.)"""
    off("reopen", "check", *more)
    seat, conversation, done = await dead_writers_row(world)
    writer, row = done.split()
    epoch = "any" if "epoch_progress" in more else seat.node.bus.hot.epoch
    await world.store.outbox_done(writer, epoch, int(row), 1 << 41)
    before = seat.node.bus.hot.epochs()
    world.redis.flushall()
    # Bob's session is registered, as if it had just connected.
    await until(lambda: before.isdisjoint(seat.node.bus.hot.epochs()), "the flush is seen")
    await seat.node.inbox.register(
        [
            Registration(
                seat.session.user,
                seat.session.device,
                seat.node.bus.process,
                seat.session.generation,
                "online",
            )
        ]
    )
    await (await world.sweep()).once()
    return seat, conversation


async def test_v3_a_new_sweep_replays_under_a_new_epoch(world: World, off: Off) -> None:
    seat, conversation = await flushed_and_swept_anew(world, off)
    await seat.has(conversation, [1])


async def test_v3_twin_without_progress_per_epoch(world: World, off: Off) -> None:
    seat, conversation = await flushed_and_swept_anew(world, off, "epoch_progress")
    await stays(lambda: seat.seqs(conversation) == [], "somebody replayed it", POLLS_S)


class Finished(Sweep):
    """A sweep that is finished with a writer once it has swept it."""

    async def _replay(self, writer: str) -> int:
        self.finished: set[str] = getattr(self, "finished", set())
        if writer in self.finished:
            return 0
        self.finished.add(writer)
        return await super()._replay(writer)


async def late_commit(world: World, sweep: Sweep) -> list[int]:
    """V2: a gateway is killed while its statement runs; the sweep passes; the statement commits; the sweep passes again.
    Returns what Bob got."""
    (ann, phone), (bob, tablet) = await world.person(), await world.person()
    conversation = await world.direct(ann, bob)
    process = await world.process()
    seat = await process.seat(bob, tablet)
    writer = new_id()
    await world.append(conversation, ann, phone, writer)
    async with world.held(conversation):
        late = asyncio.create_task(world.append(conversation, ann, phone, writer))
        await world.waiting()
        assert await sweep.once() == 1
        await seat.has(conversation, [1])
    await late
    await sweep.once()
    if type(sweep) is Sweep:
        await seat.has(conversation, [1, 2])
    return seat.seqs(conversation)


async def test_v2_late_commit_of_a_killed_writer(world: World) -> None:
    assert await late_commit(world, await world.sweep()) == [1, 2]


async def test_v2_twin_sweep_that_is_finished_with_a_writer(world: World) -> None:
    sweep = await world.sweep()
    sweep.__class__ = Finished
    assert await late_commit(world, sweep) == [1]


async def unknown_outcome(world: World) -> tuple[Process, str, str, str]:
    """The connection of a *living* writer is cut while its append waits; the append commits afterwards, and the writer's next
    row is done. The sender sends again and gets its ✓. Bob was offline all the time, his dirty set complete."""
    (ann, phone), (bob, tablet) = await world.person(), await world.person()
    conversation, other = await world.direct(ann, bob), await world.direct(ann, (await world.person())[0])
    wire = await world.log_wire()
    process, there = await world.process(through=wire), await world.process()
    (await there.seat(bob, tablet)).leave()
    seat = await process.seat(ann, phone)
    await seat.say(other)
    async with world.held(conversation):
        message_id = seat.send(conversation, "m1")
        await world.waiting()
        wire.cut()
        assert isinstance(await seat.answer(message_id), frames.Error)
    while not isinstance(await seat.answer(seat.send(other, "next")), frames.StatusUpdate):
        pass  # the pool still had connections that were cut
    await until(lambda: saved(world, process), "the next row is done")
    seat.send(conversation, "m1", message_id=message_id)
    again = await seat.answer(message_id, 2)
    assert (again.seq, again.duplicate) == (1, world.log.WHOLE)
    for key in world.redis.scan_iter("gw:{*}:alive"):
        world.redis.delete(key)  # five seconds later
    await until(
        lambda: world.redis.exists(f"gw:{{{process.node.bus.process}}}:alive"), "the living beat again"
    )
    await (await world.sweep()).once()
    return there, conversation, bob, tablet


async def test_v2_unknown_outcome_of_a_living_writer(world: World) -> None:
    there, conversation, bob, tablet = await unknown_outcome(world)
    await (await there.seat(bob, tablet)).has(conversation, [1])


@pytest.mark.sql_only(
    "what happens late on Cassandra is a number without an outbox row: the retry writes that"
)
async def test_v2_twin_writer_that_keeps_its_name(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """The watermark passes the row that committed late."""
    monkeypatch.setattr(Progress, "rename", lambda self: None)
    there, conversation, bob, tablet = await unknown_outcome(world)
    await (await there.seat(bob, tablet)).has(conversation, [], 1)


async def test_c7_a_round_of_the_sweep_asks_only_for_what_is_open(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A change of a group has a writer of its own, and its row stays for two hours: thousands are nothing unusual."""
    (ann, phone), (bob, _) = await world.person(), await world.person()
    conversation = await world.direct(ann, bob)
    for _ in range(30):
        await world.append(conversation, ann, phone, new_id())
    sweep = await world.sweep()
    assert await sweep.once() == 30
    asked: list[str] = []
    outbox = world.store.outbox

    async def counted(writer: str, *rest: Any) -> Any:
        asked.append(writer)
        return await outbox(writer, *rest)

    monkeypatch.setattr(world.store, "outbox", counted)
    await sweep.once()
    assert asked == []
    late = new_id()
    await world.append(conversation, ann, phone, late)
    assert await sweep.once() == 1
    assert set(asked) == {late}
    world.redis.flushall()
    await until(lambda: sweep.bus.hot.available and sweep.bus.hot.epoch.endswith(".1"), "the flush is seen")
    assert await sweep.once() == 31, "nothing is finished under another epoch"
