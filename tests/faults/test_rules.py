"""Rules R1 to R17 of the delivery engine and the interleavings that demand them (V2, V3, V4, V11, V12), each exact."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import redis

from delivery import fanout as fanout_module
from delivery import roster as roster_module
from delivery.inbox import Inbox, Registration, dirty_key, marker_key
from delivery.log import Log, Pending
from delivery.outbox import Progress
from delivery.store.interface import Behind
from delivery.sweep import Sweep
from devtools import ports
from tests.faults.engine import Process, Seat, World, valkey
from tests.faults.rig import stays
from tests.gateway.peer import new_id, until
from whatsapp.infra import clock
from whatsapp.infra.hot import Hot
from whatsapp.wire import frames
from whatsapp.wire.errors import Code

Off = Callable[..., None]
#: Longer than the poll of the epoch (1 s) and what follows from it.
POLLS_S = 2.5


# -- R1: the epoch ---------------------------------------------------------------------------------------------------------


async def test_r1_epoch_sees_a_flush_and_a_failback(tmp_path: Path, hot_url: str) -> None:
    """FLUSHALL keeps run id and replication id; A → B → A brings A's run id back: the epoch differs each time (V1, V6)."""
    hot = Hot(hot_url)
    await hot.start()
    await until(lambda: hot.available, "connected")
    epochs = [hot.epoch]

    async def next_epoch(what: str) -> None:
        await until(lambda: hot.available and hot.epoch not in epochs, what)
        epochs.append(hot.epoch)

    a = redis.Redis.from_url(hot_url)
    a.flushall()
    await next_epoch("the flush is seen")
    with valkey(tmp_path / "other", ports.choose()) as other:
        b = redis.Redis.from_url(other)
        await follow(b, a, hot_url)
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
    assert process.hot.term == term + 1


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


async def saved(world: World, process: Process) -> bool:
    """Whether the durable watermark of a writer stands at its newest row."""
    writer = process.node.fanout.progress.writer
    (row,) = await world.sql(
        """SELECT (SELECT max("row") FROM delivery_outbox WHERE writer = %s),
        (SELECT max("row") FROM delivery_progress WHERE writer = %s)""",
        writer,
        writer,
    )
    return row[0] is not None and row[0] == row[1]


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

    async def and_flush(*args: Any) -> Any:
        answer = await mark(*args)
        world.redis.flushall()
        process.node.fanout._mark = mark  # type: ignore[method-assign]
        return answer

    process.node.fanout._mark = and_flush  # type: ignore[method-assign]
    await (await process.seat(ann, phone)).say(conversation)
    key = dirty_key(bob, tablet)
    await until(lambda: world.redis.zscore(key, conversation) == 1, "marked again")


async def dead_writers_row(world: World) -> tuple[Seat, str, str]:
    """Bob is connected; a writer that is gone stored one message, marked it and had its watermark moved."""
    (ann, phone), (bob, tablet) = await world.person(), await world.person()
    conversation = await world.direct(ann, bob)
    process = await world.process()
    seat = await process.seat(bob, tablet)
    writer = new_id()
    await world.append(conversation, ann, phone, writer)
    ((row,),) = await world.sql('SELECT "row" FROM delivery_outbox WHERE writer = %s', writer)
    return seat, conversation, f"{writer} {row}"


async def flushed_and_swept_anew(world: World, off: Off, *more: str) -> tuple[Seat, str]:
    """V3: the publish was lost, the node is flushed, and the sweep starts anew with it. (Opening again and the check, which
    would find it too, are off.)"""
    off("reopen", "check", *more)
    seat, conversation, done = await dead_writers_row(world)
    writer, row = done.split()
    epoch = "any" if "epoch_progress" in more else seat.node.bus.hot.epoch
    await world.store.outbox_done(writer, epoch, int(row), 1 << 41)
    world.redis.flushall()
    # Bob's session is registered, as if it had just connected.
    await until(lambda: seat.node.bus.hot.epoch.endswith(".1"), "the flush is seen")
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
    wire = await world.wire(world.database_url)
    process, there = await world.process(database_url=wire.url), await world.process()
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
    assert (again.seq, again.duplicate) == (1, True)
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


