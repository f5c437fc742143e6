"""What groups are owed goes by lanes (R13 to R17): order, lost streams and reports, workers that die, lanes nobody holds."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from delivery import outbox as outbox_module
from delivery.lanes import LANES, lane_of, lease_key, queue_key
from delivery.store.values import Change
from tests.faults.engine import Process, Seat, Worker, World, saved
from tests.faults.rig import stays
from tests.gateway.phone import new_id
from tests.support.patience import until
from whatsapp.infra import clock, hot_cluster
from whatsapp.infra.limits import LIMITS
from whatsapp.wire import frames

Off = Callable[..., None]


@pytest.fixture(autouse=True)
def settled(monkeypatch: pytest.MonkeyPatch) -> None:
    """In its first half minute on a cluster who is opened again compares with the log, and is told what no lane told."""
    monkeypatch.setattr(hot_cluster, "UNSETTLED_S", 0.0)


class Room:
    """Ann and Ben write over one gateway, Cat reads over another; one worker has the lanes."""

    def __init__(self, world: World) -> None:
        self.world = world

    async def open(self, submit: Callable[[int, str], None] | None = None) -> Room:
        world = self.world
        self.worker: Worker = await world.lane_worker()
        submit = submit or self.worker.submit
        self.here: Process = await world.process(submit_lane=submit)
        self.there: Process = await world.process(submit_lane=submit)
        self.people = [await world.person() for _ in range(3)]
        self.conversation = new_id()
        self.lane = lane_of(self.conversation)
        await world.store.create_group(self.conversation, clock.now_ms())
        await self.change("member_added", joins=tuple(user for user, _ in self.people))
        self.ann: Seat = await self.here.seat(*self.people[0])
        self.ben: Seat = await self.here.seat(*self.people[1])
        self.cat: Seat = await self.there.seat(*self.people[2])
        for seat in (self.ann, self.ben, self.cat):
            await seat.has(self.conversation, [1])  # that they were added
        return self

    async def change(self, kind: str, **fields: Any) -> int:
        """By another process, that tells nobody; the seq."""
        one = Change(new_id(), kind, b"\x80", **fields)
        done = await self.world.store.change(
            new_id(), self.conversation, self.people[0][0], [one], clock.now_ms()
        )
        return done.seqs[0]

    def queued(self) -> int:
        return int(self.world.redis.xlen(queue_key(self.lane)))

    def holder(self) -> bytes | None:
        found = self.world.redis.get(lease_key(self.lane))
        assert found is None or isinstance(found, bytes)
        return found

    def mark(self, person: int) -> float | None:
        user, device = self.people[person]
        score = self.world.redis.zscore(f"{{{user}}}:dirty:{device}", self.conversation)
        assert score is None or isinstance(score, float)
        return score


def nobody(lane: int, token: str) -> None:
    """The task of a lane is lost on its way."""


async def test_everybody_gets_everything_in_order_over_the_lane(world: World) -> None:
    room = await Room(world).open()
    for number in range(20):
        (room.ann if number % 2 else room.ben).send(room.conversation, str(number))
    await room.cat.has(room.conversation, list(range(1, 22)))
    await until(lambda: saved(world, room.here), "the rows are done when the worker has reported them")
    assert len(room.worker.submitted) == 1, "one task serves while there is something to do"
    assert room.queued() == 0
    # What one writes oneself comes by its ✓; what the other wrote came by the lane.
    assert sorted(room.ann.seqs(room.conversation) + room.ben.seqs(room.conversation)) == [1, *range(1, 22)]


async def test_an_absent_device_is_marked_and_reads_it_later(world: World) -> None:
    room = await Room(world).open()
    await room.there.saved()
    room.cat.leave()
    await room.ann.say(room.conversation)
    await until(lambda: room.mark(2) == 2, "Cat's device is marked")
    assert room.mark(0) in (None, 1), "the sending device is not"
    await (await room.there.seat(*room.people[2])).has(room.conversation, [2])


async def test_the_lane_is_given_back_when_it_is_empty(world: World) -> None:
    room = await Room(world).open()
    await room.ann.say(room.conversation)
    await room.cat.has(room.conversation, [1, 2])
    await until(lambda: room.holder() is None, "the lease is gone")
    await room.ann.say(room.conversation)
    await room.cat.has(room.conversation, [1, 2, 3])
    assert len(room.worker.submitted) == 2


async def lost_stream(world: World) -> Room:
    """R13: the entry was added and nobody took it; then the stream is gone."""
    room = await Room(world).open(nobody)
    await room.ann.say(room.conversation)
    await room.here.node.fanout.drained()
    assert room.queued() == 1
    world.redis.delete(queue_key(room.lane))
    return room


async def test_r13_a_row_whose_stream_is_lost_is_marked_again(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outbox_module, "OVERDUE_S", 0.1)
    room = await lost_stream(world)
    await room.cat.has(room.conversation, [1, 2])
    await until(lambda: saved(world, room.here), "the row is done")


async def test_r13_twin_done_when_it_is_added(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """V10: a watermark at XADD passes a row that no worker saw."""
    monkeypatch.setattr(outbox_module, "OVERDUE_S", 0.1)
    monkeypatch.setattr(outbox_module.Progress, "opened", lambda *_: None)
    room = await lost_stream(world)
    await until(lambda: saved(world, room.here), "the row counts as done")
    await stays(lambda: room.cat.seqs(room.conversation) == [1], "somebody told Cat", 1.5)


async def test_r13_what_waits_in_its_lane_is_not_marked_again(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outbox_module, "OVERDUE_S", 0.1)
    room = await Room(world).open(nobody)
    await room.ann.say(room.conversation)
    await stays(lambda: room.mark(2) in (None, 1), "the gateway marked what the lane has", 2.0)
    world.redis.delete(lease_key(room.lane))
    room.worker.start(room.worker.lanes.run(room.lane, "mine"))
    await room.cat.has(room.conversation, [1, 2])
    await until(lambda: saved(world, room.here), "the row is done")


async def test_r14_the_next_holder_begins_at_the_head(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker dies after it has published, and before it has trimmed and reported."""
    room = await Room(world).open()
    second = await world.lane_worker()
    reached = asyncio.Event()

    async def dies(*_: Any) -> None:
        reached.set()
        await asyncio.Event().wait()

    monkeypatch.setattr(room.worker.lanes, "_fan_out", dies)
    await room.ann.say(room.conversation)
    await asyncio.wait_for(reached.wait(), 10)
    room.worker.die()
    second.start(second.lanes.look_for_orphans())
    await room.cat.has(room.conversation, [1, 2])
    await until(lambda: saved(world, room.here), "the row is done")
    assert room.queued() == 0


