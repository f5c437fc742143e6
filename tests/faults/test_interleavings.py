"""What one step finds changed when its answer comes: lists that left a cache, errors that nobody foresaw (C4, C5, R3)."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from delivery import roster as roster_module
from delivery.roster import Roster
from tests.faults.engine import Process, Seat, World
from tests.faults.moments import failing, meanwhile
from tests.gateway.phone import new_id
from tests.support.patience import until
from whatsapp.infra import clock
from whatsapp.wire import frames

Person = tuple[str, str]


class Pair:
    """Ann is online; Bob was, and got her first message: his marks are complete, both device lists are cached."""

    def __init__(self, process: Process, ann: Seat, bob: Person, conversation: str) -> None:
        self.process = process
        self.ann = ann
        self.bob = bob
        self.conversation = conversation

    @classmethod
    async def meet(cls, world: World, *, bob_stays: bool = False) -> Pair:
        ann, bob = await world.person(), await world.person()
        conversation = await world.direct(ann[0], bob[0])
        process = await world.process()
        seat, writing = await process.seat(*bob), await process.seat(*ann)
        # He is told before he is marked: an ack that is written down in between would leave the mark behind, for R8's check.
        seat.screen.acking = False
        await writing.say(conversation)
        await seat.has(conversation, [1])
        await process.node.fanout.drained()
        seat.screen.acking = True
        seat.ack(conversation, 1)
        await process.saved()
        if not bob_stays:
            seat.leave()
        assert await process.dirty(*bob) == {}
        return cls(process, writing, bob, conversation)

    async def bob_gets(self, seqs: list[int]) -> None:
        """The batches before are done with; he comes back."""
        await self.process.node.fanout.drained()
        seat = await self.process.seat(*self.bob)
        await seat.has(self.conversation, seqs)


async def another_batch(world: World, pair: Pair) -> None:
    """Ann writes to Dave: a row behind the ones before, marked without trouble."""
    await pair.process.node.fanout.drained()
    dave, _ = await world.person()
    await pair.ann.say(await world.direct(pair.ann.session.user, dave))


# -- C4: device lists ---------------------------------------------------------------------------------------------------------


def ages(roster: Roster, user: str, patch: pytest.MonkeyPatch) -> None:
    now = roster._time()
    patch.setattr(roster, "_time", lambda: now + 6.0)


def is_dropped(roster: Roster, user: str, patch: pytest.MonkeyPatch) -> None:
    roster.forget_devices(user)


def is_pushed_out(roster: Roster, user: str, patch: pytest.MonkeyPatch) -> None:
    patch.setattr(roster_module, "MAX_ENTRIES", 0)


Goes = Callable[[Roster, str, pytest.MonkeyPatch], None]
goes = pytest.mark.parametrize("goes", [ages, is_dropped, is_pushed_out], ids=lambda how: how.__name__)


@goes
async def test_c4_a_device_list_that_goes_while_another_is_read(
    world: World, monkeypatch: pytest.MonkeyPatch, goes: Goes
) -> None:
    """It was there when the batch looked: its devices are marked all the same."""
    pair = await Pair.meet(world)
    roster, bob = pair.process.node.roster, pair.bob[0]
    roster.forget_devices(pair.ann.session.user)
    happened = meanwhile(pair.process.store, "devices", lambda: goes(roster, bob, monkeypatch))
    await pair.ann.say(pair.conversation)
    await pair.bob_gets([2])
    assert happened.is_set()


@goes
async def test_c4_a_device_list_that_goes_while_rows_are_replayed(
    world: World, monkeypatch: pytest.MonkeyPatch, goes: Goes
) -> None:
    pair = await Pair.meet(world)
    process, roster, bob = pair.process, pair.process.node.roster, pair.bob[0]
    writer = new_id()
    await world.append(pair.conversation, pair.ann.session.user, pair.ann.session.device, writer)
    rows = await world.store.outbox(writer, process.hot.epoch, clock.now_ms())
    roster.forget_devices(pair.ann.session.user)
    happened = meanwhile(process.store, "devices", lambda: goes(roster, bob, monkeypatch))
    await process.node.fanout.replay(rows)
    assert happened.is_set()
    assert await process.dirty(*pair.bob) == {pair.conversation: 2}


# -- full caches ----------------------------------------------------------------------------------------------------------------


async def test_c4_a_full_cache_of_member_lists_loses_and_refuses_nothing(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In one batch some lists are cached and others push them out."""
    ann = await world.person()
    people = [await world.person() for _ in range(6)]
    conversations = [await world.direct(ann[0], user) for user, _ in people]
    process = await world.process()
    writing = await process.seat(*ann)
    before = [1, 1, 1, 0, 0, 0]
    for person, conversation, count in zip(people, conversations, before, strict=True):
        seat = await process.seat(*person)
        if count:
            await writing.say(conversation)
            await seat.has(conversation, [1])
        await process.node.fanout.drained()
        await process.saved()
        seat.leave()
    monkeypatch.setattr(roster_module, "MAX_ENTRIES", 2)
    ids = [writing.send(conversation, "hello") for conversation in conversations]
    for message_id in ids:
        answer = await writing.answer(message_id)
        assert isinstance(answer, frames.StatusUpdate), answer
    await process.node.fanout.drained()
    for person, conversation, count in zip(people, conversations, before, strict=True):
        await (await process.seat(*person)).has(conversation, [count + 1])