async def test_v2_twin_writer_that_keeps_its_name(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """The watermark passes the row that committed late."""
    monkeypatch.setattr(Progress, "rename", lambda self: None)
    there, conversation, bob, tablet = await unknown_outcome(world)
    await (await there.seat(bob, tablet)).has(conversation, [], 1)


# -- R5, R6: opening ---------------------------------------------------------------------------------------------------------


async def test_r6_flush_between_register_and_read(world: World) -> None:
    """The term changes while a session opens: it begins again, under the new one."""
    (ann, phone), (bob, tablet) = await world.person(), await world.person()
    conversation = await world.direct(ann, bob)
    process = await world.process()
    (await process.seat(bob, tablet)).leave()
    await (await process.seat(ann, phone)).say(conversation)
    inbox, epoch = process.node.inbox, process.hot.epoch
    register = inbox.register

    async def and_flush(requests: Any) -> Any:
        inbox.register = register  # type: ignore[method-assign]
        answer = await register(requests)
        world.redis.flushall()
        await until(lambda: process.hot.epoch != epoch, "the flush is seen")
        return answer

    inbox.register = and_flush  # type: ignore[method-assign]
    seat = await process.seat(bob, tablet)
    await seat.has(conversation, [1])
    assert world.redis.get(marker_key(bob, tablet)) == process.hot.epoch.encode()
    assert seat.session.term == process.hot.term


async def test_r5_marker_and_marks_come_together(world: World) -> None:
    """They are one script: an observer never sees a marker over an incomplete set."""
    process = await world.process()
    behind = [Behind(new_id(), 1, 0) for _ in range(500)]
    user, device = await world.person()
    pipe = world.redis.pipeline()
    writing = asyncio.create_task(process.node.inbox.complete(user, device, "e", behind))
    seen = set()
    while not writing.done():
        marker, size = await asyncio.to_thread(
            pipe.get(marker_key(user, device)).zcard(dirty_key(user, device)).execute
        )
        seen.add((marker, size))
    await writing
    assert seen <= {(None, 0), (b"e", 500)}


# -- R9, R10: what counts as sent and as acknowledged -------------------------------------------------------------------------


async def test_r10_ack_counts_up_to_what_was_sent(world: World) -> None:
    (ann, phone), (bob, tablet) = await world.person(), await world.person()
    conversation = await world.direct(ann, bob)
    process = await world.process()
    seat, writing = await process.seat(bob, tablet), await process.seat(ann, phone)
    seat.screen.acking = False
    for _ in range(3):
        await writing.say(conversation)
    await seat.has(conversation, [1, 2, 3])
    seat.ack(conversation, 1_000)
    seat.ack(new_id(), 5)
    await process.saved()
    assert await world.sql("SELECT acked FROM delivery_position WHERE device = %s", tablet) == [(3,)]
    assert await world.sql("SELECT delivered FROM delivery_receipt WHERE member = %s", bob) == [(3,)]


async def test_r9_event_heard_while_a_page_of_a_sync_is_read(world: World) -> None:
    """It is committed after the page's snapshot and heard of before the page is here: the sync reads on."""
    (ann, phone), (bob, tablet) = await world.person(), await world.person()
    conversation = await world.direct(ann, bob)
    process = await world.process()
    writing = await process.seat(ann, phone)
    await writing.say(conversation)
    seat = await process.seat(bob, tablet, sync=False)
    interleave(process, lambda: writing.say(conversation))
    await seat.sync()
    await seat.has(conversation, [1, 2], 3)


async def test_r9_event_heard_while_a_hole_is_read(world: World) -> None:
    (ann, phone), (bob, tablet) = await world.person(), await world.person()
    conversation = await world.direct(ann, bob)
    process = await world.process()
    seat = await process.seat(bob, tablet)
    writer = new_id()
    await world.append(conversation, ann, phone, writer)

    async def one_more() -> None:
        await world.append(conversation, ann, phone, writer)
        process.node.live.poke(conversation, 2, [bob])

    interleave(process, one_more)
    process.node.live.poke(conversation, 1, [bob])
    await seat.has(conversation, [1, 2], 3)


def interleave(process: Process, what: Callable[[], Any]) -> None:
    """``what`` happens between the snapshot of the next page and its arrival."""
    reader = process.node.reader
    page = reader.page

    async def and_then(request: Any) -> Any:
        reader.page = page  # type: ignore[method-assign]
        found = await page(request)
        await what()
        return found

    reader.page = and_then  # type: ignore[method-assign]


# -- R11: late acks ------------------------------------------------------------------------------------------------------------


async def late_ack(world: World) -> dict[str, int]:
    """The device acks 1; before the position is written behind, 2 is marked. The marks that remain."""
    process = await world.process()
    user, device = await world.person()
    conversation, inbox = new_id(), Inbox(process.hot)
    for seq in (1, 2):
        world.redis.zadd(dirty_key(user, device), {conversation: seq}, gt=True)
    await inbox.clean({(user, device): {conversation: 1}})
    return {"left": len(await inbox.dirty(user, device))}


async def test_r11_a_late_ack_leaves_a_newer_mark(world: World) -> None:
    assert await late_ack(world) == {"left": 1}


async def test_r11_twin_without_comparison(world: World, off: Off) -> None:
    off("clean")
    assert await late_ack(world) == {"left": 0}


# -- R12, R16, R17: who is owed what ----------------------------------------------------------------------------------------


class Group:
    """Ann writes; Carol was a member from 1 to 3 and is again from 6; Dave left at 3. Both are connected to another gateway."""

    def __init__(self, conversation: str, ann: Seat, carol: Seat, dave: Seat) -> None:
        self.conversation = conversation
        self.ann = ann
        self.carol = carol
        self.dave = dave


async def group(world: World) -> Group:
    people = [await world.person() for _ in range(3)]
    (ann, _), (carol, _), (dave, _) = people
    conversation = await world.group((ann, 1, 0), (carol, 1, 3), (carol, 6, 0), (dave, 1, 3))
    here, there = await world.process(), await world.process()
    seats = [
        await process.seat(*person) for process, person in zip((here, there, there), people, strict=True)
    ]
    return Group(conversation, *seats)


async def test_r16_every_interval_counts_live(world: World) -> None:
    g = await group(world)
    for _ in range(7):
        await g.ann.say(g.conversation)
    await g.carol.has(g.conversation, [1, 2, 3, 6, 7])
    await g.dave.has(g.conversation, [1, 2, 3])


async def test_r16_twin_members_now(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """V11: "members now" gives Carol what was written while she was away."""
    monkeypatch.setattr(
        fanout_module, "owed", lambda known, seq: [i.user for i in known.members if not i.left]
    )
    g = await group(world)
    for _ in range(4):
        await g.ann.say(g.conversation)
    # She hears of 1 first and reads on from there; 4 comes live.
    await until(lambda: 4 in g.carol.seqs(g.conversation), "she gets what she is not owed")


async def test_r16_r12_replay_owes_no_more(world: World) -> None:
    """A replay marks and pokes whoever was ever a member; the page gives what is owed and passes the rest, so that no mark
    above ``left_seq`` stays."""
    g = await group(world)
    writer, node = new_id(), g.ann.session
    for _ in range(7):
        await world.append(g.conversation, node.user, node.device, writer)
    assert await (await world.sweep()).once() == 7
    await g.carol.has(g.conversation, [1, 2, 3, 6, 7])
    await g.dave.has(g.conversation, [1, 2, 3])
    key = dirty_key(g.dave.session.user, g.dave.session.device)
    assert world.redis.zscore(key, g.conversation) == 7
    await g.dave.node.receipts.flush()
    await g.dave.sync()
    await g.dave.node.receipts.flush()
    assert not world.redis.exists(key), "the mark is gone"


async def removed_while_cached(world: World) -> tuple[Seat, str]:
    """V12: Ann's gateway has read the members before Bob was removed at 2 by somebody else; then Ann writes 3."""
    (ann, phone), (bob, tablet) = await world.person(), await world.person()
    conversation = await world.group((ann, 1, 0), (bob, 1, 0))
    here, there = await world.process(), await world.process()
    writing, seat = await here.seat(ann, phone), await there.seat(bob, tablet)
    await writing.say(conversation)
    await seat.has(conversation, [1])
    await world.append(conversation, ann, phone, new_id(), "the removal")
    await world.sql(
        "UPDATE delivery_member SET left_seq = 2 WHERE conversation = %s AND member = %s", conversation, bob
    )
    there.node.live.poke(conversation, 2, [bob])
    await seat.has(conversation, [1, 2])
    assert await writing.say(conversation) == 3
    await here.node.fanout.drained()
    return seat, conversation


async def test_r17_a_list_serves_only_what_it_is_not_older_than(world: World) -> None:
    seat, conversation = await removed_while_cached(world)
    await stays(lambda: seat.seqs(conversation) == [1, 2], "Bob got what he is not owed", 0.5)


async def test_r17_twin_old_list(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(roster_module, "serves", lambda known, seq: True)
    seat, conversation = await removed_while_cached(world)
    await until(lambda: seat.seqs(conversation) == [1, 2, 3], "Bob gets what he is not owed")


async def test_r17_replay_marks_a_member_who_joined_meanwhile(world: World) -> None:
    """The sweep has read the members before Bob joined at 2."""
    (ann, phone), (bob, tablet) = await world.person(), await world.person()
    conversation = await world.group((ann, 1, 0))
    process, sweep = await world.process(), await world.sweep()
    seat = await process.seat(bob, tablet)
    writer = new_id()
    await world.append(conversation, ann, phone, writer)
    assert await sweep.once() == 1
    await world.sql(
        "INSERT INTO delivery_member (conversation, member, joined_seq, left_seq) VALUES (%s, %s, 2, 0)",
        conversation,
        bob,
    )
    await world.append(conversation, ann, phone, writer)
    assert await sweep.once() == 1
    await seat.has(conversation, [2])


# -- C3 in one process: what waits behind a failed send -----------------------------------------------------------------------


async def failing_batch(world: World) -> list[str]:
    """m1 fails for good, m2 and m3 wait behind it in the gateway, uncounted. The codes of the three answers."""
    (ann, phone), (bob, _) = await world.person(), await world.person()
    conversation = await world.direct(ann, bob)
    wire = await world.wire(world.database_url)
    process = await world.process(database_url=wire.url)
    seat = await process.seat(ann, phone)
    async with world.held(conversation):
        ids = [seat.send(conversation, "m1")]
        await world.waiting()
        ids += [seat.send(conversation, text) for text in ("m2", "m3")]
        wire.cut()
        answers = [await seat.answer(ids[0])]
    answers += [await seat.answer(message_id) for message_id in ids[1:]]
    return [getattr(answer, "code", "sent") for answer in answers]


async def test_h8_what_waits_behind_a_failed_send_fails_too(world: World) -> None:
    assert await failing_batch(world) == ["unavailable"] * 3


async def test_h8_twin_what_waits_overtakes(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    def only_these(self: Log, failed: list[Pending]) -> None:
        for pending in failed:
            self._refuse(pending, Code.UNAVAILABLE, "")

    monkeypatch.setattr(Log, "_fail", only_these)
    assert "sent" in await failing_batch(world)


# -- hints may come twice, scripts may be forgotten -----------------------------------------------------------------------------


async def test_h7_replays_repeat_nothing(world: World) -> None:
    """The sweep dies before its watermark is written, again and again."""
    (ann, phone), (bob, tablet) = await world.person(), await world.person()
    conversation = await world.direct(ann, bob)
    process, sweep = await world.process(), await world.sweep()
    seat = await process.seat(bob, tablet)
    writer = new_id()
    for _ in range(3):
        await world.append(conversation, ann, phone, writer)
    for _ in range(3):
        assert await sweep.once() == 3
        await world.sql("DELETE FROM delivery_progress WHERE writer = %s", writer)
    await seat.has(conversation, [1, 2, 3])
    await stays(lambda: seat.seqs(conversation) == [1, 2, 3], "an event came twice", 0.5)


async def test_h25_scripts_are_forgotten(world: World) -> None:
    """After a failover a node knows no script; marks, opening and acks go on."""
    (ann, phone), (bob, tablet) = await world.person(), await world.person()
    conversation = await world.direct(ann, bob)
    process = await world.process()
    writing = await process.seat(ann, phone)
    seat = await process.seat(bob, tablet)
    for number in range(1, 4):
        world.redis.script_flush()
        await writing.say(conversation)
        await seat.has(conversation, list(range(1, number + 1)))
        await process.saved()
        assert not world.redis.exists(dirty_key(bob, tablet))
    world.redis.script_flush()
    seat.leave()
    await writing.say(conversation)
    await (await process.seat(bob, tablet)).has(conversation, [4])


async def test_h24_a_device_linked_while_a_message_is_fanned_out(world: World) -> None:
    """The gateway marks by a device list read before the device was linked: while it is young it looks at the heads."""
    (ann, phone), (bob, _) = await world.person(), await world.person()
    conversation = await world.direct(ann, bob)
    process, there = await world.process(), await world.process()
    writing = await process.seat(ann, phone)
    await writing.say(conversation)
    await process.node.fanout.drained()  # by now it has the list
    laptop = new_id()
    await world.store.link_device(bob, laptop, clock.now_ms())
    (await there.seat(bob, laptop)).leave()
    await writing.say(conversation)
    await process.node.fanout.drained()
    assert world.redis.zscore(dirty_key(bob, laptop), conversation) is None, "the old list was used"
    seat = await there.seat(bob, laptop)
    await seat.has(conversation, [2])
