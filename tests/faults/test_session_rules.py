"""Rules R5, R6, R9, R10, R11: opening a session, what it is sent, what its acks remove."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from delivery.inbox import Complete, Inbox, dirty_key, marker_key
from delivery.store.values import Behind
from tests.faults.engine import Process, World
from tests.gateway.phone import new_id
from tests.support.patience import until

Off = Callable[..., None]


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
    assert world.redis.get(marker_key(bob, tablet)) == process.hot.under(bob)[1].encode()
    assert seat.session.term == process.hot.term


async def test_r5_marker_and_marks_come_together(world: World) -> None:
    """They are one script: an observer never sees a marker over an incomplete set."""
    process = await world.process()
    behind = [Behind(new_id(), 1, 0) for _ in range(500)]
    user, device = await world.person()
    pipe = world.redis.pipeline()
    writing = asyncio.create_task(process.node.inbox.complete([Complete(user, device, "e", behind)]))
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
    assert await world.log.acked(tablet) == [3]
    assert (await world.log.receipts(conversation))[bob].delivered == 3


class Early:
    """Ann's device is back. The first of its conversation is a message of its own: it has the ✓, and has acknowledged it, before
    its gateway knows what it was sent of the conversation."""

    def __init__(self, world: World) -> None:
        self.world, self.go, self.asked = world, asyncio.Event(), asyncio.Event()

    async def begin(self) -> Early:
        (ann, self.phone), (self.bob, self.tablet) = await self.world.person(), await self.world.person()
        self.conversation = await self.world.direct(ann, self.bob)
        self.process = await self.world.process()
        seat = await self.process.seat(ann, self.phone)
        await seat.say(self.conversation)
        await until(lambda: seat.session.sent.get(self.conversation) == 1, "the conversation is read")
        seat.ack(self.conversation, 1)
        await self.process.saved()
        seat.leave()
        self.seat = await self.process.seat(ann, self.phone)
        self.seat.screen.acking = False
        return self

    def hold(self, of: Any, name: str) -> None:
        """This call waits until the device has acknowledged."""
        call = getattr(of, name)

        async def slow(*args: Any) -> Any:
            self.asked.set()
            await self.go.wait()
            return await call(*args)

        setattr(of, name, slow)

    async def acknowledges(self) -> tuple[list[int], list[int]]:
        """What is saved of it; what the device was sent besides its own."""
        seq = await self.seat.say(self.conversation)
        await self.asked.wait()
        self.seat.ack(self.conversation, seq)
        self.go.set()
        await until(lambda: self.seat.session.sent.get(self.conversation) == seq, "the conversation is read")
        await self.process.saved()
        return await self.world.log.acked(self.phone), self.seat.seqs(self.conversation)


async def test_r10_an_ack_of_ones_own_counts_before_the_conversation_is_read(world: World) -> None:
    early = await Early(world).begin()
    early.hold(early.process.node.reader, "position")
    assert await early.acknowledges() == ([2], [])


async def test_r10_and_before_the_event_is_fanned_out(world: World) -> None:
    early = await Early(world).begin()
    early.hold(early.process.node.roster, "devices")
    assert await early.acknowledges() == ([2], [])


async def test_r10_and_when_all_before_it_was_sent(world: World) -> None:
    early = await Early(world).begin()
    await early.world.append(early.conversation, early.bob, early.tablet, new_id())
    early.process.node.live.poke(early.conversation, 2, [early.seat.session.user])
    await early.seat.has(early.conversation, [2])
    early.hold(early.process.node.roster, "devices")
    assert await early.acknowledges() == ([3], [2])


async def test_r10_but_not_for_what_was_written_after_it_came(world: World) -> None:
    early = await Early(world).begin()
    await early.world.append(early.conversation, early.bob, early.tablet, new_id())
    early.hold(early.process.node.reader, "position")
    assert await early.acknowledges() == ([1], [2])


async def test_r10_twin_it_is_cut(world: World, off: Off) -> None:
    off("early")
    early = await Early(world).begin()
    early.hold(early.process.node.reader, "position")
    assert await early.acknowledges() == ([1], [])


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
