"""C2 and C3: one order for all, once, whatever two sockets of a device do and whichever append fails (H8, H22, V7, V19)."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from delivery.session import Event
from delivery.store.values import Logged, PageRequest
from tests.faults.engine import Seat, World
from tests.gateway.phone import new_id
from tests.support.patience import until
from whatsapp.wire import frames
from whatsapp.wire.errors import Code

Off = Callable[..., None]


async def log_of(world: World, conversation: str, user: str) -> list[str]:
    """The conversation's texts, by seq."""
    (page,) = await world.store.pages([PageRequest(conversation, user, 0, 100)])
    assert [event.seq for event in page.events] == list(range(1, len(page.events) + 1)), "dense"
    return [(event.content or b"").decode() for event in page.events]


# -- V7: first contact -----------------------------------------------------------------------------------------------------


async def first_contact(world: World) -> tuple[Seat, str]:
    """Two processes write to Bob, who is connected and does not know the conversation. 2 is marked and published, 1 is not."""
    (ann, phone), (bob, tablet) = await world.person(), await world.person()
    conversation = await world.direct(ann, bob)
    here, there = await world.process(), await world.process()
    seat = await there.seat(bob, tablet)
    await world.append(conversation, ann, phone, writer=new_id())
    assert await (await here.seat(ann, phone)).say(conversation) == 2
    return seat, conversation


async def test_v7_first_contact_keeps_the_order(world: World) -> None:
    seat, conversation = await first_contact(world)
    await seat.has(conversation, [1, 2])


async def test_v7_twin_without_sent(world: World, off: Off) -> None:
    off("sent")
    seat, conversation = await first_contact(world)
    await seat.has(conversation, [2])
    await seat.node.receipts.flush()
    assert await world.log.acked(seat.session.device) == [2], "1 is lost for good: its position has passed it"


# -- H22: two producers, one consumer ---------------------------------------------------------------------------------------


async def overtaking(world: World) -> tuple[Seat, str]:
    """Bob's gateway hears of 3 before 2."""
    (ann, phone), (bob, tablet) = await world.person(), await world.person()
    conversation = await world.direct(ann, bob)
    process = await world.process()
    writer = new_id()
    await world.append(conversation, ann, phone, writer)
    seat = await process.seat(bob, tablet)
    rows = [await world.append(conversation, ann, phone, writer, text) for text in ("2", "3")]
    for number in (1, 0):
        logged = Logged(conversation, rows[number].seq, 0, ann, phone, new_id(), "text", b"", 1, 1)
        process.node.live.deliver(Event(logged), [bob])
    return seat, conversation


async def test_h22_what_overtakes_waits(world: World) -> None:
    seat, conversation = await overtaking(world)
    await seat.has(conversation, [1, 2, 3])


async def test_h22_twin_without_sent(world: World, off: Off) -> None:
    off("sent")
    seat, conversation = await overtaking(world)
    # What comes late is older than the position by then, so it is dropped: reordered becomes lost.
    await seat.has(conversation, [1, 3])


# -- H8: pipelined sends over two sockets -----------------------------------------------------------------------------------


class Pipeline:
    """Ann's phone at a gateway whose way to the database can be cut; she pipelines three counted messages."""

    def __init__(self, world: World, conversation: str, old: Seat, new: Seat, ids: list[str]) -> None:
        self.world = world
        self.conversation = conversation
        self.old = old
        self.new = new
        self.ids = ids

    def send(self, seat: Seat, *numbers: int) -> None:
        for number in numbers:
            seat.send(self.conversation, f"m{number}", message_id=self.ids[number], seq_num=number)

    async def confirmed(self, seat: Seat, number: int, first: int = 1) -> frames.StatusUpdate:
        """The ✓ of answer ``first`` or of a later one: a client sends again what was unavailable. A store may not know yet what
        became of the one before, or have a connection that is dead."""
        for count in range(first, first + 200):
            answer = await seat.answer(self.ids[number], count)
            if isinstance(answer, frames.StatusUpdate):
                return answer
            assert (answer.code, answer.retryable) == (Code.UNAVAILABLE, True)
            await asyncio.sleep(0.05)  # as a client waits
            self.send(seat, number)
        raise AssertionError(f"message {number} is never confirmed")


async def broken_pipeline(world: World) -> Pipeline:
    """m1 is in the database, waiting, when the connection is cut: its outcome is unknown. m2 and m3 wait behind it. The phone
    connects to another gateway. Then m1 is free to commit."""
    (ann, phone), (bob, _) = await world.person(), await world.person()
    conversation = await world.direct(ann, bob)
    wire = await world.log_wire()
    first, second = await world.process(through=wire), await world.process()
    old = await first.seat(ann, phone)
    ids = [new_id() for _ in range(6)]
    pipeline = Pipeline(world, conversation, old, old, ids)
    async with world.held(conversation):
        pipeline.send(old, 1)
        await world.waiting()
        pipeline.send(old, 2, 3)
        wire.cut()
        for number in (1, 2, 3):
            answer = await old.answer(ids[number])
            assert isinstance(answer, frames.Error), answer
            assert (answer.code, answer.retryable) == (Code.UNAVAILABLE, True)
        pipeline.new = await second.seat(ann, phone)
    return pipeline


