"""Whatever people do: what an absent device shows, and its badge, are what a plain model says."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Iterator
from dataclasses import dataclass, field
from typing import Any, TypeVar

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, rule, run_state_machine_as_test

from notifications.senders.interface import Urgency
from tests.contract.cassandra import CassandraHarness
from tests.contract.harness import PostgresHarness
from tests.notifications.world import HOUR, World, world_of
from whatsapp.infra.limits import LIMITS

T = TypeVar("T")

FOR_EVER = 1 << 50
talks = st.sampled_from(["direct", "group"])


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


class Phones(RuleBasedStateMachine):
    """Ann and Cat write to Bob, who reads on his desk; his phone is absent, but for a moment now and then."""

    world: World
    runner: asyncio.Runner

    def __init__(self) -> None:
        super().__init__()
        w = self.world
        self.ann, self.cat = self.run(w.account()), self.run(w.account())
        self.phone = self.run(w.person())
        self.bob = self.phone.user
        self.talks = {
            "direct": Talk(self.run(w.direct(self.ann, self.bob))),
            "group": Talk(self.run(w.group(self.ann, self.cat, self.bob)), head=1),
        }
        self.member, self.blocked = True, False

    def run(self, call: Awaitable[T]) -> T:
        async def wait() -> T:
            return await call

        return self.runner.run(wait())

    def hidden(self, talk: Talk) -> bool:
        """Whether Bob is owed nothing of what comes now."""
        return not self.member if talk is self.talks["group"] else self.blocked

    @rule(where=talks, by_cat=st.booleans(), mentions=st.booleans())
    def say(self, where: str, by_cat: bool, mentions: bool) -> None:
        talk = self.talks[where]
        sender = self.cat if by_cat and where == "group" else self.ann
        named = [self.bob] if mentions else []
        seq = self.run(self.world.say(talk.id, sender, mentions=named))
        if not self.hidden(talk):
            talk.owed.append(Message(seq, self.world.last_id, sender, self.world.now, mentions))
            talk.head = seq

    @rule(where=talks)
    def answer(self, where: str) -> None:
        """On his desk: who answers has read."""
        talk = self.talks[where]
        if where == "direct" or self.member:
            seq = self.run(self.world.say(talk.id, self.bob))
            talk.owed.append(Message(seq, self.world.last_id, self.bob, self.world.now))
            talk.head = talk.read = seq

    @rule(where=talks, back=st.integers(0, 4))
    def read(self, where: str, back: int) -> None:
        talk = self.talks[where]
        seq = talk.head - back
        if seq > 0:
            self.run(self.world.read(self.bob, talk.id, seq))
            talk.read = max(talk.read, seq)

    @rule(where=talks, pick=st.integers(0, 3), kind=st.sampled_from(["delete", "edit"]))
    def amend(self, where: str, pick: int, kind: str) -> None:
        talk = self.talks[where]
        there = [one for one in talk.owed if not one.deleted and one.sender != self.bob]
        if there and not self.hidden(talk):
            one = there[-1 - pick % len(there)]
            seq = self.run(
                self.world.amend(talk.id, one.sender, one.id, kind, b"" if kind == "delete" else b"x")
            )
            one.deleted = kind == "delete"
            talk.head = seq

    @rule(where=talks, until=st.sampled_from([0, 0, HOUR, FOR_EVER]), archived=st.booleans())
    def set_flags(self, where: str, until: int, archived: bool) -> None:
        talk = self.talks[where]
        talk.muted_until = self.world.now + until if until else 0
        talk.archived = archived and not until
        self.run(self.world.flag(self.bob, talk.id, muted_until=talk.muted_until, archived=talk.archived))

    @rule()
    def come_or_go(self) -> None:
        group = self.talks["group"]
        change = {"leaves" if self.member else "joins": [self.bob]}
        group.head = self.run(self.world.change(group.id, **change))
        self.member = not self.member

    @rule()
    def block(self) -> None:
        if self.blocked:
            self.run(self.world.unblock(self.bob, self.ann))
        else:
            self.run(self.world.block(self.bob, self.ann))
        self.blocked = not self.blocked

    @rule(ms=st.sampled_from([1, 1_000, HOUR // 2, HOUR, 25 * HOUR]))
    def wait(self, ms: int) -> None:
        self.world.now += ms

    @rule()
    def connect(self) -> None:
        """For a moment: the app reads all there is, shows the number by itself, and takes its notifications away."""
        self.run(self.world.connect(self.phone))
        self.run(self.world.has_marker(self.phone))
        for talk in self.talks.values():
            self.run(self.world.ack(self.phone, talk.id, talk.head))
            for one in talk.owed:
                one.told = True
            talk.screen = None
        self.phone.shown.clear()
        self.phone.badge = self.badge
        self.run(self.world.disconnect(self.phone))

    @rule()
    def the_hot_node_forgets(self) -> None:
        self.run(self.world.forget(self.phone))

    @property
    def badge(self) -> int:
        return sum(talk.badge(self.world.now) for talk in self.talks.values())

    @rule()
    def settle(self) -> None:
        self.phone.new()
        self.run(self.world.settle(self.phone))
        for talk in self.talks.values():
            talk.settle(self.world.now, self.bob, self.blocked and talk is self.talks["direct"])
        wanted = sorted((talk.id, talk.screen.seq) for talk in self.talks.values() if talk.screen)
        assert self.phone.told() == wanted
        assert self.phone.badge == self.badge
        sent = [push.urgency for push in self.phone.new()]
        assert sent.count(Urgency.SILENT) <= 1
        assert sent.count(Urgency.MESSAGE) <= len(self.talks)
        self.run(self.world.settle(self.phone))
        assert self.phone.new() == [], "nothing is said twice"

    def teardown(self) -> None:
        self.settle()


@pytest.fixture(params=["postgres", pytest.param("cassandra", marks=pytest.mark.needs_cassandra)])
def machine(
    request: pytest.FixtureRequest,
    postgres_url: str,
    valkey_url: str,
    monkeypatch: pytest.MonkeyPatch,
    django_db_blocker: Any,
) -> Iterator[tuple[Any, str]]:
    harness: Any = PostgresHarness(postgres_url)
    if request.param == "cassandra":
        keyspace, node = (
            request.getfixturevalue("cassandra_keyspace"),
            request.getfixturevalue("cassandra_node"),
        )
        harness = CassandraHarness((node.host, node.port, keyspace), valkey_url)
    with django_db_blocker.unblock(), asyncio.Runner() as runner:
        runner.run(harness.__aenter__())
        opened = world_of(harness.store, postgres_url, valkey_url, monkeypatch)
        world = runner.run(opened.__aenter__())
        try:
            yield type("Machine", (Phones,), {"world": world, "runner": runner}), request.param
        finally:
            runner.run(opened.__aexit__(None, None, None))
            runner.run(harness.__aexit__(None, None, None))


def test_a_phone_shows_what_the_model_says(machine: tuple[Any, str]) -> None:
    made, name = machine
    run_state_machine_as_test(
        made,
        settings=settings(
            max_examples=4 if name == "cassandra" else 40,
            phases=[
                Phase.explicit,
                Phase.generate,
            ],  # to make an example smaller takes longer than a test may
            stateful_step_count=30,
            deadline=None,
            suppress_health_check=list(HealthCheck),
            database=None,
        ),
    )