async def published_twice(world: World, monkeypatch: pytest.MonkeyPatch, *, forgets: bool = False) -> Room:
    """A worker dies when its publishes have arrived, and before it has trimmed; the next one publishes them again."""
    room = await Room(world).open()
    second = await world.lane_worker()
    reached = asyncio.Event()

    async def dies(*_: Any) -> None:
        reached.set()
        await asyncio.Event().wait()

    monkeypatch.setattr(room.worker.lanes, "_trim_to", dies)
    await room.ann.say(room.conversation)
    await asyncio.wait_for(reached.wait(), 10)
    await until(lambda: room.cat.seqs(room.conversation) == [1, 2], "it was published")
    if forgets:
        room.cat.session.sent[room.conversation] = 1
    room.worker.die()
    second.start(second.lanes.look_for_orphans())
    await until(lambda: room.queued() == 0, "the next one has passed it")
    return room


async def test_r14_r9_what_is_published_again_is_dropped(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    room = await published_twice(world, monkeypatch)
    await room.ann.say(room.conversation)
    await room.cat.has(room.conversation, [1, 2, 3])


async def test_r9_twin_what_is_published_again_comes_again(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By a gateway that does not know what it has sent."""
    room = await published_twice(world, monkeypatch, forgets=True)
    await until(lambda: room.cat.seqs(room.conversation) == [1, 2, 2], "she gets it again")


async def test_r14_who_lost_the_lease_trims_nothing(world: World) -> None:
    room = await Room(world).open(nobody)
    await room.ann.say(room.conversation)
    await room.here.node.fanout.drained()
    lanes = room.worker.lanes
    fan_out = lanes._fan_out

    async def and_lose(events: Any, *more: Any) -> int:
        world.redis.set(lease_key(room.lane), "another")
        return await fan_out(events, *more)

    lanes._fan_out = and_lose  # type: ignore[method-assign]
    token = (room.holder() or b"").decode()
    assert await lanes.run(room.lane, token) == 1
    assert room.queued() == 1
    assert room.holder() == b"another"


async def orphaned(world: World) -> Room:
    """R15: the task that was to take the lane was lost with the broker."""
    room = await Room(world).open(nobody)
    room.worker.start(room.worker.lanes.look_for_orphans())
    await room.ann.say(room.conversation)
    return room


async def test_r15_a_lane_that_nobody_holds_is_found(world: World) -> None:
    room = await orphaned(world)
    await room.cat.has(room.conversation, [1, 2])


async def test_r15_twin_nobody_looks(world: World, off: Off) -> None:
    off("orphans")
    room = await orphaned(world)
    await until(lambda: room.holder() is None, "the lease has run out")
    await stays(lambda: room.cat.seqs(room.conversation) == [1], "somebody took the lane", 1.5)


async def test_r15_a_lane_with_something_in_it_does_not_end(world: World) -> None:
    room = await Room(world).open(nobody)
    lanes = room.worker.lanes
    keys = [queue_key(room.lane), lease_key(room.lane)]
    world.redis.set(keys[1], "mine")
    world.redis.xadd(keys[0], {"b": b""})
    assert await room.worker.bus.hot.run([lanes._end.call(keys, ["mine"])]) == [0]
    assert room.holder() == b"mine"
    world.redis.delete(keys[0])
    assert await room.worker.bus.hot.run([lanes._end.call(keys, ["mine"])]) == [1]
    assert room.holder() is None


async def added_at_the_end(world: World, monkeypatch: pytest.MonkeyPatch) -> Room:
    """R15: the worker has seen that the lane is empty; before it gives it back, a gateway adds an entry and its wake is lost."""
    monkeypatch.setattr("delivery.lane_worker.LINGER_S", 0.0)
    room = await Room(world).open()
    hot, lanes = room.worker.bus.hot, room.worker.lanes
    ends = {command[1] for command in (lanes._end.call([], []), lanes._give_back.call([], []))}
    monkeypatch.setattr(lanes, "_woken", lambda _: None)
    run, said = hot.run, asyncio.Event()

    async def meanwhile(commands: Any) -> Any:
        if commands[0][1] in ends and not said.is_set():
            said.set()
            await room.ann.say(room.conversation, "at the last moment")
            await room.here.node.fanout.drained()
            assert room.queued() == 1
        return await run(commands)

    monkeypatch.setattr(hot, "run", meanwhile)
    await room.ann.say(room.conversation)
    await room.cat.has(room.conversation, [1, 2])
    await asyncio.wait_for(said.wait(), 10)
    return room


async def test_r15_what_comes_at_the_end_is_seen(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    room = await added_at_the_end(world, monkeypatch)
    await room.cat.has(room.conversation, [1, 2, 3])
    assert len(room.worker.submitted) == 1, "by the same task"


async def test_r15_twin_given_back_without_a_look(
    world: World, monkeypatch: pytest.MonkeyPatch, off: Off
) -> None:
    off("lane_end")
    room = await added_at_the_end(world, monkeypatch)
    await until(lambda: room.holder() is None, "the lane is given back")
    await stays(lambda: room.cat.seqs(room.conversation) == [1, 2], "somebody took it", 1.0)
    assert room.queued() == 1


async def test_a_dead_holder_is_replaced_at_the_next_message(world: World) -> None:
    """Nobody listens where the lease says: the gateway starts another task at once, before the lease runs out."""
    room = await Room(world).open()
    world.redis.set(lease_key(room.lane), f"{new_id()}:gone", px=3_600_000)
    await room.ann.say(room.conversation)
    await room.cat.has(room.conversation, [1, 2])


async def test_r16_intervals_count_within_one_pass(world: World) -> None:
    """Cat leaves and comes back between messages that one pass takes."""
    room = await Room(world).open(nobody)
    cat = room.people[2][0]
    await room.ann.say(room.conversation)  # 2
    left = await room.change("member_removed", leaves=(cat,))  # 3
    await room.ann.say(room.conversation)  # 4: not hers
    joined = await room.change("member_added", joins=(cat,))  # 5
    await room.ann.say(room.conversation)  # 6
    assert (left, joined) == (3, 5)
    room.worker.submit(room.lane, (room.holder() or b"").decode())
    await room.cat.has(room.conversation, [1, 2, 3, 5, 6])
    await stays(lambda: 4 not in room.cat.seqs(room.conversation), "Cat got what was said without her", 0.3)


async def test_r17_a_list_read_before_the_last_change_does_not_serve(world: World) -> None:
    room = await Room(world).open()
    cat = room.people[2][0]
    await room.ann.say(room.conversation)
    await room.cat.has(room.conversation, [1, 2])  # the worker has read the members
    await room.change("member_removed", leaves=(cat,))
    await room.ann.say(room.conversation)
    await until(lambda: 4 in room.ben.seqs(room.conversation), "Ben, who is a member, has it")
    assert 4 not in room.cat.seqs(room.conversation)


async def test_r17_twin_any_list_serves(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("delivery.roster.serves", lambda known, seq: True)
    room = await Room(world).open()
    await room.ann.say(room.conversation)
    await room.cat.has(room.conversation, [1, 2])
    await room.change("member_removed", leaves=(room.people[2][0],))
    await room.ann.say(room.conversation)
    await room.cat.has(room.conversation, [1, 2, 3, 4])
    assert room.mark(2) == 4, "told, and marked, for what she is not owed"


async def test_c7_a_full_lane_is_passed_by(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody works on the lane and it is full: the gateway marks by itself what does not go in."""
    monkeypatch.setattr(LIMITS, "lane_entries", 2)
    room = await Room(world).open(nobody)
    for number in range(4):
        await room.ann.say(room.conversation, str(number))
        await room.here.node.fanout.drained()
    assert room.queued() == 2
    await room.cat.has(room.conversation, [1, 2, 3, 4, 5])


async def test_c7_a_lane_is_bounded_by_what_it_holds(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """A long message goes in when the lane is empty; the next does not, and the gateway marks it by itself."""
    monkeypatch.setattr(LIMITS, "lane_bytes", 1_000)
    room = await Room(world).open(nobody)
    for _ in range(2):
        await room.ann.say(room.conversation, "x" * 900)
        await room.here.node.fanout.drained()
    assert room.queued() == 1
    await room.cat.has(room.conversation, [1, 2, 3])
    room.worker.submit(room.lane, (room.holder() or b"").decode())
    await until(lambda: room.queued() == 0, "the lane is worked off")
    await room.ann.say(room.conversation, "x" * 900)
    await room.cat.has(room.conversation, [1, 2, 3, 4])
    await until(lambda: int(world.redis.get(f"{{lane:{room.lane}}}:bytes") or 0) == 0, "nothing is counted")


async def statuses(room: Room, count: int) -> list[str]:
    """What senders are told, one message after the other."""
    found = []
    for number in range(count):
        answer = await room.ann.answer(room.ann.send(room.conversation, str(number)))
        assert isinstance(answer, frames.StatusUpdate)
        found.append(answer.status)
        await room.here.node.fanout.drained()
    return found


@pytest.mark.parametrize(("age_ms", "then"), [(1_000, "sent"), (2_001, "queued")])
async def test_senders_are_told_queued_while_the_lane_lags(world: World, age_ms: int, then: str) -> None:
    """The gateway hears of the age of the lane's oldest entry when it adds one: the sender after that is told."""
    assert LIMITS.lane_lag_ms == 2_000
    room = await Room(world).open(nobody)
    (seconds, micros) = world.redis.time()
    born = seconds * 1000 + micros // 1000 - age_ms
    world.redis.xadd(queue_key(room.lane), {"b": b"waits"}, id=f"{born}-0")
    assert await statuses(room, 2) == ["sent", then]
    room.worker.submit(room.lane, (room.holder() or b"").decode())
    await room.cat.has(room.conversation, [1, 2, 3])
    assert (await statuses(room, 2))[-1] == "sent", "the lane has caught up"


async def test_senders_are_told_queued_while_the_lane_is_full(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(LIMITS, "lane_entries", 1)
    room = await Room(world).open(nobody)
    assert await statuses(room, 4) == ["sent", "sent", "queued", "queued"]
    await room.cat.has(room.conversation, [1, 2, 3, 4, 5])


async def test_c6_a_flush_loses_nothing_of_a_group(world: World) -> None:
    room = await Room(world).open(nobody)
    await room.ann.say(room.conversation)
    await room.here.node.fanout.drained()
    world.redis.flushall()
    await room.cat.has(room.conversation, [1, 2])
    await until(lambda: saved(world, room.here), "the row is done under the new epoch")


def test_lanes_are_even() -> None:
    counts = [0] * LANES
    for _ in range(LANES * 200):
        counts[lane_of(new_id())] += 1
    assert min(counts) > 100
    assert max(counts) < 320
