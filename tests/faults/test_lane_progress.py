"""How far a writer is when its rows wait in lanes (R13), and lanes whose passes are long or cannot be read (R14, C7)."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest

from delivery import fanout as fanout_module
from delivery import lane_worker
from delivery import outbox as outbox_module
from delivery.lanes import lane_of, lease_key, queue_key
from delivery.outbox import Progress
from delivery.store.values import Change
from tests.faults.engine import World, saved
from tests.faults.test_lanes import Room, nobody
from tests.gateway.phone import new_id
from tests.support.patience import until
from whatsapp.infra import clock


async def test_r13_the_watermark_stays_below_all_rows_of_an_append(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A message that is there twice in one batch makes two statements of it, and two rows; one entry stands for both."""
    monkeypatch.setattr(outbox_module, "OVERDUE_S", 0.1)
    room = await Room(world).open(nobody)
    other = new_id()
    await world.store.create_group(other, clock.now_ms())
    added = Change(new_id(), "member_added", b"\x80", joins=tuple(user for user, _ in room.people))
    await world.store.change(new_id(), other, room.people[0][0], [added], clock.now_ms())
    twice = room.ann.send(room.conversation, "first statement")
    room.ann.send(room.conversation, "first statement", message_id=twice)
    last = room.ann.send(other, "second statement")
    await room.ann.answer(twice, 2)
    await room.ann.answer(last)
    await room.here.node.fanout.drained()
    await asyncio.sleep(1.5)  # a watermark that is written behind is written by now
    writer = room.here.node.fanout.progress.writer
    assert len(await world.store.outbox(writer, "another epoch", clock.now_ms())) == 2
    for conversation in (room.conversation, other):
        world.redis.delete(queue_key(lane_of(conversation)))
    await room.cat.has(other, [1, 2])
    await room.cat.has(room.conversation, [1, 2])
    await until(lambda: saved(world, room.here), "both rows are done")


