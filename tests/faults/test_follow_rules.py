"""Who begins to follow somebody in the very moment in which that one hides: the rights that count are the later ones."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytest

from delivery.ports import ALL, NOTHING, Shown
from tests.faults.engine import Process, Seat, World
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
