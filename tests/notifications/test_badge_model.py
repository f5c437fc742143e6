"""Whatever people do: what an absent device shows, and its badge, are what a plain model says. Each history is another one, and
the same each time: drawn by weight, for most acts say something only after a message that nobody has read."""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

import pytest

from notifications.senders.interface import Urgency
from tests.notifications.world import HOUR, World
from whatsapp.infra.limits import LIMITS

FOR_EVER = 1 << 50
STEPS = 150


@dataclass
class Message:
    seq: int
    id: str
    sender: str
    at: int
    mentions: bool = False  # Bob
    deleted: bool = False
    told: bool = False  # or acknowledged: nothing to tell of


@dataclass
class Talk:
    """As Bob has it."""

    id: str
    owed: list[Message] = field(default_factory=list)  # to Bob
    head: int = 0  # last seq owed to him
    read: int = 0
    muted_until: int = 0
    archived: bool = False
    screen: Message | None = None  # what his phone shows

    def quiet(self, now: int) -> bool:
        return self.archived or self.muted_until > now

    def badge(self, now: int) -> int:
        unread = [one for one in self.owed if one.seq > self.read]
        if self.quiet(now):
            return sum(one.mentions and not one.deleted for one in unread)
        return len(unread)

    def settle(self, now: int, bob: str, blocked: bool) -> None:
        oldest = max(now - LIMITS.push_oldest_ms, self.muted_until if self.muted_until <= now else 0)
        heard = [
            one
            for one in self.owed
            if not one.told
            and not one.deleted
            and one.seq > self.read
            and one.sender != bob
            and one.at >= oldest
            and (one.mentions or not self.quiet(now))
            and not blocked
        ]
        if heard:
            self.screen = heard[-1]
            for one in self.owed:
                one.told = True
        elif self.screen is not None and (self.screen.deleted or self.screen.seq <= self.read):
            self.screen = None


class Story:
    """Ann and Cat write to Bob, who reads on his desk; his phone is absent, but for a moment now and then."""

    def __init__(self, world: World, seed: int) -> None:
        self.world = world
        self.chance = random.Random(seed)
        self.talks: list[Talk] = []
        self.member, self.blocked = True, False
        self.seen: set[str] = set()  # what the story was about

    async def begin(self) -> Story:
        w = self.world
        self.ann, self.cat = await w.account(), await w.account()
        self.phone = await w.person()
        self.bob = self.phone.user
        self.direct = Talk(await w.direct(self.ann, self.bob))
        self.group = Talk(await w.group(self.ann, self.cat, self.bob), head=1)
        self.talks = [self.direct, self.group]
        return self

    async def go_on(self) -> None:
        acts: list[tuple[Callable[[Talk], Awaitable[None]], int]] = [
            (self.say, 10), (self.answer, 1), (self.read, 3), (self.amend, 4), (self.set_flags, 4),
            (self.come_or_go, 1), (self.block, 2), (self.wait, 2), (self.connect, 1), (self.the_hot_node_forgets, 1),
        ]  # fmt: skip
        (act,) = self.chance.choices([act for act, _ in acts], [weight for _, weight in acts])
        await act(self.chance.choice(self.talks))
        if self.chance.random() < 0.5:
            await self.look()

    def hidden(self, talk: Talk) -> bool:
        """Whether Bob is owed nothing of what comes now."""
        return self.blocked if talk is self.direct else not self.member

    async def say(self, talk: Talk) -> None:
        sender = self.chance.choice([self.ann, self.cat]) if talk is self.group else self.ann
        mentions = self.chance.random() < 0.3
        seq = await self.world.say(talk.id, sender, mentions=[self.bob] if mentions else [])
        if not self.hidden(talk):
            talk.owed.append(Message(seq, self.world.last_id, sender, self.world.now, mentions))
            talk.head = seq

    async def answer(self, talk: Talk) -> None:
        """On his desk: who answers has read."""
        if talk is self.direct or self.member:
            seq = await self.world.say(talk.id, self.bob)
            talk.owed.append(Message(seq, self.world.last_id, self.bob, self.world.now))
            talk.head = talk.read = seq

    async def read(self, talk: Talk) -> None:
        seq = talk.head - self.chance.choice([0, 0, 1, 3])
        if seq > 0:
            await self.world.read(self.bob, talk.id, seq)
            talk.read = max(talk.read, seq)

    async def amend(self, talk: Talk) -> None:
        there = [one for one in talk.owed if not one.deleted and one.sender != self.bob]
        if there and not self.hidden(talk):
            one = self.chance.choice(there[-3:])
            kind = self.chance.choice(["delete", "edit"])
            talk.head = await self.world.amend(talk.id, one.sender, one.id, kind, b"x" * (kind == "edit"))
            one.deleted = kind == "delete"

    async def set_flags(self, talk: Talk) -> None:
        for_ms = self.chance.choice([0, 0, 0, HOUR, HOUR, FOR_EVER])
        talk.muted_until = for_ms and self.world.now + for_ms
        talk.archived = not for_ms and self.chance.random() < 0.3
        await self.world.flag(self.bob, talk.id, muted_until=talk.muted_until, archived=talk.archived)

    async def come_or_go(self, talk: Talk) -> None:
        joins, leaves = ([], [self.bob]) if self.member else ([self.bob], [])
        self.group.head = await self.world.change(self.group.id, joins, leaves)
        self.member = not self.member

    async def block(self, talk: Talk) -> None:
        act = self.world.unblock if self.blocked else self.world.block
        await act(self.bob, self.ann)
        self.blocked = not self.blocked

    async def wait(self, talk: Talk) -> None:
        self.world.now += self.chance.choice([1, 1_000, HOUR // 2, HOUR, HOUR, 25 * HOUR])

    async def connect(self, talk: Talk) -> None:
        """For a moment: the app reads all there is, shows the number by itself, and takes its notifications away."""
        await self.world.connect(self.phone)
        await self.world.has_marker(self.phone)
        await self.world.connect(self.phone)
        for one in self.talks:
            await self.world.ack(self.phone, one.id, one.head)
            for message in one.owed:
                message.told = True
            one.screen = None
        self.phone.shown.clear()
        self.phone.badge = self.badge
        await self.world.disconnect(self.phone)

    async def the_hot_node_forgets(self, talk: Talk) -> None:
        await self.world.forget(self.phone)

    @property
    def badge(self) -> int:
        return sum(talk.badge(self.world.now) for talk in self.talks)

    async def look(self) -> None:
        self.phone.new()
        await self.world.settle(self.phone)
        for talk in self.talks:
            talk.settle(self.world.now, self.bob, self.blocked and talk is self.direct)
        assert self.phone.told() == sorted((talk.id, talk.screen.seq) for talk in self.talks if talk.screen)
        assert self.phone.badge == self.badge
        sent = [push.urgency for push in self.phone.new()]
        assert sent.count(Urgency.SILENT) <= 1
        assert sent.count(Urgency.MESSAGE) <= len(self.talks)
        self.seen |= {one.value for one in sent}
        await self.world.settle(self.phone)
        assert self.phone.new() == [], "nothing is said twice"


@pytest.fixture
def world(each_world: World) -> World:
    return each_world


@pytest.mark.parametrize("seed", range(4))
async def test_a_phone_shows_what_the_model_says(world: World, seed: int) -> None:
    story = await Story(world, seed).begin()
    for _ in range(STEPS):
        await story.go_on()
    await story.look()
    assert story.seen == {"message", "silent"}