async def test_r13_a_row_that_a_replay_has_marked_waits_for_no_report(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The replay reads the row while its entry is on its way to the lane; then stream and report are lost."""
    monkeypatch.setattr(outbox_module, "OVERDUE_S", 0.1)
    room = await Room(world).open(nobody)
    fanout = room.here.node.fanout
    progress, mark, store = fanout.progress, fanout._mark, room.here.store
    reached, go_on = asyncio.Event(), asyncio.Event()

    async def held(marks: Any, users: Any, by_lane: Any = (), *rest: Any, **more: Any) -> Any:
        if by_lane:
            reached.set()
            await go_on.wait()
        return await mark(marks, users, by_lane, *rest, **more)

    monkeypatch.setattr(fanout, "_mark", held)
    await room.ann.say(room.conversation)
    await asyncio.wait_for(reached.wait(), 10)
    progress.failed()
    await until(lambda: not progress._broken, "the row is marked by the replay")
    go_on.set()
    await fanout.drained()
    world.redis.delete(queue_key(room.lane))
    asked = 0
    outbox = store.outbox

    async def counted(*args: Any) -> Any:
        nonlocal asked
        asked += 1
        return await outbox(*args)

    monkeypatch.setattr(store, "outbox", counted)
    await asyncio.sleep(2.0)
    assert asked <= 3, "the writer asks for its rows again and again"
    assert not progress._open
    await room.ann.say(room.conversation)
    await room.cat.has(room.conversation, [1, 2])


async def test_r14_a_pass_that_takes_longer_than_the_lease_keeps_its_lane(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lane_worker, "LEASE_MS", 300)
    monkeypatch.setattr(lane_worker, "ORPHANS_EVERY_S", 0.1)
    room = await Room(world).open()
    lanes = room.worker.lanes
    fan_out, passes = lanes._fan_out, 0

    async def slow(events: Any, *more: Any) -> None:
        nonlocal passes
        passes += 1
        await asyncio.sleep(1.0)
        await fan_out(events, *more)

    monkeypatch.setattr(lanes, "_fan_out", slow)
    room.worker.start(lanes.look_for_orphans())
    await room.ann.say(room.conversation)
    await room.cat.has(room.conversation, [1, 2])
    await until(lambda: room.queued() == 0, "the entry is trimmed", 3)
    assert passes == 1


async def test_an_entry_that_cannot_be_read_does_not_stop_its_lane(world: World) -> None:
    room = await Room(world).open(nobody)
    world.redis.xadd(queue_key(room.lane), {"b": b"\xc1 of another version"})
    await room.ann.say(room.conversation)
    await room.here.node.fanout.drained()
    room.worker.submit(room.lane, (room.holder() or b"").decode())
    await room.cat.has(room.conversation, [1, 2])
    assert room.queued() == 0


async def test_c7_a_long_backlog_of_reports_costs_its_length(world: World) -> None:
    progress: Progress = (await world.process()).node.fanout.progress
    rows = 150_000
    for row in range(1, rows + 1):
        progress.opened(progress.writer, row, {0: (row, 0)})
    progress.done(progress.writer, progress._epoch, rows)
    began = time.process_time()
    for row in range(1, rows + 1):
        progress.lane_done(progress.writer, row, progress._epoch, 0)
    assert time.process_time() - began < 1.0
    assert progress._row == rows


async def test_c7_a_pass_takes_no_more_bytes_than_it_can_carry(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What takes longer to read than a connection waits would be asked for again and again."""
    monkeypatch.setattr(lane_worker, "PASS_BYTES", 10_000, raising=False)
    room = await Room(world).open(nobody)
    for _ in range(40):
        await room.ann.say(room.conversation, "x" * 3_000)
        await room.here.node.fanout.drained()
    lanes, sizes = room.worker.lanes, []
    one_pass = lanes._pass

    async def seen(lane: int, token: str, found: Any, *more: Any) -> int:
        sizes.append(len(found))
        return await one_pass(lane, token, found, *more)

    monkeypatch.setattr(lanes, "_pass", seen)
    world.redis.delete(lease_key(room.lane))
    room.worker.start(lanes.run(room.lane, "mine"))
    await room.cat.has(room.conversation, list(range(1, 42)))
    assert max(sizes) <= 16, "the first pass does not know how long entries are"
    assert max(sizes[1:]) <= 3


async def large_groups(world: World, number: int, size: int) -> tuple[str, str, list[str]]:
    """Groups of people with a device each; one of them, with the device, and the groups."""
    ann, phone = await world.person()
    groups = []
    for _ in range(number):
        others = [(await world.person())[0] for _ in range(size - 1)]
        groups.append(await world.group((ann, 1, 0), *[(user, 1, 0) for user in others]))
    return ann, phone, groups


def longest_look_up(bus: Any, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many sessions each pipeline asks for."""
    sizes: list[int] = [0]
    run = bus.hot.run

    async def seen(commands: Any) -> Any:
        sizes.append(sum(len(command) - 1 for command in commands if command[0] == "MGET"))
        return await run(commands)

    monkeypatch.setattr(bus.hot, "run", seen)
    return sizes


async def test_c7_large_groups_are_marked_again_in_parts(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What takes longer than a connection waits would be tried again and again."""
    monkeypatch.setattr(fanout_module, "REPLAY_USERS", 20, raising=False)
    ann, phone, groups = await large_groups(world, 6, 12)
    for group in groups:
        await world.append(group, ann, phone, new_id())
    sweep = await world.sweep()
    sizes = longest_look_up(sweep.bus, monkeypatch)
    now = clock.now_ms()
    rows = [
        row for w in await world.store.outbox_writers(now) for row in await world.store.outbox(w, "e", now)
    ]
    assert len(rows) == len(groups)
    await sweep._fanout.replay(rows)
    assert max(sizes) <= 20 + 12
    marks = world.redis.zrange(f"{{{ann}}}:dirty:{phone}", 0, -1)
    assert {mark.decode() for mark in marks} == set(groups)


async def test_c7_large_groups_pass_a_lane_in_parts(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lane_worker, "PASS_USERS", 20, raising=False)
    ann, phone, groups = await large_groups(world, 6, 12)
    events = []
    for group in groups:
        await world.append(group, ann, new_id(), new_id())
        events += (await world.store.history(group, ann, 0, 0, 1)).events
    worker = await world.lane_worker()
    sizes = longest_look_up(worker.bus, monkeypatch)
    await worker.lanes._fan_out(events)
    assert max(sizes) <= 20 + 12
    marks = world.redis.zrange(f"{{{ann}}}:dirty:{phone}", 0, -1)
    assert {mark.decode() for mark in marks} == set(groups)


async def test_c7_only_so_many_waiting_rows_are_looked_at_in_a_turn(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An outage of the workers leaves many; the one whose entry is lost is found all the same, without looking at all at once."""
    monkeypatch.setattr(outbox_module, "OVERDUE_S", 0.0)
    monkeypatch.setattr(outbox_module, "REPORT_S", 0.0)
    monkeypatch.setattr(outbox_module, "LOOK_AT", 1_000)
    progress: Progress = (await world.process()).node.fanout.progress
    assert progress._task is not None
    progress._task.cancel()
    asked: list[set[int]] = []

    async def oldest(lanes: list[int]) -> dict[int, tuple[int, int] | None]:
        asked.append(set(lanes))
        return {lane: None if lane == 7 else (0, 0) for lane in lanes}

    progress._oldest = oldest
    rows, lost = 50_000, 4_500
    for row in range(1, rows + 1):
        progress.opened(progress.writer, row, {7 if row == lost else 0: (row, 0)})
    looked: list[int] = []
    get = progress._open.__class__.__getitem__

    class Seen(type(progress._open)):  # type: ignore[misc]
        def __getitem__(self, row: int) -> Any:
            looked.append(row)
            return get(self, row)

    progress._open = Seen(progress._open)
    looked.clear()
    for turn in range(1, 6):
        assert not progress._broken
        await progress._look_for_lost()
        assert len(looked) == turn * 1_000
    assert progress._broken, "the lost one was among the first five thousand"
    assert asked == [{0}] * 4 + [{0, 7}]
    for row in range(1, rows + 1):
        progress.lane_done(progress.writer, row, progress._epoch, 7 if row == lost else 0)
    await progress._look_for_lost()
    assert not progress._due, "what is done is not kept"
