"""Rules R12, R16, R17 and what follows failures (H7, H8, H24, H25): who is owed what."""

from __future__ import annotations

import pytest

from delivery import fanout as fanout_module
from delivery import roster as roster_module
from delivery.inbox import dirty_key
from delivery.log import Log
from delivery.sending import Sending
from delivery.store.interface import Unavailable
from tests.faults.engine import Seat, World
from tests.faults.moments import failing
from tests.faults.rig import stays
from tests.gateway.phone import new_id
from tests.support.patience import until
from whatsapp.infra import clock
from whatsapp.wire.errors import Code

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
    """A replay marks and pokes whoever was ever a member, up to what each is owed: no mark above ``left_seq`` stays, and the
    ack takes the others away."""
    g = await group(world)
    writer, node = new_id(), g.ann.session
    for _ in range(7):
        await world.append(g.conversation, node.user, node.device, writer)
    assert await (await world.sweep()).once() == 7
    await g.carol.has(g.conversation, [1, 2, 3, 6, 7])
    await g.dave.has(g.conversation, [1, 2, 3])
    key = dirty_key(g.dave.session.user, g.dave.session.device)
    await g.dave.node.receipts.flush()
    await until(lambda: not world.redis.exists(key), "the mark is gone")


async def test_r16_a_replay_marks_who_left_only_up_to_there(world: World) -> None:
    g = await group(world)
    g.dave.leave()
    g.carol.leave()
    writer, node = new_id(), g.ann.session
    for _ in range(5):
        await world.append(g.conversation, node.user, node.device, writer)
    assert await (await world.sweep()).once() == 5
    inbox = g.ann.node.inbox
    assert await inbox.dirty(*_of(g.dave)) == {g.conversation: 3}
    assert await inbox.dirty(*_of(g.carol)) == {g.conversation: 3}, "she comes back with 6"
    await world.append(g.conversation, node.user, node.device, writer)
    assert await (await world.sweep()).once() == 1
    assert await inbox.dirty(*_of(g.dave)) == {g.conversation: 3}
    assert await inbox.dirty(*_of(g.carol)) == {g.conversation: 6}


def _of(seat: Seat) -> tuple[str, str]:
    return seat.session.user, seat.session.device


async def removed_while_cached(world: World) -> tuple[Seat, str]:
    """V12: Ann's gateway has read the members before Bob was removed at 2 by somebody else; then Ann writes 3."""
    (ann, phone), (bob, tablet) = await world.person(), await world.person()
    conversation = await world.group((ann, 1, 0), (bob, 1, 0))
    here, there = await world.process(), await world.process()
    writing, seat = await here.seat(ann, phone), await there.seat(bob, tablet)
    await writing.say(conversation)
    await seat.has(conversation, [1])
    await world.append(conversation, ann, phone, new_id(), "the removal")
    await world.log.leave(conversation, bob, 2)
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
    await world.log.join(conversation, bob, 2)
    await world.append(conversation, ann, phone, writer)
    assert await sweep.once() == 1
    await seat.has(conversation, [2])


# -- C3 in one process: what waits behind a failed send -----------------------------------------------------------------------


async def failing_batch(world: World) -> list[str]:
    """m1 fails for good, m2 and m3 wait behind it in the gateway, uncounted. The codes of the three answers."""
    (ann, phone), (bob, _) = await world.person(), await world.person()
    conversation = await world.direct(ann, bob)
    wire = await world.log_wire()
    process = await world.process(through=wire)
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


@pytest.mark.sql_only("Cassandra's driver is away for longer than what waits, so that fails as well")
async def test_h8_twin_what_waits_overtakes(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    def only_these(self: Log, failed: list[Sending]) -> None:
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
    for _ in range(2):
        failing(world.store, "outbox_done", Unavailable("it dies"))
        with pytest.raises(Unavailable):
            await sweep.once()
    assert await sweep.once() == 3
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
