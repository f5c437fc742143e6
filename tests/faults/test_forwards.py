"""One act of forwarding is counted over all gateways of a user; while the hot node is away, by each gateway alone."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from delivery.forwards import KEPT_MS
from delivery.sending import Forward
from tests.contract.people import send
from tests.faults.engine import Seat, World
from tests.gateway.phone import new_id
from whatsapp.infra.limits import LIMITS
from whatsapp.wire import frames


class Forwarder:
    """A user with a device at each of two gateways, and direct conversations."""

    def __init__(self, seats: Sequence[Seat], talks: Sequence[str]) -> None:
        self.seats = seats
        self.talks = talks

    @classmethod
    async def meet(cls, world: World, talks: int) -> Forwarder:
        (user, phone), laptop = await world.person(), new_id()
        await world.store.link_device(user, laptop, 1)
        seats = [await (await world.process()).seat(user, device, sync=False) for device in (phone, laptop)]
        return cls(seats, [await world.direct(user, new_id()) for _ in range(talks)])

    async def forward(self, at: int, talk: str, act: str, times: int = 1, message_id: str = "") -> str:
        """The status or the error."""
        seat = self.seats[at]
        user, device = seat.session.user, seat.session.device
        one = send(talk, user, device, message_id=message_id or new_id())
        answers = len(self.answers(seat, one.message_id))
        seat.node.log.submit(seat.session, one, "", 0.0, forward=Forward(user, act, talk, times))
        answer = await seat.answer(one.message_id, answers + 1)
        return answer.code if isinstance(answer, frames.Error) else answer.status

    def answers(self, seat: Seat, message_id: str) -> list[Any]:
        return [f for f in seat.screen.frames if getattr(f, "message_id", None) == message_id]


async def five_of_eight(world: World) -> None:
    ann = await Forwarder.meet(world, 8)
    for times, most in ((1, LIMITS.forward_chats), (5, LIMITS.forward_many_chats)):
        act = new_id()
        told = await asyncio.gather(
            *[ann.forward(n % 2, talk, act, times) for n, talk in enumerate(ann.talks)]
        )
        assert sorted(told) == ["limit_exceeded"] * (8 - most) + ["sent"] * most
        # What went there before is free, over either gateway; another act begins anew.
        for at in (0, 1):
            for talk, before in zip(ann.talks, told, strict=True):
                assert await ann.forward(at, talk, act, times) == before
        assert await ann.forward(0, ann.talks[-1], new_id(), times) == "sent"


async def test_an_act_is_counted_over_gateways_at_once(world: World) -> None:
    await five_of_eight(world)
    (ends,) = {world.redis.pttl(key) > KEPT_MS - 600_000 for key in world.redis.scan_iter("*:forward:*")}
    assert ends


async def test_twin_each_gateway_counts_alone(world: World, off: Callable[..., None]) -> None:
    off("forwards")
    with pytest.raises(AssertionError):
        await five_of_eight(world)


async def test_without_the_hot_node_each_gateway_counts_alone(world: World) -> None:
    """It must not stop messages, and not let everything through."""
    ann = await Forwarder.meet(world, 8)
    act = new_id()
    for talk in ann.talks[:2]:
        assert await ann.forward(0, talk, act) == "sent"
    for seat in ann.seats:
        seat.node.bus.hot.commands.drop()
        await seat.node.bus.hot.commands.stop()
    told = [await ann.forward(0, talk, act) for talk in ann.talks]
    assert told == ["sent"] * 5 + ["limit_exceeded"] * 3


async def test_who_forwards_nothing_asks_nothing(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    ann = await Forwarder.meet(world, 2)
    asked: list[Any] = []
    seat = ann.seats[0]
    script = seat.node.log._forwards._script
    run = seat.node.bus.hot.run

    async def seen(commands: Any) -> Any:
        asked.extend(command for command in commands if command[:2] == ("EVALSHA", script.sha))
        return await run(commands)

    monkeypatch.setattr(seat.node.bus.hot, "run", seen)
    for _ in range(3):
        await seat.say(ann.talks[0])
    assert asked == []
    assert await ann.forward(0, ann.talks[0], new_id()) == "sent"
    assert len(asked) == 1
