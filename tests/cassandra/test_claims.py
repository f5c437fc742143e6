"""Numbers that were given out and whose rows did not come, or came late (rules R21-R25). Each with the twin that breaks without
the rule."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from typing import Any

import pytest

from delivery.store.cassandra import append, claims, devices, judge, lock, pages, settling
from delivery.store.cassandra import hot as hot_numbers
from delivery.store.cassandra.document import Claim, Document, State
from delivery.store.cassandra.rows import BUCKET
from delivery.store.cassandra.session import Cassandra, Row, Statement
from delivery.store.cassandra.store import CassandraStore
from delivery.store.errors import Blocked
from delivery.store.interface import Appended, Outcome, PageRequest, Send, Unavailable
from tests.cassandra.hotnode import hot
from tests.contract.harness import T0, People, amendment, new_id, send, seqs
from whatsapp.infra import clock
from whatsapp.infra.hot import Hot

STORED, DUPLICATE, OUT_OF_ORDER = Outcome.STORED, Outcome.DUPLICATE, Outcome.OUT_OF_ORDER


class Faulty(Cassandra):
    """A session whose batches of events can be lost or late, and whose rows by message id can be lost. What is ``silent`` is
    written, and nobody is told."""

    def __init__(self, session: Cassandra) -> None:
        self.__dict__ = dict(session.__dict__)
        self.lose: Callable[[Statement], bool] = lambda statement: False
        self.silent: Callable[[Statement], bool] = lambda statement: False
        self.meanwhile: Callable[[], None] = lambda: None
        self.lost: list[tuple[Sequence[Statement], bool]] = []

    async def batch(self, statements: Sequence[Statement], *, logged: bool = False) -> None:
        if any(self.lose(one) for one in statements):
            self.lost.append((statements, logged))
            raise Unavailable("lost")
        await super().batch(statements, logged=logged)
        if any(is_event(one) for one in statements):
            self.meanwhile()
        if any(self.silent(one) for one in statements):
            raise Unavailable("written, but who knows")

    async def arrive(self) -> None:
        """What was lost reaches the server after all."""
        for statements, logged in self.lost:
            await super().batch(statements, logged=logged)


def is_event(statement: Statement) -> bool:
    return statement[0].startswith("INSERT INTO $.event ")


def is_message(statement: Statement) -> bool:
    return statement[0].startswith("INSERT INTO $.message ")


class Two:
    """Two gateways, one of them with a bad connection, and a clock that tests move."""

    def __init__(
        self, session: Cassandra, monkeypatch: pytest.MonkeyPatch, hots: Sequence[Hot | None] = (None, None)
    ) -> None:
        self.bad = Faulty(session)
        self.first = CassandraStore(self.bad, hot=hots[0], eager=True)
        self.other = CassandraStore(session, hot=hots[1], eager=True)
        self.documents = self.other._documents
        self.session = session
        self.now = clock.now_ms()
        monkeypatch.setattr(clock, "now_ms", lambda: self.now)

    async def meet(self) -> People:
        self.people = await People(self.other).meet()
        return self.people

    async def fails(self, *sends: Send, lose: Callable[[Statement], bool] = is_event) -> None:
        """The first gateway does not know what became of these."""
        self.bad.lose = lose
        with pytest.raises(Unavailable):
            await self.first.append(new_id(), sends, T0)
        self.bad.lose = lambda statement: False

    async def over(self, store: CassandraStore, *sends: Send) -> list[Appended]:
        return (await store.append(new_id(), sends, T0)).results

    async def document(self) -> Document:
        (found,) = (await self.documents.read([self.people.conversation])).values()
        return found

    async def page(self, after: int = 0) -> Any:
        (page,) = await self.other.pages([PageRequest(self.people.conversation, self.people.bob, after)])
        return page


@pytest.fixture(params=["durable", "copies"])
async def two(
    session: Cassandra, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> AsyncIterator[Two]:
    """With numbers from conditional writes, and from copies on a hot node."""
    async with contextlib.AsyncExitStack() as closing:
        hots: list[Hot | None] = [None, None]
        if request.param == "copies":
            hots = [await hot(request.getfixturevalue("valkey_url"), closing) for _ in range(2)]
        two = Two(session, monkeypatch, hots)
        await two.meet()
        yield two


async def test_a_retry_over_another_gateway_ends_in_the_same_place(two: Two) -> None:
    one = two.people.send(seq_num=1)
    await two.fails(one)
    two.now += 3_000  # whoever tried first is taken for dead
    (result,) = await two.over(two.other, one)
    assert (result.outcome, result.seq) == (STORED, 1)
    assert (await two.over(two.first, one))[0] == Appended(DUPLICATE, 1, T0)
    await two.bad.arrive()
    assert seqs((await two.page()).events) == [1]


# -- R23: only what was durable in time is acknowledged


async def late_is_not_acknowledged(two: Two) -> Send:
    one = two.people.send()

    def stall() -> None:
        two.now += claims.CLAIM_MS + 1

    two.bad.meanwhile = stall
    with pytest.raises(Unavailable):
        await two.first.append(new_id(), [one], T0)
    two.bad.meanwhile = lambda: None
    assert not (await two.other.stored([(one.sender, one.message_id)]))[0], (
        "a retry would be a duplicate (V18)"
    )
    return one


async def test_r23_rows_that_took_too_long_are_not_acknowledged(two: Two) -> None:
    one = await late_is_not_acknowledged(two)
    two.now += claims.SETTLE_MS
    assert (await two.over(two.other, one))[0] == Appended(DUPLICATE, 1, T0)  # it was there, after all
    assert seqs((await two.page()).events) == [1]


async def test_twin_r23_without_a_deadline_they_are(two: Two, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(append, "CLAIM_MS", 1 << 50)
    with pytest.raises(pytest.fail.Exception):
        await late_is_not_acknowledged(two)


async def deadline_is_the_numbers(two: Two) -> None:
    """V16: the second attempt has what is left of the first one's time."""
    one = two.people.send()
    await two.fails(one)
    two.now += claims.CLAIM_MS + 1
    with pytest.raises(Unavailable):
        await two.first.append(new_id(), [one], T0)