async def test_h8_pipelined_sends_over_two_sockets(world: World) -> None:
    """The phone sends all again over its new socket, while m1 commits behind its back; the old socket's come late."""
    p = await broken_pipeline(world)
    p.send(p.new, 1, 2, 3)
    for number in (1, 2, 3):
        await p.confirmed(p.new, number)
    p.send(p.old, 2, 3)
    for number in (2, 3):
        assert (await p.confirmed(p.old, number, 2)).duplicate
    p.send(p.old, 4)
    p.send(p.new, 4)
    await p.new.answer(p.ids[4])
    await p.old.answer(p.ids[4])
    assert await log_of(world, p.conversation, p.new.session.user) == ["m1", "m2", "m3", "m4"]


async def failed_first(world: World) -> tuple[Seat, str]:
    """m1 fails without a trace; m2, already on its way, arrives; then m1 comes again, and m2 with it."""
    (ann, phone), (bob, _) = await world.person(), await world.person()
    conversation = await world.direct(ann, bob)
    process = await world.process()
    seat = await process.seat(ann, phone)
    await process.node.roster.lists({conversation: 0})
    ids = [new_id(), new_id()]
    async with world.held(conversation):
        seat.send(conversation, "m1", message_id=ids[0], seq_num=1)
        await world.waiting()
        await world.log.refuse()
        assert (await seat.answer(ids[0])).code == Code.UNAVAILABLE
    seat.send(conversation, "m2", message_id=ids[1], seq_num=2)
    first = await seat.answer(ids[1])
    seat.send(conversation, "m1", message_id=ids[0], seq_num=1)
    assert isinstance(await seat.answer(ids[0], 2), frames.StatusUpdate)
    if isinstance(first, frames.Error):
        assert (first.code, first.details) == (Code.OUT_OF_ORDER, {"expected": 1})
        seat.send(conversation, "m2", message_id=ids[1], seq_num=2)
        assert isinstance(await seat.answer(ids[1], 2), frames.StatusUpdate)
    return seat, conversation


async def test_r19_what_follows_a_failed_send_is_out_of_order(world: World) -> None:
    seat, conversation = await failed_first(world)
    assert await log_of(world, conversation, seat.session.user) == ["m1", "m2"]


async def test_r19_twin_without_seqnum(world: World, off: Off) -> None:
    off("seqnum")
    seat, conversation = await failed_first(world)
    assert await log_of(world, conversation, seat.session.user) == ["m2", "m1"]


async def sent_twice(world: World) -> tuple[Seat, str, frames.StatusUpdate]:
    """A ✓ is lost with its socket; the phone sends again over another gateway."""
    (ann, phone), (bob, _) = await world.person(), await world.person()
    conversation = await world.direct(ann, bob)
    first, second = await world.process(), await world.process()
    message_id = new_id()
    await (await first.seat(ann, phone)).say(conversation, "m1", message_id=message_id)
    seat = await second.seat(ann, phone)
    seat.send(conversation, "m1", message_id=message_id)
    return seat, conversation, await seat.answer(message_id)


async def test_c2_retry_over_another_gateway(world: World) -> None:
    seat, conversation, again = await sent_twice(world)
    assert (again.seq, again.duplicate) == (1, True)
    assert await log_of(world, conversation, seat.session.user) == ["m1"]


async def test_c2_twin_without_dedupe(world: World, off: Off) -> None:
    off("dedupe")
    seat, conversation, again = await sent_twice(world)
    assert (again.seq, again.duplicate) == (2, False)
    assert await log_of(world, conversation, seat.session.user) == ["m1", "m1"]


async def test_r18_a_replaced_socket_is_closed_and_its_retry_is_a_duplicate(world: World) -> None:
    """V19 (a): a retry is looked up before its seqNum is judged."""
    (ann, phone), (bob, _) = await world.person(), await world.person()
    conversation = await world.direct(ann, bob)
    first, second = await world.process(), await world.process()
    old = await first.seat(ann, phone)
    ids = [new_id(), new_id()]
    await old.say(conversation, "m1", message_id=ids[0], seq_num=1)
    await old.say(conversation, "m2", message_id=ids[1], seq_num=2)
    new = await second.seat(ann, phone)
    await until(lambda: old.screen.closed == 4409, "the old socket is closed")
    new.send(conversation, "m1", message_id=ids[0], seq_num=1)
    again = await new.answer(ids[0])
    assert (again.seq, again.duplicate) == (1, True)


@pytest.mark.parametrize("count", [40, 400])
async def test_c3_two_gateways_write_at_once(world: World, count: int) -> None:
    """Ann and Bob, each with two devices, at two gateways, all writing: one dense order, and everybody gets it in that order."""
    (ann, phone), (bob, tablet) = await world.person(), await world.person()
    laptop, desk = new_id(), new_id()
    await world.store.link_device(ann, laptop, 1)
    await world.store.link_device(bob, desk, 1)
    conversation = await world.direct(ann, bob)
    here, there = await world.process(), await world.process()
    seats = [
        await here.seat(ann, phone),
        await there.seat(ann, laptop),
        await there.seat(bob, tablet),
        await here.seat(bob, desk),
    ]
    ids = [
        [seat.send(conversation, f"{number}", seq_num=number + 1) for number in range(count // 4)]
        for seat in seats
    ]
    for seat, sent in zip(seats, ids, strict=True):
        await seat.answer(sent[-1])
        own = [(await seat.answer(message_id)).seq for message_id in sent]
        assert own == sorted(own)
        expected = sorted(set(range(1, count + 1)) - set(own))
        await seat.has(conversation, expected)
