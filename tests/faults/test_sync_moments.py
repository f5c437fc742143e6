"""Syncs that overlap, end, or find nothing, each at its worst moment (C4, C7, R9)."""

from __future__ import annotations

import asyncio

import pytest

from delivery.drain import DrainRequest, write_backlog
from delivery.session import State
from tests.faults.engine import Process, Seat, World
from tests.faults.moments import Held
from tests.support.patience import until
from whatsapp.infra import clock
from whatsapp.infra.limits import LIMITS
from whatsapp.wire.codec import CODECS


class Worker:
    """Carries out drains as the task does, on this loop, with a store of its own."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.process: Process | None = None
        self.asked: list[DrainRequest] = []
        self._tasks: set[asyncio.Task[int]] = set()

    def submit(self, request: DrainRequest) -> None:
        assert self.process is not None
        self.asked.append(request)
        writing = write_backlog(self.world.store, self.process.hot, CODECS[request.codec_id], request)
        self._tasks.add(asyncio.get_running_loop().create_task(writing))

    async def done(self) -> None:
        await asyncio.wait(self._tasks)


class Scene:
    """Ann wrote to Bob, who has got everything, or was away and has just connected."""

    def __init__(self, world: World, worker: Worker, process: Process, conversation: str) -> None:
        self.world = world
        self.worker = worker
        self.process = process
        self.conversation = conversation
        self.ann: Seat
        self.bob: Seat

    @classmethod
    async def set(cls, world: World, messages: int, *, away: bool = False) -> Scene:
        ann, bob = await world.person(), await world.person()
        conversation = await world.direct(ann[0], bob[0])
        worker = Worker(world)
        process = worker.process = await world.process(submit_drain=worker.submit)
        scene = cls(world, worker, process, conversation)
        scene.ann = await process.seat(*ann)
        if not away:
            scene.bob = await process.seat(*bob)
        for _ in range(messages):
            await scene.ann.say(conversation)
        await process.node.fanout.drained()
        if away:
            scene.bob = await process.seat(*bob, sync=False)
        else:
            await scene.bob.has(conversation, range(1, messages + 1))
        await process.saved()
        return scene

    async def ends(self, ref: str) -> None:
        await until(lambda: ref in self.bob.completed(), f"the sync {ref} ends", 8)

    async def turns(self) -> None:
        """Enough turns of the loop for whatever needs no more waiting."""
        await self.world.store.conversations([self.conversation])


@pytest.fixture
def short_drains(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(LIMITS, "drain_events", 5)


# -- two syncs of one session ---------------------------------------------------------------------------------------------------


async def test_c4_a_sync_begun_while_another_completes_is_answered(world: World) -> None:
    scene = await Scene.set(world, 3)
    last = Held(scene.process.store, "receipts")
    scene.bob.ask(ref="first")
    await last.reached()
    scene.bob.ask({scene.conversation: 1}, "second")
    last.go_on()
    await scene.ends("second")
    assert scene.bob.seqs(scene.conversation) == [1, 2, 3, 2, 3]
    assert "first" not in scene.bob.completed()
    assert scene.bob.session.state is State.LIVE


async def test_r9_a_sync_given_up_while_it_is_prepared_leaves_the_session_alone(world: World) -> None:
    """It would lower what counts as sent, and the next event would bring everything again."""
    scene = await Scene.set(world, 3)
    asked = Held(scene.process.node.reader, "positions")
    scene.bob.ask({scene.conversation: 0}, "first")
    await asked.reached()
    scene.bob.ask(ref="second")
    await scene.ends("second")
    asked.go_on()
    await scene.turns()
    await scene.ann.say(scene.conversation)
    await scene.bob.has(scene.conversation, [1, 2, 3, 4])
    assert "first" not in scene.bob.completed()


async def test_c4_a_session_that_closes_while_its_sync_completes_stays_closed(world: World) -> None:
    scene = await Scene.set(world, 1)
    last = Held(scene.process.store, "receipts")
    scene.bob.ask(ref="last")
    await last.reached()
    scene.bob.leave()
    last.go_on()
    await scene.turns()
    assert scene.bob.session.state is State.CLOSED
    assert "last" not in scene.bob.completed()


# -- drains --------------------------------------------------------------------------------------------------------------


async def test_c4_a_sync_of_what_has_expired_ends(world: World, short_drains: None) -> None:
    """A client that lost everything asks from 0: nothing is left to be sent, by a drain or by the gateway."""
    scene = await Scene.set(world, 10)
    while await world.store.expire(clock.now_ms() + 1, 0):
        pass
    scene.bob.ask({scene.conversation: 0}, "all")
    await scene.ends("all")
    assert scene.bob.session.state is State.LIVE
    assert len(scene.worker.asked) <= 2
    await scene.ann.say(scene.conversation)
    await scene.bob.has(scene.conversation, range(1, 12))


async def test_c4_a_sync_that_hears_of_more_than_is_owed_ends(world: World, short_drains: None) -> None:
    """A mark may be above what is owed: to who has left, or of a log that was restored."""
    scene = await Scene.set(world, 3)
    asked = Held(scene.process.node.reader, "positions")
    scene.bob.ask({scene.conversation: 3}, "all")
    await asked.reached()
    scene.process.node.live.poke(scene.conversation, 1_000, [scene.bob.session.user])
    asked.go_on()
    await scene.ends("all")
    assert len(scene.worker.asked) <= 2
    await scene.ann.say(scene.conversation)
    await scene.bob.has(scene.conversation, [1, 2, 3, 4])


async def test_c4_a_drain_brings_a_long_backlog(world: World, short_drains: None) -> None:
    """What the tests around it would not notice: that drains work here."""
    scene = await Scene.set(world, 20, away=True)
    scene.bob.ask(ref="all", limit=5)
    await scene.ends("all")
    assert scene.bob.seqs(scene.conversation) == list(range(1, 21))
    assert scene.worker.asked
    await scene.worker.done()
    assert not list(world.redis.scan_iter("*:drain:*"))


async def test_c7_a_sync_given_up_orders_no_drain(world: World, short_drains: None) -> None:
    scene = await Scene.set(world, 10)
    asked = Held(scene.process.node.reader, "positions")
    scene.bob.ask({scene.conversation: 0}, "first")
    await asked.reached()
    scene.bob.ask(ref="second")
    await scene.ends("second")
    asked.go_on()
    await scene.turns()
    assert scene.worker.asked == []


async def test_c7_a_drain_leaves_nothing_behind_a_socket_that_went(world: World, short_drains: None) -> None:
    """The gateway removes the stream; the task, which writes on, does not make it again."""
    scene = await Scene.set(world, 20, away=True)
    scene.bob.screen.acking = False
    first = Held(world.store, "pages")
    scene.bob.ask(ref="all", limit=5)
    await first.reached()
    second = Held(world.store, "pages")
    first.go_on()
    await second.reached()
    await scene.bob.has(scene.conversation, range(1, 6))
    scene.bob.leave()
    await until(lambda: not list(world.redis.scan_iter("*:drain:*")), "the stream is removed")
    second.go_on()
    await scene.worker.done()
    assert not list(world.redis.scan_iter("*:drain:*"))