async def test_r23_the_deadline_belongs_to_the_number(two: Two) -> None:
    await deadline_is_the_numbers(two)


# -- R25: what a reader passes never fills up later


async def passed_stays_empty(two: Two) -> None:
    gone, behind = two.people.send(body=b"gone"), two.people.send(body=b"behind")
    await two.fails(gone)
    assert (await two.over(two.other, behind))[0].seq == 2
    young = await two.page()
    assert (young.events, young.through, young.head) == ([], 0, 2)
    assert young.wait_ms > 0
    two.now += claims.SETTLE_MS
    passed = await two.page()
    assert (seqs(passed.events), passed.through, passed.wait_ms) == ([2], 2, 0)
    await two.over(two.other, two.people.send(body=b"later"))
    await two.bad.arrive()
    assert seqs((await two.page()).events) == [2, 3], "what was passed has come"
    assert await two.other.find(two.people.conversation, gone.message_id) == 0
    (again,) = await two.over(two.other, gone)
    assert (again.outcome, again.seq) == (STORED, 4)
    assert seqs((await two.page(passed.through)).events) == [3, 4]


async def test_r25_an_old_hole_is_void_for_everybody_and_for_good(two: Two) -> None:
    await passed_stays_empty(two)


async def test_twin_r25_without_the_deletion_a_late_row_is_seen(
    two: Two, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = Cassandra.run

    async def without(self: Cassandra, cql: str, *params: Any) -> None:
        if cql != claims._VOID:
            await run(self, cql, *params)

    monkeypatch.setattr(Cassandra, "run", without)
    with pytest.raises(AssertionError, match="what was passed has come"):
        await passed_stays_empty(two)


async def young_hole_stops_readers(two: Two) -> None:
    slow, behind = two.people.send(body=b"slow"), two.people.send(body=b"behind")
    await two.fails(slow)
    await two.over(two.other, behind)
    position = (await two.page()).through
    two.now += 3_000
    (result,) = await two.over(two.other, slow)
    assert result.outcome is STORED
    assert seqs((await two.page(position)).events) == [1, 2], "acknowledged, and never read"


async def test_r25_a_young_hole_is_not_passed(two: Two) -> None:
    await young_hole_stops_readers(two)


async def test_twin_r25_who_passes_a_young_hole_misses_a_message(
    two: Two, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pages, "_claimed", lambda document: ([], set()))
    with pytest.raises(AssertionError, match="acknowledged, and never read"):
        await young_hole_stops_readers(two)


async def test_an_event_that_is_there_when_its_writer_is_dead_is_one_of_the_log(two: Two) -> None:
    one = two.people.send(seq_num=1)
    await two.fails(one, lose=is_message)
    two.now += claims.SETTLE_MS
    assert (await two.over(two.other, two.people.send(seq_num=2)))[0].seq == 2
    assert seqs((await two.page()).events) == [1, 2]
    assert (await two.over(two.other, one))[0] == Appended(DUPLICATE, 1, T0)


async def test_what_is_found_to_be_there_is_announced(two: Two) -> None:
    await two.fails(two.people.send(), lose=is_message)
    before = set(await two.other.outbox_writers(two.now))
    two.now += claims.SETTLE_MS
    await settling.end_claims(two.session, two.documents, two.people.conversation, two.now)
    (writer,) = set(await two.other.outbox_writers(two.now)) - before
    (row,) = await two.other.outbox(writer, "e", two.now)
    assert row.heads == ((two.people.conversation, 1),)


async def test_what_has_ended_long_ago_is_dropped_by_the_way(
    two: Two, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two people who write now and then: what the other gateway stored is a claim that nobody has dropped."""
    for store in (two.first, two.other):
        await two.over(store, two.people.send())
    applied = 0

    async def counted(self: Cassandra, cql: str, *params: Any) -> tuple[bool, Row | None]:
        nonlocal applied
        outcome = await swap(self, cql, *params)
        applied += outcome[0]
        return outcome

    swap = Cassandra.swap
    monkeypatch.setattr(Cassandra, "swap", counted)
    two.now += claims.SETTLE_MS
    assert (await two.over(two.first, two.people.send()))[0].seq == 3
    assert applied <= 1
    assert len((await two.document()).claims) <= 1


# -- R21 and the numbers of a device


async def nothing_overtakes(two: Two) -> None:
    one, following = two.people.send(seq_num=1), two.people.send(seq_num=2)
    await two.fails(one)
    with pytest.raises(Unavailable):
        await two.over(two.other, following)
    two.now += claims.SETTLE_MS  # the first one is void: its number is the next again
    results = await two.over(two.other, one, following)
    assert [(result.outcome, result.seq) for result in results] == [(STORED, 2), (STORED, 3)]


async def test_r21_what_comes_behind_an_unknown_outcome_waits_for_it(two: Two) -> None:
    await nothing_overtakes(two)


async def test_twin_r21_without_it_the_later_message_overtakes(
    two: Two, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(judge, "waits", lambda claims, device, ours: False)
    with pytest.raises(pytest.fail.Exception):
        await nothing_overtakes(two)


async def test_r21_the_earlier_message_again_lets_the_later_one_pass(two: Two) -> None:
    sends = [two.people.send(seq_num=number) for number in (1, 2)]
    await two.fails(sends[0])
    two.now += 3_000
    results = await two.over(two.other, *sends)
    assert [(result.outcome, result.seq) for result in results] == [(STORED, 1), (STORED, 2)]


async def nothing_follows_what_may_be_void(two: Two, age_ms: int) -> None:
    """Its sender comes back late, with the earlier message and with what was written since."""
    sends = [two.people.send(seq_num=number) for number in (1, 2, 3)]
    await two.fails(sends[0])
    two.now += age_ms
    with pytest.raises((Blocked, Unavailable)):
        await two.over(two.other, *sends)
    two.now += claims.SETTLE_MS - age_ms
    results = await two.over(two.other, *sends)
    assert {result.outcome for result in results} <= {STORED, DUPLICATE}
    in_order = [result.seq for result in results]
    assert in_order == sorted(in_order)
    assert seqs((await two.page()).events) == in_order


@pytest.mark.parametrize("age_ms", [5_000, claims.CLAIM_MS + 500, claims.SETTLE_MS - 200])
async def test_r21_an_earlier_message_that_comes_again_too_late_is_not_followed(
    two: Two, age_ms: int
) -> None:
    await nothing_follows_what_may_be_void(two, age_ms)


async def test_twin_r21_followed_too_late_it_comes_last(two: Two, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(judge, "FOLLOWED_MS", 1 << 50)
    monkeypatch.setattr(append, "FOLLOWED_MS", 1 << 50)
    with pytest.raises(AssertionError):
        await nothing_follows_what_may_be_void(two, claims.SETTLE_MS - 200)


async def nothing_is_left_behind(two: Two) -> None:
    """Nobody knows what became of two; the second comes again before its gateway hears that the first was refused."""
    sends = [two.people.send(seq_num=number) for number in (1, 2)]
    await two.fails(*sends)
    two.now += 3_000
    with contextlib.suppress(Unavailable):
        await two.over(two.other, sends[1])
    two.now += claims.SETTLE_MS
    await ends_in_order(two, sends)


async def ends_in_order(two: Two, sends: Sequence[Send]) -> None:
    """Sent again, all of it is told, and read in its order."""
    results = await two.over(two.other, *sends)
    assert {result.outcome for result in results} <= {STORED, DUPLICATE}
    in_order = [result.seq for result in results]
    assert in_order == sorted(in_order)
    assert seqs((await two.page()).events) == in_order


async def test_r21_a_message_that_comes_again_does_not_leave_an_earlier_one_behind(two: Two) -> None:
    await nothing_is_left_behind(two)


async def test_twin_r21_without_it_the_earlier_message_is_never_taken(
    two: Two, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(judge, "is_behind", lambda claims, claim, ours: False)
    with pytest.raises(AssertionError):
        await nothing_is_left_behind(two)


async def decided_together(two: Two) -> None:
    """The second was given its number 3.9 s after the first, which somebody looks at when it alone is old."""
    sends = [two.people.send(seq_num=number) for number in (1, 2)]
    await two.fails(sends[0])
    two.now += judge.FOLLOWED_MS - 100
    await two.fails(*sends)
    two.now += claims.SETTLE_MS - judge.FOLLOWED_MS + 200
    assert (await two.page()).events == []
    two.now += judge.FOLLOWED_MS
    assert (await two.page()).events == []
    await ends_in_order(two, sends)


async def test_r21_what_a_device_sent_in_an_order_is_decided_together(two: Two) -> None:
    await decided_together(two)


async def test_twin_r21_alone_the_number_of_the_first_does_not_go_back(
    two: Two, monkeypatch: pytest.MonkeyPatch
) -> None:
    def alone(document: Document, overdue_at: int) -> list[Claim]:
        return [one for one in document.claims if one.state is State.OPEN and one.allocated_at <= overdue_at]

    monkeypatch.setattr(claims, "_late", alone)
    with pytest.raises(AssertionError):
        await decided_together(two)


async def void_with_what_it_followed(two: Two) -> None:
    """Of a batch one replica has taken, the reads that decide find the second row alone."""
    sends = [two.people.send(seq_num=number) for number in (1, 2)]
    await two.fails(*sends)
    ((first, second), _), *_ = two.bad.lost
    two.bad.lost = [([second], False)]
    await two.bad.arrive()
    two.now += claims.SETTLE_MS
    assert (await two.page()).events == []
    two.bad.lost = [([first, second], False)]
    await two.bad.arrive()
    await ends_in_order(two, sends)


async def test_r21_what_came_behind_a_void_message_is_void(two: Two) -> None:
    await void_with_what_it_followed(two)


async def test_twin_r21_else_it_is_there_without_the_first(two: Two, monkeypatch: pytest.MonkeyPatch) -> None:
    async def all_told(session: Cassandra, message_ids: Iterable[str]) -> dict[Any, Any]:
        claimed = (await two.document()).claims
        return {one.key: (two.people.conversation, one.seq, one.at, b"", False) for one in claimed}

    monkeypatch.setattr(claims, "known", all_told)
    with pytest.raises(AssertionError):
        await void_with_what_it_followed(two)


async def test_r21_a_partition_after_the_other(two: Two) -> None:
    """The second half of a batch is not there without the first."""
    conversation = two.people.conversation

    def far(document: Any) -> None:
        document.head = document.floor = BUCKET - 3

    await two.documents.change(conversation, far, T0)
    sends = [two.people.send(seq_num=number) for number in range(1, 5)]
    await two.fails(*sends, lose=lambda one: is_event(one) and one[1][1] == 0)
    assert all(statement[1][1] == 0 for part, _ in two.bad.lost for statement in part)
    two.now += 3_000
    results = await two.over(two.other, *sends)
    assert [result.seq for result in results] == list(range(BUCKET - 2, BUCKET + 2))
    assert seqs((await two.page(BUCKET - 3)).events) == list(range(BUCKET - 2, BUCKET + 2))


async def device_is_remembered(two: Two) -> None:
    """R22: a document has room for 64 devices; of the others the last number is in a row of its own."""
    await two.over(two.other, two.people.send(seq_num=1))
    for _ in range(3):
        await two.over(two.other, *(two.people.send(device=new_id(), seq_num=1) for _ in range(30)))
    document = (await two.documents.read([two.people.conversation]))[two.people.conversation]
    assert two.people.phone not in document.lasts
    (result,) = await two.over(two.other, two.people.send(seq_num=2))
    assert (result.outcome, result.expected) == (STORED, 0)


async def test_r22_a_device_that_the_document_has_no_room_for_counts_on(two: Two) -> None:
    await device_is_remembered(two)


async def test_twin_r22_without_its_row_it_is_refused(two: Two, monkeypatch: pytest.MonkeyPatch) -> None:
    async def nothing(*_: Any) -> dict[str, int]:
        return {}

    monkeypatch.setattr(append, "numbers", nothing)
    monkeypatch.setattr(hot_numbers, "counted", nothing)
    with pytest.raises(AssertionError):
        await device_is_remembered(two)


# -- C4: a device that is linked meanwhile


async def is_owed_to_a_new_device(two: Two) -> None:
    one, tablet = two.people.send(), new_id()
    await two.over(two.other, two.people.send())
    await two.fails(one)
    await two.other.link_device(two.people.bob, tablet, T0)
    two.now += 3_000
    assert (await two.over(two.other, one))[0].outcome is STORED  # told after the link
    behind = {one.conversation: one.acked for one in await two.other.behind(two.people.bob, tablet)}
    assert behind == {two.people.conversation: 1}


async def test_c4_what_is_under_way_when_a_device_is_linked_is_owed_to_it(two: Two) -> None:
    await is_owed_to_a_new_device(two)


async def test_twin_c4_a_head_alone_is_above_it(two: Two, monkeypatch: pytest.MonkeyPatch) -> None:
    async def nothing(*_: Any) -> dict[str, int]:
        return {}

    monkeypatch.setattr(devices, "under_way", nothing)
    with pytest.raises(AssertionError):
        await is_owed_to_a_new_device(two)


# -- amendments


async def test_an_amendment_that_was_lost_is_made_once(two: Two) -> None:
    said = two.people.send(body=b"said")
    await two.over(two.other, said)
    edit = two.people.amend(said.message_id, "edit", b"edited", seq_num=1)
    await two.fails(edit)
    (one,) = (await two.page()).events
    assert one.content == b"said"
    (result,) = await two.over(two.other, edit)
    assert (result.outcome, result.seq) == (STORED, 2)
    await two.bad.arrive()
    message, event = (await two.page()).events
    assert (message.content, message.edited, event.seq) == (b"edited", True, 2)


async def test_nobody_decides_on_rows_that_are_half_changed(
    two: Two, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another amendment waits for one with an unknown outcome, and in the end it is settled."""
    monkeypatch.setattr(lock, "LOCK_WAIT_S", 0.2)
    said = two.people.send(body=b"said")
    await two.over(two.other, said)
    await two.fails(two.people.amend(said.message_id, "edit", b"one"))
    delete = amendment(two.people.conversation, two.people.alice, two.people.desk, said.message_id, "delete")
    with pytest.raises(Unavailable):
        await two.over(two.other, delete)
    two.now += claims.SETTLE_MS
    assert (await two.over(two.other, delete))[0].outcome is STORED
    (message, event) = (await two.page()).events
    assert (message.content, event.kind) == (None, "delete")


async def test_one_conversation_with_an_unknown_outcome_costs_the_others_nothing(two: Two) -> None:
    free = await two.other.ensure_direct(two.people.alice, new_id(), new_id(), T0)
    batch = [two.people.send(), send(free, two.people.alice, two.people.phone)]
    two.bad.lose = lambda one: is_event(one) and one[1][0] == two.people.conversation
    with pytest.raises(Blocked) as raised:
        await two.first.append(new_id(), batch, T0)
    assert raised.value.results == [None, Appended(STORED, 1, T0)]
    assert raised.value.row > 0
    assert not raised.value.unsure


async def test_who_writes_is_told_when_what_is_not_answered_may_be_a_duplicate(two: Two) -> None:
    """It would never be told to anybody: its outbox row is that of the others, who are answered, and its claim has ended."""
    free = await two.other.ensure_direct(two.people.alice, new_id(), new_id(), T0)
    batch = [two.people.send(), send(free, two.people.alice, two.people.phone)]
    two.bad.silent = lambda one: is_message(one) and one[1][2] == two.people.conversation
    writer = new_id()
    with pytest.raises(Blocked) as raised:
        await two.first.append(writer, batch, T0)
    assert raised.value.results == [None, Appended(STORED, 1, T0)]
    assert raised.value.unsure
    assert (await two.over(two.other, batch[0]))[0].outcome is DUPLICATE
    (row,) = await two.other.outbox(writer, "", T0)
    assert row.row == raised.value.row
    assert dict(row.heads) == {two.people.conversation: 1, free: 1}
