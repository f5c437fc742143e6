"""Any sequence of calls: the store and the model answer the same."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import Any, TypeVar

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from delivery.store.values import Flags, PageRequest, PositionWrite, ReceiptWrite
from tests.contract.conftest import ALL, alone
from tests.contract.harness import PostgresHarness
from tests.contract.model import HOUR, Model, Talk
from tests.contract.people import T0, amendment, new_id, send, seqs

T = TypeVar("T")

DAY = 24 * HOUR
KEEP = 30 * DAY
USERS, CONVERSATIONS, WRITERS, EPOCHS = range(3), range(4), range(2), ("e1", "e2", "e3")

users = st.sampled_from(USERS)
conversations = st.sampled_from(CONVERSATIONS)
#: (conversation, user, which of the user's two devices, message id, body, kind, how far seqNum is off, who is mentioned,
#: which message it is about, how old that may be)
sends = st.lists(
    st.tuples(
        conversations,
        users,
        st.integers(0, 1),
        st.integers(0, 30),
        st.sampled_from([b"a", b"b", b"c", b""]),
        st.sampled_from(
            ["text", "text", "text", "image", "info", "edit", "edit", "delete", "reaction", "reaction"]
        ),
        st.sampled_from([None, None, 0, 0, 0, -1, 1]),
        st.lists(users, max_size=2),
        st.integers(0, 12),
        st.sampled_from([15 * 60_000, DAY]),
    ),
    min_size=1,
    max_size=8,
)
seq = st.integers(0, 25)


class StoreMachine(RuleBasedStateMachine):
    """Three users with two devices each; three direct conversations and a group in which people come and go."""

    harness: PostgresHarness
    runner: asyncio.Runner
    #: Whether a call may have moved what devices are told since they were last looked at.
    moved = True

    def __init__(self) -> None:
        super().__init__()
        self.model = Model()
        self.store = self.harness.store
        self.now = T0
        self.users = [new_id() for _ in USERS]
        self.devices = [[new_id(), new_id()] for _ in USERS]
        self.writers = [new_id() for _ in WRITERS]
        self.message_ids: dict[int, str] = {}
        self.run(self.harness.erase())
        self.talks = [
            self.run(self.store.ensure_direct(self.users[a], self.users[b], new_id(), T0))
            for a, b in ((0, 1), (1, 2), (2, 0))
        ]
        for talk, (a, b) in zip(self.talks, ((0, 1), (1, 2), (2, 0)), strict=True):
            self.model.talks[talk] = Talk(
                "direct", intervals={self.users[a]: [(1, 0)], self.users[b]: [(1, 0)]}
            )
        self.talks.append(self.run(self.harness.group(self.users[0])))
        self.run(self.harness.let_speak(self.talks[3], self.users[0]))
        self.model.talks[self.talks[3]] = Talk(
            "group", intervals={self.users[0]: [(1, 0)]}, speakers={self.users[0]}
        )

    def run(self, call: Awaitable[T]) -> T:
        async def wait() -> T:
            return await call

        return self.runner.run(wait())

    @rule(
        batch=sends,
        writer=st.sampled_from(WRITERS),
        later=st.sampled_from([0, 1, 60_000, 11 * 60_000, 3 * HOUR]),
    )
    def append(self, batch: Any, writer: int, later: int) -> None:
        self.moved = True
        self.now += later
        made = []
        counts: dict[tuple[str, str], int] = {}
        for c, u, d, number, body, kind, off, mentions, about, window in batch:
            conversation, device = self.talks[c], self.devices[u][d]
            seq_num = 0
            # Nobody but members comes this far, and a store may look for a device's counts in their conversations alone.
            if off is not None and self.users[u] in self.model.talks[conversation].intervals:
                last = counts.get((device, conversation), self.model.lasts.get((device, conversation), 0))
                seq_num = counts[device, conversation] = max(1, last + 1 + off)
            message_id = self.message_ids.setdefault(number, new_id())
            if kind in ("edit", "delete", "reaction"):
                made.append(
                    amendment(
                        conversation, self.users[u], device, self.target(conversation, about, made), kind, body,
                        message_id=message_id, seq_num=seq_num, oldest=self.now - window, distinct=2,
                    )
                )  # fmt: skip
                continue
            made.append(
                send(
                    conversation, self.users[u], device, message_id=message_id, body=body, kind=kind, seq_num=seq_num,
                    extra=body if off == 0 else None, mentions=[self.users[one] for one in mentions],
                )
            )  # fmt: skip
        answer = self.run(self.store.append(self.writers[writer], made, self.now))
        expected = self.model.append(made, self.now)
        assert answer.results == expected
        heads: dict[str, int] = {}
        for one, result in zip(made, expected, strict=True):
            if result.outcome == 0:
                heads[one.conversation] = result.seq
        assert bool(answer.row) == bool(heads)
        if answer.row:
            self.model.outbox_rows.setdefault(self.writers[writer], []).append((answer.row, self.now, heads))

    def target(self, conversation: str, pick: int, made: list[Any]) -> str:
        """Often one of the last messages of the conversation, or one of this very batch."""
        log = self.model.talks[conversation].log[-6:]
        ids = [one.message_id for one in log] + [
            one.message_id for one in made if one.conversation == conversation
        ]
        return ids[-1 - pick] if pick < len(ids) else new_id()

    @rule(u=users, c=conversations, after=seq, limit=st.integers(1, 6), size=st.sampled_from([0, 2, 1000]))
    def page(self, u: int, c: int, after: int, limit: int, size: int) -> None:
        user, conversation = self.users[u], self.talks[c]
        (page,) = self.run(self.store.pages([PageRequest(conversation, user, after, limit, size)]))
        rows = self.model.rows(conversation, user, after)
        talk = self.model.talks[conversation]
        walked = [row for row in rows if row.seq <= page.through]
        assert page.events == [row for row in walked if row.seq not in talk.superseded]
        assert page.head == self.model.last_owed(conversation, user)
        assert page.floor == (talk.floor if user in talk.intervals else 0)
        rest = rows[len(walked) :]
        assert bool(rest) == (page.through < page.head)
        if rest:
            assert walked
            total = sum(len(row.content or b"") + len(row.extra or b"") for row in walked)
            assert (
                len(walked) == limit or total + len(rest[0].content or b"") + len(rest[0].extra or b"") > size
            )

    @rule(u=users, c=conversations, before=st.integers(1, 25), limit=st.integers(1, 6))
    def history(self, u: int, c: int, before: int, limit: int) -> None:
        page = self.run(self.store.history(self.talks[c], self.users[u], 0, before, limit))
        owed = [event for event in self.model.owed(self.talks[c], self.users[u], 0) if event.seq < before]
        assert page.events == owed[-limit:]

    @rule(u=users, c=conversations)
    def come_or_go(self, u: int, c: int) -> None:
        if c != 3:
            return
        self.moved = True
        group, user = self.talks[3], self.users[u]
        talk = self.model.talks[group]
        intervals = talk.intervals.get(user, [])
        going = bool(intervals) and not intervals[-1][1]
        kind = "member_removed" if going else "member_added"
        made = [send(group, self.users[0], self.devices[0][0], kind=kind)]
        answer = self.run(self.store.append(self.writers[0], made, self.now))
        assert answer.results == self.model.append(made, self.now)
        place = answer.results[0].seq
        self.model.outbox_rows.setdefault(self.writers[0], []).append((answer.row, self.now, {group: place}))
        if going:
            self.run(self.harness.leave(group, user, place))
            intervals[-1] = (intervals[-1][0], place)
            talk.speakers.discard(user)
        else:
            self.run(self.harness.join(group, user, place))
            talk.intervals.setdefault(user, []).append((place, 0))

    @rule(u=users, d=st.integers(0, 1), window=st.sampled_from([None, 0, 60_000, HOUR, 4 * HOUR]))
    def link(self, u: int, d: int, window: int | None) -> None:
        self.moved = True
        since = 0 if window is None else self.now - window
        self.run(self.store.link_device(self.users[u], self.devices[u][d], self.now, since))
        self.model.link(self.users[u], self.devices[u][d], since)

    @rule(u=users, d=st.integers(0, 1))
    def unlink(self, u: int, d: int) -> None:
        self.moved = True
        self.run(self.store.unlink_device(self.users[u], self.devices[u][d], self.now))
        self.model.unlink(self.devices[u][d])

    @rule(
        acks=st.lists(st.tuples(users, st.integers(0, 1), conversations, seq), max_size=4),
        marks=st.lists(st.tuples(conversations, users, seq, seq, seq), max_size=4),
    )
    def save(self, acks: Any, marks: Any) -> None:
        self.moved = True
        self.now += 1
        positions = [PositionWrite(self.devices[u][d], self.talks[c], n) for u, d, c, n in acks]
        receipts = [ReceiptWrite(self.talks[c], self.users[u], *numbers) for c, u, *numbers in marks]
        self.run(self.store.save(positions, receipts, self.now))
        self.model.save(positions, receipts, self.now)

    @rule(
        u=users,
        c=conversations,
        muted=st.sampled_from([0, 0, 1, HOUR]),
        pinned=st.booleans(),
        archived=st.sampled_from([False, False, True]),
        draft=st.sampled_from([None, b"", b"draft"]),
    )
    def set_flags(self, u: int, c: int, muted: int, pinned: bool, archived: bool, draft: Any) -> None:
        user, conversation = self.users[u], self.talks[c]
        new = Flags(self.now + muted if muted else 0, pinned, archived, draft)
        stored = self.run(self.store.set_flags(user, conversation, new, self.now))
        assert stored == self.model.set_flags(user, conversation, new, self.now)

    @rule(writer=st.sampled_from(WRITERS), epoch=st.sampled_from(EPOCHS), pick=st.integers(0, 20))
    def outbox_done(self, writer: int, epoch: str, pick: int) -> None:
        rows = self.model.outbox_rows.get(self.writers[writer], [])
        if rows:
            row = rows[pick % len(rows)][0]
            self.run(self.store.outbox_done(self.writers[writer], epoch, row, self.now))
            self.model.done(self.writers[writer], epoch, row)

    @rule(writer=st.sampled_from(WRITERS), epoch=st.sampled_from(EPOCHS))
    def outbox(self, writer: int, epoch: str) -> None:
        found = self.run(self.store.outbox(self.writers[writer], epoch, self.now))
        expected = self.model.outbox(self.writers[writer], epoch, self.now)
        heads: dict[str, int] = {}
        for row in found:
            heads.update(row.heads)
        wanted: dict[str, int] = {}
        for _, part in expected:
            wanted.update(part)
        assert heads == wanted
        # A list that had to be split leaves several rows; the answer named the last of them.
        assert {row for row, _ in expected} <= {row.row for row in found}
        assert (found[-1].row if found else 0) == (expected[-1][0] if expected else 0)

    @rule(later=st.sampled_from([0, HOUR, 20 * DAY, 31 * DAY]), limit=st.sampled_from([1, 3, 1000]))
    def expire(self, later: int, limit: int) -> None:
        self.moved = True
        self.now += later
        gone = 0
        while step := self.run(self.store.expire(self.now, KEEP, limit)):
            assert step <= limit
            gone += step
        assert gone == self.model.expire(self.now - KEEP)
        self.run(self.harness.outlive(self.now - KEEP))
        for u in USERS:
            for device in self.devices[u]:
                found = self.run(self.store.positions(self.users[u], device, self.talks))
                self.model.expired_in_steps(self.users[u], device, found)

    @rule()
    def trim(self) -> None:
        writers = {
            w for w, rows in self.model.outbox_rows.items() if rows and rows[-1][1] >= self.now - 2 * HOUR
        }
        assert set(self.run(self.store.outbox_writers(self.now))) == writers
        self.run(self.store.trim_outbox(self.now))
        for rows in self.model.outbox_rows.values():
            rows[:] = [row for row in rows if row[1] >= self.now - 2 * HOUR]

    @invariant()
    def devices_are_where_the_model_says(self) -> None:
        """After each call but those that only read, and those of flags and of the outbox, and once more at the end."""
        if not self.moved:
            return
        self.moved = False
        for u in USERS:
            user = self.users[u]
            for device in self.devices[u]:
                found = self.run(self.store.positions(user, device, self.talks))
                assert found == self.model.positions(user, device)
                behind = self.run(self.store.behind(user, device))
                assert sorted(behind) == sorted(self.model.behind(user, device))

    def teardown(self) -> None:
        self.moved = True
        self.devices_are_where_the_model_says()

    @rule(u=users, since=st.sampled_from([0, 1]))
    def listed(self, u: int, since: int) -> None:
        user = self.users[u]
        mine = sorted(c for c, talk in self.model.talks.items() if user in talk.intervals)
        found = self.run(self.store.listed(user, 10))
        assert [one.conversation for one in found] == mine
        for one in found:
            head = self.model.last_owed(one.conversation, user)
            talk = self.model.talks[one.conversation]
            assert (one.head, one.unread) == (head, self.model.unread(one.conversation, user))
            assert one.mentioned == self.model.mentioned(one.conversation, user)
            assert one.last == (talk.log[head - 1] if head > talk.floor else None)
            assert one.flags == self.model.flags.get((user, one.conversation), Flags())
        assert self.run(self.store.badges(self.users, self.now)) == {
            one: self.model.badge(one, self.now) for one in self.users
        }
        at = self.now if since else 0
        receipts = self.run(self.store.receipts([], user, at))
        assert sorted(receipts) == sorted(self.model.receipts(user, at))

    @rule(u=users, c=conversations, limit=st.integers(1, 4))
    def read_from_the_position(self, u: int, c: int, limit: int) -> None:
        """Page by page from a position: everything owed, once, in order."""
        user, conversation = self.users[u], self.talks[c]
        position = self.model.positions(user, self.devices[u][0]).get(conversation)
        after = start = position.acked if position else 0
        read: list[int] = []
        while True:
            (page,) = self.run(self.store.pages([PageRequest(conversation, user, after, limit)]))
            read += seqs(page.events)
            if page.through >= page.head:
                break
            assert page.through > after
            after = page.through
        assert read == seqs(self.model.owed(conversation, user, start))


@pytest.mark.timeout(300)
@pytest.mark.parametrize("name", ALL)
def test_the_store_is_the_model(name: str, request: pytest.FixtureRequest, django_db_blocker: Any) -> None:
    with asyncio.Runner() as runner, django_db_blocker.unblock():
        harness = alone(name, request)
        runner.run(harness.__aenter__())
        try:
            machine = type("Machine", (StoreMachine,), {"harness": harness, "runner": runner})
            run_state_machine_as_test(
                machine,
                settings=settings(
                    max_examples=4 if name == "cassandra" else 15,  # a step asks for everything of everybody
                    # There to make an example smaller takes longer than a test may, which then tells nothing.
                    phases=[Phase.explicit, Phase.generate] if name == "cassandra" else list(Phase),
                    stateful_step_count=30,
                    deadline=None,
                    suppress_health_check=list(HealthCheck),
                    database=None,
                ),
            )
        finally:
            runner.run(harness.__aexit__())
