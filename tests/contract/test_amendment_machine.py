"""Any sequence of messages that stay or vanish, edits, deletes, reactions, votes, their repetitions, timers and blocks: the store
and the model answer the same, and every reader sees the same."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from typing import Any, NamedTuple

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from delivery.store.changes import NO_DEVICE
from delivery.store.values import Outcome, PageRequest, Send
from tests.contract.conftest import ALL, alone
from tests.contract.harness import PostgresHarness
from tests.contract.model import HOUR, Model, Talk
from tests.contract.people import T0, amendment, new_id, read_all, send

USERS, CONVERSATIONS = range(3), range(2)
KEEP = 30 * 24 * HOUR


class Operation(NamedTuple):
    conversation: int
    user: int
    device: int
    kind: str
    pick: int  # which message it is about
    body: bytes
    window: int
    off: int | None  # None: not counted, 0: the right number
    again: int | None  # repeat an earlier one
    lasts: int


def operation(dice: random.Random) -> Operation:
    """Hypothesis would draw the simple ones nearly always; a seed draws all alike."""
    conversation = dice.choice(CONVERSATIONS)
    return Operation(
        conversation,
        dice.choice((0, 0, 1, 1, 2) if conversation == 0 else USERS),
        dice.randrange(2),
        dice.choice(
            (
                "text",
                "poll",
                "poll",
                "edit",
                "edit",
                "delete",
                "reaction",
                "reaction",
                "reaction",
                "vote",
                "vote",
            )
        ),
        dice.randrange(5),
        dice.choice((b"a", b"b", b"c", b"d", b"")),
        dice.choice((2 * HOUR, 20 * HOUR)),
        dice.choice((None, None, 0, 0, 0, 1)),
        dice.choice((None, None, None, None, None, 0, 1, 2)),
        dice.choice((0, 0, 0, 3 * HOUR, 5 * HOUR)),
    )


class AmendmentMachine(RuleBasedStateMachine):
    """Three users; a direct conversation of two and a group of all, with an admin."""

    harness: PostgresHarness
    runner: asyncio.Runner
    outcomes: Counter[tuple[str, Any]]
    #: Whether a call may have moved what readers see since they last looked.
    moved = True

    def __init__(self) -> None:
        super().__init__()
        self.model = Model()
        self.store = self.harness.store
        self.now = T0
        self.users = [new_id() for _ in USERS]
        self.devices = [[new_id(), new_id()] for _ in USERS]
        self.sent: list[Send] = []
        self.run(self.harness.erase())
        a, b, c = self.users
        direct = self.run(self.store.ensure_direct(a, b, new_id(), T0))
        group = self.run(self.harness.group(a, b, c))
        self.run(self.harness.let_speak(group, a))
        self.talks = [direct, group]
        self.model.talks[direct] = Talk("direct", intervals={a: [(1, 0)], b: [(1, 0)]})
        self.model.talks[group] = Talk("group", intervals={u: [(1, 0)] for u in self.users}, speakers={a})
        first = [send(direct, a, new_id()), *(send(group, user, new_id()) for user in self.users)]
        self.run(self.store.append(new_id(), first, T0))
        self.model.append(first, T0)

    def run(self, call: Any) -> Any:
        async def wait() -> Any:
            return await call

        return self.runner.run(wait())

    @rule(size=st.integers(1, 16), seed=st.integers(0, 1 << 32), later=st.sampled_from([1, 1, HOUR]))
    def append(self, size: int, seed: int, later: int) -> None:
        self.moved = True
        self.now += later
        made: list[Send] = []
        counts: dict[tuple[str, str], int] = {}
        dice = random.Random(seed)
        if not dice.randrange(3):
            self.block_or_not(dice.randrange(2))
        for c, u, d, kind, pick, body, window, off, again, lasts in [
            operation(dice) for _ in range(size + 4)
        ]:
            if again is not None and again < len(self.sent):
                made.append(self.sent[-1 - again])
                continue
            conversation, user, device = self.talks[c], self.users[u], self.devices[u][d]
            seq_num = 0
            if off is not None:
                last = counts.get((device, conversation), self.model.lasts.get((device, conversation), 0))
                seq_num = counts[device, conversation] = last + 1 + off
            if kind in ("text", "poll"):
                made.append(
                    send(conversation, user, device, body=body, kind=kind, seq_num=seq_num, lasts=lasts)
                )
            else:
                target = self.target(conversation, pick, made)
                made.append(
                    amendment(
                        conversation, user, device, target, kind, body,
                        seq_num=seq_num, oldest=self.now - window, distinct=2,
                    )
                )  # fmt: skip
        answer = self.run(self.store.append(new_id(), made, self.now))
        expected = self.model.append(made, self.now)
        assert answer.results == expected
        assert bool(answer.row) == any(result.outcome is Outcome.STORED for result in expected)
        for one, result in zip(made, expected, strict=True):
            self.outcomes[one.kind, result.outcome] += 1
            self.outcomes[one.kind, "withheld"] += result.withheld
            self.outcomes[one.kind, "ends"] += result.until > 0
        self.sent += made

    def block_or_not(self, blocker: int) -> None:
        talk = self.model.talks[self.talks[0]]
        pair = (self.users[blocker], self.users[1 - blocker])
        talk.blocks ^= {pair}
        assert self.run(self.store.withhold(*pair, pair in talk.blocks, self.now)) == self.talks[0]

    def target(self, conversation: str, pick: int, made: list[Send]) -> str:
        log = [e for e in self.model.talks[conversation].log if e.kind in ("text", "poll")][-4:]
        ids = [one.message_id for one in log]
        ids += [one.message_id for one in made if one.conversation == conversation]
        return ids[-1 - pick % len(ids)] if ids and pick < 4 else new_id()

    @rule(u=st.sampled_from(USERS), now=st.integers(0, 2))
    def come_or_go(self, u: int, now: int) -> None:
        if now:
            return
        self.moved = True
        group, user = self.talks[1], self.users[u]
        talk = self.model.talks[group]
        intervals = talk.intervals[user]
        going = not intervals[-1][1]
        made = [send(group, self.users[0], self.devices[0][0], kind="info")]
        place = self.run(self.store.append(new_id(), made, self.now)).results[0].seq
        self.model.append(made, self.now)
        if going:
            self.run(self.harness.leave(group, user, place))
            intervals[-1] = (intervals[-1][0], place)
            talk.speakers.discard(user)
        else:
            self.run(self.harness.join(group, user, place))
            intervals.append((place, 0))

    @rule(c=st.sampled_from(CONVERSATIONS), u=st.sampled_from(USERS), hours=st.sampled_from([0, 1, 4]))
    def set_timer(self, c: int, u: int, hours: int) -> None:
        self.moved = True
        talk, user, message, seconds = self.talks[c], self.users[u], new_id(), hours * 3600
        answer = self.run(self.store.set_timer(new_id(), talk, user, message, seconds, b"\x80", self.now))
        expected = self.model.set_timer(talk, user, NO_DEVICE, message, seconds, b"\x80", self.now)
        assert (answer and (answer.seq, answer.withheld)) == expected
        if answer is not None:
            assert bool(answer.row) == bool(answer.seq)
            self.outcomes["timer", "withheld"] += bool(answer.seq and answer.withheld)

    @rule(later=st.sampled_from([1, HOUR, 2 * HOUR]))
    def vanish(self, later: int) -> None:
        self.moved = True
        self.now += later
        while self.run(self.store.vanish(self.now)):
            pass
        self.model.vanish(self.now)

    @rule(days=st.sampled_from([1, 1, 1, 1, 15, 31]))
    def expire(self, days: int) -> None:
        self.moved = True
        self.now += days * HOUR if days < 15 else days * 24 * HOUR
        gone = 0
        while step := self.run(self.store.expire(self.now, KEEP, 1000)):
            gone += step
        assert gone == self.model.expire(self.now - KEEP)

    @invariant()
    def every_reader_sees_the_model(self) -> None:
        """After each call but those that only read, and once more at the end."""
        if not self.moved:
            return
        self.moved = False
        readers = [(talk, user) for talk in self.talks for user in self.users]
        pages = self.run(self.store.pages([PageRequest(talk, user, 0, 1000) for talk, user in readers]))
        for (talk, user), page in zip(readers, pages, strict=True):
            assert page.events == self.model.owed(talk, user, 0)
            assert page.head == self.model.last_owed(talk, user)
        badges = self.run(self.store.badges(self.users, self.now))
        assert badges == {user: self.model.badge(user, self.now) for user in self.users}
        direct = self.talks[0]
        for user in self.users:
            found = {one.conversation: one for one in self.run(self.store.listed(user, 9))}
            if user in self.users[:2]:
                assert found[direct].head == self.model.last_owed(direct, user)
                assert found[direct].unread == self.model.unread(direct, user)
            for listed in found.values():
                assert listed.timer == self.model.timer(listed.conversation, user)

    def teardown(self) -> None:
        self.moved = True
        self.every_reader_sees_the_model()

    @rule(c=st.sampled_from(CONVERSATIONS), u=st.sampled_from(USERS), limit=st.integers(1, 4))
    def read(self, c: int, u: int, limit: int) -> None:
        talk, user = self.talks[c], self.users[u]
        owed = self.model.owed(talk, user, 0)
        assert self.run(read_all(self.store, talk, user, limit=limit)) == owed
        page = self.run(self.store.history(talk, user, 0, 1 << 40, limit))
        assert page.events == owed[-limit:]


def went_everywhere(outcomes: Counter[tuple[str, Any]]) -> bool:
    """A test that has not been where it should says nothing."""
    kinds = ("edit", "delete", "reaction", "vote")
    withheld = sum(number for (_, what), number in outcomes.items() if what == "withheld")
    ends = outcomes["poll", "ends"] and any(outcomes[kind, "ends"] for kind in kinds)
    return all(outcomes[kind, Outcome.STORED] for kind in kinds) and bool(ends) and withheld > 0


@pytest.mark.timeout(300)
@pytest.mark.parametrize("name", ALL)
def test_amendments_are_the_model(name: str, request: pytest.FixtureRequest, django_db_blocker: Any) -> None:
    outcomes: Counter[tuple[str, Any]] = Counter()
    examples = 4 if name == "cassandra" else 10  # a step asks for everything of everybody
    with asyncio.Runner() as runner, django_db_blocker.unblock():
        harness = alone(name, request)
        runner.run(harness.__aenter__())
        try:
            own = {"harness": harness, "runner": runner, "outcomes": outcomes}
            for _ in range(2 if name == "cassandra" else 12):
                run_state_machine_as_test(
                    type("Machine", (AmendmentMachine,), own),
                    settings=settings(
                        max_examples=examples,
                        stateful_step_count=25,
                        deadline=None,
                        suppress_health_check=list(HealthCheck),
                        database=None,
                    ),
                )
                if went_everywhere(outcomes):
                    break
        finally:
            runner.run(harness.__aexit__())
    # Few examples need not go everywhere: the others do, with the same model.
    assert went_everywhere(outcomes) or name == "cassandra", outcomes
