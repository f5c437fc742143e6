"""Who begins to follow somebody in the very moment in which that one hides: the rights that count are the later ones."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytest

from delivery.ports import ALL, NOTHING, Shown
from tests.faults.engine import HOUR_MS, Process, Seat, World
from tests.faults.moments import Held
from tests.gateway.phone import new_id
from tests.support.patience import until
from whatsapp.infra import clock
from whatsapp.infra.directory import watch_key
from whatsapp.wire import frames

Off = Callable[..., None]


class Following:
    """Ben follows Ann; what Ann shows is ``shown``."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.shown = ALL
        self.asked = 0

    async def make(self) -> Following:
        self.here: Process = await self.world.process()
        ann, ben = await self.world.person(), await self.world.person()
        self.ann: Seat = await self.here.seat(*ann)
        self.ben: Seat = await self.here.seat(*ben)
        self.presence: Any = self.here.node.presence
        self.presence._shows = self.shows
        return self

    async def shows(self, pairs: Sequence[tuple[str, str]]) -> list[Shown]:
        self.asked += 1
        return [self.shown] * len(pairs)

    async def follow(self) -> None:
        ann = self.ann.session.user
        self.presence.follow(self.ben.session, [ann], 300)
        await self.presence.answer(self.ben.session, [ann], 300)
        await self.presence._rights.drained()

    def told(self) -> list[str]:
        return [f.status for f in self.ben.screen.frames if isinstance(f, frames.Presence)]

    def hide(self) -> None:
        """Ann hides, and every process that follows her by now is told."""
        self.shown = NOTHING
        if self.world.redis.zscore(watch_key(self.ann.session.user), self.here.node.bus.process) is not None:
            self.presence.on_visibility(self.ann.session.user)

    async def changes_later(self) -> list[str]:
        """What Ben is told of a change of Ann's after all that."""
        self.ben.screen.frames.clear()
        self.presence.on_presence((self.ann.session.user, "away", None))
        return self.told()


async def test_who_hides_after_the_rights_were_read_is_hidden(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The gateway had said that changes are to come to it before it read them."""
    one = await Following(world).make()
    shows = one.shows

    async def then_hides(pairs: Sequence[tuple[str, str]]) -> list[Shown]:
        answers = await shows(pairs)
        if one.asked == 1:
            one.hide()
        return answers

    monkeypatch.setattr(one.presence, "_shows", then_hides)
    await one.follow()
    assert one.told() == ["unknown"]
    assert await one.changes_later() == []


async def hides_while_states_are_read(world: World, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    one = await Following(world).make()
    states = one.presence._states.read

    async def after_hiding(users: Sequence[str], **options: Any) -> Any:
        if one.shown is ALL:
            one.hide()
            await one.presence._rights.drained()
        return await states(users, **options)

    monkeypatch.setattr(one.presence._states, "read", after_hiding)
    await one.follow()
    return [*one.told(), *await one.changes_later()]


async def test_who_hides_while_the_states_are_read_is_hidden(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert await hides_while_states_are_read(world, monkeypatch) == ["unknown"]


async def test_twin_the_rights_of_before_are_kept(
    world: World, monkeypatch: pytest.MonkeyPatch, off: Off
) -> None:
    off("rights_again")
    assert await hides_while_states_are_read(world, monkeypatch) == ["online", "away"]


async def test_what_a_gateway_knew_before_is_not_told_after_the_user_has_gone(world: World) -> None:
    """Ann's phone loses the network on a gateway while her laptop is here; that gateway is slow to say that she is online."""
    one = await Following(world).make()
    await one.follow()
    there = await world.process()
    user, device = one.ann.session.user, new_id()
    await world.store.link_device(user, device, clock.now_ms() - HOUR_MS)
    phone = await there.seat(user, device)
    settled: list[None] = []
    one.here.node.bus.subscribe("settled", settled.append)
    slow = Held(there.node.presence._states, "read")
    there.node.sessions.closed(phone.session)
    await slow.reached()
    one.here.node.sessions.closed(one.ann.session, bye=True)
    await until(lambda: one.told() == ["online", "offline"], "she is gone")
    slow.go_on()
    await there.node.presence._changes.drained()
    there.node.bus.send(one.here.node.bus.process, "settled", None)
    await until(lambda: settled, "what was said before has come")
    await one.presence._again.drained()
    assert one.told() == ["online", "offline"]


async def test_what_was_read_before_something_older_was_told_is_read_again(world: World) -> None:
    one = await Following(world).make()
    await one.follow()
    user = one.ann.session.user
    one.here.node.sessions.closed(one.ann.session)
    await one.here.node.sessions._unregister.drained()
    await one.presence._changes.drained()
    slow = Held(one.presence._states, "read")
    one.presence.on_presence((user, "offline", None, True))
    await slow.reached()
    one.presence.on_presence((user, "away", None))
    slow.go_on()
    await one.presence._again.drained()
    assert one.told() == ["online", "away", "offline"]
