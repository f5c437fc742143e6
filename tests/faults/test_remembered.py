"""What is remembered for later, and what is not kept for ever (C5, C6, C7)."""

from __future__ import annotations

from delivery.inbox import dirty_key
from delivery.store.interface import Unavailable
from tests.faults.engine import World
from tests.faults.moments import failing
from tests.support.patience import until


async def test_c5_a_receipt_whose_members_cannot_be_read_is_told_later(world: World) -> None:
    """The store is away for a moment when Bob's gateway asks who must hear of his ack."""
    ann, bob = await world.person(), await world.person()
    conversation = await world.direct(ann[0], bob[0])
    here, there = await world.process(), await world.process()
    writing, seat = await here.seat(*ann), await there.seat(*bob)
    happened = failing(there.store, "conversations", Unavailable("away"))
    await writing.say(conversation)
    await seat.has(conversation, [1])
    await until(lambda: writing.told("delivered") == {(conversation, 1)}, "Ann is told", 8)
    assert happened.is_set()


async def test_c7_every_key_of_the_hot_node_expires(world: World) -> None:
    def kept_for_ever() -> list[bytes]:
        keys = world.redis.scan_iter()
        return [key for key in keys if world.redis.ttl(key) == -1 and not world.log.looks_after(key)]

    process = await world.process()
    ann, bob = await world.person(), await world.person()
    conversation = await world.direct(ann[0], bob[0])
    seat, writing = await process.seat(*bob), await process.seat(*ann)
    await writing.say(conversation)
    await seat.has(conversation, [1])
    await process.node.fanout.drained()
    await process.saved()
    assert not world.redis.exists(dirty_key(*bob)), "the ack emptied it"
    seat.leave()
    await writing.say(conversation)
    await process.node.fanout.drained()
    assert await process.dirty(*bob) == {conversation: 2}
    assert kept_for_ever() == []
    # Behind a flush the set is made by a rebuild.
    epoch = process.hot.epoch
    world.redis.flushall()
    await until(lambda: process.hot.available and process.hot.epoch != epoch, "the flush is seen")
    seat = await process.seat(*bob, sync=False)
    assert seat.session.complete
    assert await process.dirty(*bob) == {conversation: 2}
    assert kept_for_ever() == []
