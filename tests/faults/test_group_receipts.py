"""Receipts in groups: each to each up to 32 members, counts to the sender above (C5)."""

from __future__ import annotations

import pytest

from delivery import counts as counts_module
from delivery import receipts as receipts_module
from tests.faults.engine import Seat, World
from tests.faults.rig import stays
from tests.faults.test_lanes import Room
from tests.support.patience import until
from whatsapp.wire import frames


def counts(seat: Seat) -> list[tuple[int | None, int, int]]:
    return [
        (f.up_to, f.counts.delivered, f.counts.read)
        for f in seat.screen.frames
        if isinstance(f, frames.StatusUpdate) and f.counts is not None
    ]


def receipts(seat: Seat) -> set[tuple[str | None, str, int | None]]:
    return {
        (f.user_id, f.status, f.up_to)
        for f in seat.screen.frames
        if isinstance(f, frames.StatusUpdate) and f.counts is None and f.status in ("delivered", "read")
    }


async def test_in_a_small_group_each_is_told_of_each(world: World) -> None:
    room = await Room(world).open()
    await room.ann.say(room.conversation)
    ben, cat = room.people[1][0], room.people[2][0]
    await until(
        lambda: {(ben, "delivered", 2), (cat, "delivered", 2)} <= receipts(room.ann), "Ann hears of both"
    )
    await until(lambda: (cat, "delivered", 2) in receipts(room.ben), "Ben hears of Cat")
    assert counts(room.ann) == []


async def test_in_a_large_group_the_sender_is_told_counts(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A group of three stands for one of more than 32."""
    for module in (counts_module, receipts_module):
        monkeypatch.setattr(module, "RECEIPTS_EACH", 2)
    monkeypatch.setattr(counts_module, "EVERY_S", 0.1)
    room = await Room(world).open()
    before = receipts(room.ann)  # of what was said before
    await room.ann.say(room.conversation)
    await until(lambda: (2, 2, 0) in counts(room.ann), "both have it")
    room.there.node.receipts.read(room.cat.session, room.conversation, 2)
    await until(lambda: counts(room.ann)[-1] == (2, 2, 1), "one has read it")
    await stays(lambda: receipts(room.ann) == before, "Ann is told who", 0.3)
    assert counts(room.ben) == [], "it is nobody else's business"


async def test_nobody_asks_when_everybody_has_read_it(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (counts_module, receipts_module):
        monkeypatch.setattr(module, "RECEIPTS_EACH", 2)
    monkeypatch.setattr(counts_module, "EVERY_S", 0.1)
    room = await Room(world).open()
    await room.ann.say(room.conversation)
    for process, seat in ((room.here, room.ben), (room.there, room.cat)):
        process.node.receipts.read(seat.session, room.conversation, 2)
    await until(lambda: counts(room.ann)[-1:] == [(2, 2, 2)], "both have read it")
    await until(lambda: room.here.node.counts._task is None, "nothing is followed any more")