async def test_c5_a_full_cache_of_member_lists_loses_no_receipt(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    pair = await Pair.meet(world, bob_stays=True)
    carol = await world.person()
    other = await world.direct(pair.bob[0], carol[0])
    there = await world.process()
    writing = await there.seat(*carol)
    bob = pair.process.node.hub.get(*pair.bob)
    assert bob is not None
    monkeypatch.setattr(roster_module, "MAX_ENTRIES", 0)
    pair.process.node.receipts.read(bob, pair.conversation, 1)
    pair.process.node.receipts.read(bob, other, 1)
    await until(lambda: writing.told("read") == {(other, 1)}, "Carol is told")
    await until(lambda: pair.ann.told("read") == {(pair.conversation, 1)}, "Ann is told")


# -- what nobody foresaw --------------------------------------------------------------------------------------------------------


def broken(data: bytes) -> None:
    raise RuntimeError("broken")


async def test_c4_a_broken_session_costs_nobody_else_a_message(world: World) -> None:
    """Bob's socket raises when it is written to; Carol, away, is marked all the same, and Dave hears at once."""
    ann, bob, carol, dave = [await world.person() for _ in range(4)]
    group = await world.group(*[(user, 1, 0) for user, _ in (ann, bob, carol, dave)])
    process = await world.process()
    seats = [await process.seat(*person) for person in (bob, carol, dave)]
    writing = await process.seat(*ann)
    await writing.say(group)
    for seat in seats:
        await seat.has(group, [1])
    await process.node.fanout.drained()
    await process.saved()
    seats[0].screen.write = broken  # type: ignore[method-assign]
    seats[1].leave()
    await writing.say(group)
    pair = Pair(process, writing, carol, group)
    await another_batch(world, pair)
    await seats[2].has(group, [1, 2])
    await pair.bob_gets([2])


async def test_r3_a_batch_that_fails_for_any_reason_is_marked_again(world: World) -> None:
    pair = await Pair.meet(world)
    pair.process.node.roster.forget_devices(pair.bob[0])
    happened = failing(pair.process.store, "devices", RuntimeError("a bug"))
    await pair.ann.say(pair.conversation)
    await another_batch(world, pair)
    assert happened.is_set()
    await pair.bob_gets([2])


async def test_c1_an_answer_that_cannot_be_written_costs_nobody_else_the_answer(world: World) -> None:
    """Two sends of one batch: the first sender's socket raises. Both messages are stored, and both are delivered."""
    pair = await Pair.meet(world)
    dan = await world.person()
    other = await world.direct(dan[0], pair.bob[0])
    bob, seat = await pair.process.seat(*pair.bob), await pair.process.seat(*dan)
    pair.ann.screen.write = broken  # type: ignore[method-assign]
    pair.ann.send(pair.conversation, "no answer")
    answer = await seat.answer(seat.send(other, "hello"))
    assert isinstance(answer, frames.StatusUpdate), answer
    await bob.has(other, [1])
    await bob.has(pair.conversation, [2])
    assert pair.ann.session.sending == seat.session.sending == 0


async def test_c5_acks_outlive_a_write_that_fails_for_any_reason(world: World) -> None:
    pair = await Pair.meet(world)
    seat = await pair.process.seat(*pair.bob)
    happened = failing(pair.process.store, "save", RuntimeError("a bug"))
    await pair.ann.say(pair.conversation)
    await seat.has(pair.conversation, [2])

    async def written() -> bool:
        return bool(await world.log.acked(pair.bob[1]) == [2])

    await until(written, "the ack is durable")
    assert happened.is_set()
