"""Triggers: when they fire, what follows, and whom they leave alone. On real PostgreSQL and Valkey."""

from __future__ import annotations

import asyncio
import random
import threading
import time
import uuid
from collections.abc import Callable, Collection, Sequence
from types import SimpleNamespace
from typing import Any

import pytest
from django.core.exceptions import ImproperlyConfigured
from django.db import connections

from accounts.abuse import buckets, counted
from accounts.abuse.counter import Counter
from accounts.abuse.triggers import table
from accounts.limits import DAY_MS, HOUR_MS
from accounts.models import Account, Case, Report, Sanction
from accounts.services import abuse, sanctions
from delivery.models import Head, Member
from tests.accounts.conftest import Person, parallel, sign_in
from whatsapp.infra import hot_sync
from whatsapp.infra.clock import now_ms

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("valkey_server", "nobody_waits")]

Clock = Callable[[int], None]


@pytest.fixture
def nobody_waits(monkeypatch: pytest.MonkeyPatch, settings: Any) -> None:
    """No candidates of other tests, and no memory of a Valkey that was away."""
    monkeypatch.setattr(counted, "_failed_at", float("-inf"))
    with hot_sync.client(settings.HOT_URL) as hot:
        hot.delete(buckets.CANDIDATES)


def old(person: Person, days: float = 30) -> Person:
    """As if registered so long ago: thresholds are what the table says."""
    Account.objects.filter(pk=person.user_id).update(created_at=now_ms() - int(days * DAY_MS))
    return person


def seen(
    person: Person, *, at: int = 0, sets: dict[str, Collection[str]] | None = None, **numbers: int
) -> None:
    """What a gateway writes down of somebody."""
    at = at or abuse.now_ms()
    asked = list(buckets.adding(person.user_id, numbers, sets or {}, table(), at))
    answers = counted._run([command for command, _ in asked])
    assert answers is not None
    if buckets.reaches_a_mark(asked, answers, table()):
        counted._run([("SADD", buckets.CANDIDATES, person.user_id)])


def ids(number: int) -> list[str]:
    return [str(uuid.uuid4()) for _ in range(number)]


def history(person: Person) -> list[tuple[str, str]]:
    """What was imposed, the first one first: (trigger, kind)."""
    found = Sanction.objects.filter(account=person.user_id).order_by("imposed_at", "pk")
    return list(found.values_list("reason", "kind"))


def reporter(*, days: float = 30, peers: int = 3) -> uuid.UUID:
    """Somebody whose word counts, unless it is a young account or talks with fewer people."""
    made = Account.objects.create(
        phone=f"+1555{random.randrange(10**10):010}", created_at=now_ms() - int(days * DAY_MS)
    )
    for _ in range(peers):
        conversation = uuid.uuid4()
        Head.objects.create(conversation=conversation, created_at=1, kind="direct")
        for member in (made.pk, uuid.uuid4()):
            Member.objects.create(conversation=conversation, member=member, joined_seq=0)
    found: uuid.UUID = made.pk
    return found


def report(person: Person, reporters: int, by: Sequence[uuid.UUID] = (), **fields: Any) -> None:
    for one in by or [reporter() for _ in range(reporters)]:
        given = {"kind": "user", "category": "spam", "created_at": abuse.now_ms(), "counts": True, **fields}
        Report.objects.create(reporter=one, reported=person.user_id, **given)


# -- when each fires --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "kind", "below", "above"),
    [
        ("messages", "slow_down", {"messages": 999}, {"messages": 1}),
        ("adds", "limit", {"adds": 499}, {"adds": 1}),
        ("recipients", "slow_down", {"sets": {"recipients": 190}}, {"sets": {"recipients": 20}}),
        (
            "strangers_hour",
            "slow_down",
            {"sets": {"strangers": 29, "replies": 5}},
            {"sets": {"strangers": 12}},
        ),
        ("forwards", "slow_down", {"sets": {"forwards": 17}}, {"sets": {"forwards": 6}}),
    ],
)
def test_a_threshold(name: str, kind: str, below: dict[str, Any], above: dict[str, Any]) -> None:
    """What is counted once each is an estimate: these are some above, and some below."""
    ann = old(sign_in())
    for step, expected in ((below, []), (above, [(name, kind)])):
        sets = {signal: ids(number) for signal, number in step.get("sets", {}).items()}
        seen(ann, sets=sets, **{key: value for key, value in step.items() if key != "sets"})
        abuse.judge()
        assert history(ann) == expected
    (sanction,) = Sanction.objects.filter(account=ann.user_id)
    assert sanction.imposed_by == "automatic"
    assert sanction.evidence["step"] == sanction.step
    assert sanction.evidence["threshold"] > 0


def test_strangers_of_a_day_are_limited_and_those_who_answered_are_none() -> None:
    ann, bob = old(sign_in()), old(sign_in())
    hour_ago = now_ms() - 3 * HOUR_MS
    if now_ms() % DAY_MS < 4 * HOUR_MS:
        hour_ago = now_ms()  # a new day has just begun in UTC: all of it within this one
    for person, replies in ((ann, 20), (bob, 0)):
        seen(person, at=hour_ago, sets={"strangers": ids(60), "replies": ids(replies)})
    abuse.judge()
    # 60 strangers of each, of ann's 20 have answered: 40 are left, and 50 are too many. Both are far from it: what is counted
    # once each is an estimate, of 60 often 59.
    assert history(bob)[0] == ("strangers_day", "limit")
    assert history(ann) == ([] if hour_ago < now_ms() - 2 * HOUR_MS else [("strangers_hour", "slow_down")])


def test_nobody_answers() -> None:
    ann, bob = old(sign_in()), old(sign_in())
    seen(ann, sets={"strangers": ids(29)})
    seen(bob, sets={"strangers": ids(35), "replies": ids(6)})
    abuse.judge()
    assert (history(ann), history(bob)) == ([], [])
    seen(ann, sets={"strangers": ids(6)})
    abuse.judge()
    assert history(ann) == [("unanswered", "limit")]


def test_friends_who_report_somebody_by_arrangement_are_no_crowd() -> None:
    """Who was made for it, talks with nobody, was sanctioned or was always wrong: each counts less, and eight of each are not
    enough where five are that nobody doubts."""
    sanctioned = [reporter() for _ in range(8)]
    for one in sanctioned:
        sanctions.impose(
            account_id=one, kind="slow_down", reason="spam", evidence={}, until=now_ms() + DAY_MS, by="mod"
        )
    wrong = [reporter() for _ in range(8)]
    for one in wrong:
        case = Case.objects.create(
            subject_kind="user", subject=uuid.uuid4(), category="spam", opened_at=1, due_at=2, state="closed",
            outcome="dismissed", closed_at=now_ms(),
        )  # fmt: skip
        for _ in range(3):
            Report.objects.create(
                reporter=one, reported=uuid.uuid4(), kind="user", category="spam", created_at=now_ms() - DAY_MS, case=case
            )  # fmt: skip
    for doubted in (
        [reporter(days=1) for _ in range(8)],
        [reporter(peers=1) for _ in range(8)],
        sanctioned,
        wrong,
        [uuid.uuid4() for _ in range(8)],  # left since
    ):
        ann = old(sign_in())
        seen(ann, sets={"recipients": ids(20)})
        report(ann, 8, by=doubted)
        abuse.judge()
        assert history(ann) == []
    report(ann, 5)
    abuse.judge()
    assert history(ann) == [("reports", "limit")]


def test_reports_in_relation_to_recipients() -> None:
    ann, bob, cid = old(sign_in()), old(sign_in()), old(sign_in())
    seen(ann, sets={"recipients": ids(80)})
    seen(bob, sets={"recipients": ids(150)})  # five of so many is nothing unusual
    for person in (ann, bob):
        report(person, 5)
    report(cid, 4)
    report(cid, 3, counts=False)  # the same person again, or forged
    report(cid, 3, created_at=now_ms() - DAY_MS - 1)
    abuse.judge()
    assert history(ann) == [("reports", "limit")]
    assert history(bob) == []
    assert history(cid) == []
    abuse.judge()
    assert len(history(ann)) == 1  # these reports count once
    report(ann, 5)
    abuse.judge()
    assert history(ann)[1:] == [("reports", "suspension")]


def test_who_chats_a_lot_with_those_who_know_him_triggers_nothing() -> None:
    ann = old(sign_in())
    groups = ids(30)
    for _ in range(12):
        seen(ann, sets={"recipients": groups}, messages=75)
    abuse.judge()
    assert history(ann) == []


@pytest.mark.parametrize(
    ("days", "class_", "messages", "fires"),
    [
        (1, "", 500, True), (1, "", 499, False), (30, "", 1_000, True), (400, "", 1_499, False), (400, "", 1_500, True),
        (30, "business", 9_999, False), (30, "business", 10_000, True), (1, "business", 4_999, False),
    ],
)  # fmt: skip
def test_thresholds_depend_on_who_it_is(days: float, class_: str, messages: int, fires: bool) -> None:
    ann = old(sign_in(), days)
    Account.objects.filter(pk=ann.user_id).update(limit_class=class_)
    seen(ann, messages=messages)
    abuse.judge()
    assert bool(history(ann)) is fires
    if class_ and fires:
        # Slowed, it is still a business.
        account = Account.objects.get(pk=ann.user_id)
        assert account.limit_class == "slowed"
        assert abuse.factor_of(account, now_ms()) == 10


# -- the ladder -------------------------------------------------------------------------------------------------------------


def test_the_ladder_and_a_person_at_its_end(clock: Clock) -> None:
    ann = old(sign_in())
    expected = [
        ("slow_down", HOUR_MS), ("limit", DAY_MS), ("suspension", DAY_MS), ("suspension", 7 * DAY_MS),
        ("suspension", 7 * DAY_MS), ("suspension", 7 * DAY_MS),
    ]  # fmt: skip
    for number, (kind, ms) in enumerate(expected):
        seen(ann, messages=1_000)
        assert abuse.judge() == 1
        assert abuse.judge() == 0  # the same thousand counts once
        sanction = Sanction.objects.filter(account=ann.user_id).latest("imposed_at")
        assert (sanction.kind, sanction.step) == (kind, min(number, 4))
        assert abs(sanction.until - sanction.imposed_at - ms) < 5_000
        cases = list(Case.objects.filter(subject=ann.user_id))
        assert len(cases) == (number >= 4)  # nothing permanent by itself
        if cases:
            assert sanction.evidence["case"] == str(cases[0].pk)
        assert not Sanction.objects.filter(account=ann.user_id, kind="permanent").exists()
        # While banned nobody is judged; what was counted before does not wait for it.
        if kind == "suspension":
            seen(ann, messages=1_000)
            assert abuse.judge() == 0
        clock(ms + 1)
        clock(DAY_MS * (ms < DAY_MS))
        sanctions.end_due(now=abuse.now_ms())


def test_what_is_long_ago_or_was_taken_back_is_no_step(clock: Clock) -> None:
    ann, bob = old(sign_in()), old(sign_in())
    for person in (ann, bob):
        seen(person, messages=1_000)
    assert abuse.judge() == 2
    sanctions.lift(sanction=Sanction.objects.get(account=bob.user_id), by="mod", reason="mistake")
    seen(bob, messages=1_000)
    abuse.judge()
    assert [kind for _, kind in history(bob)] == ["slow_down", "slow_down"]
    clock(31 * DAY_MS)
    seen(ann, messages=1_000)
    abuse.judge()
    assert [kind for _, kind in history(ann)] == ["slow_down", "slow_down"]


@pytest.mark.django_db(transaction=True)
def test_two_beats_do_it_once() -> None:
    people = [old(sign_in()) for _ in range(3)]
    for person in people:
        seen(person, messages=1_500)
        report(person, 6)  # named to both, whoever takes the candidates
    parallel(4, abuse.judge)
    assert [len(history(person)) for person in people] == [1, 1, 1]


@pytest.mark.django_db(transaction=True)
def test_a_beat_that_read_while_another_was_at_it_does_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """The second one has read what the first one is about to forget, and was told of no sanction yet."""
    ann = old(sign_in())
    seen(ann, messages=1_500)
    read, forget = counted.read, counted.forget
    first, has_read = threading.current_thread(), threading.Event()
    others: list[threading.Thread] = []

    def second() -> None:
        try:
            abuse.judge()
        finally:
            connections.close_all()

    def reading(users: Sequence[str], now: int) -> Any:
        found = read(users, now)
        if threading.current_thread() is not first:
            has_read.set()
        return found

    def forgetting(user: str, now: int) -> bool:
        if threading.current_thread() is first and not others:
            counted._run([("SADD", buckets.CANDIDATES, user)])  # it has written again
            others.append(threading.Thread(target=second))
            others[0].start()
            assert has_read.wait(30)
        return forget(user, now)

    monkeypatch.setattr(counted, "read", reading)
    monkeypatch.setattr(counted, "forget", forgetting)
    assert abuse.judge() == 1
    others[0].join(30)
    assert history(ann) == [("messages", "slow_down")]


class Written:
    """Valkey, as a gateway writes to it."""

    async def run_each(self, commands: Sequence[buckets.Command]) -> list[Any]:
        answers = counted._run(commands)
        assert answers is not None
        return answers


def test_one_who_answers_a_lot_is_one() -> None:
    """All that an accomplice sends at once answers by the same list of members: it must not weigh up strangers."""
    ann, bob = str(uuid.uuid4()), str(uuid.uuid4())
    request = SimpleNamespace(unaccepted=frozenset((bob,)), current=frozenset((ann, bob)))
    hot: Any = Written()

    async def gateway() -> None:
        counter = Counter(hot)
        for conversation in ids(2):
            send = SimpleNamespace(sender=bob, conversation=conversation, answers=True)
            sending: Any = SimpleNamespace(send=send, request=request, forward=None)
            for _ in range(60):
                counter.noted(sending)
            await counter.flush()

    asyncio.run(gateway())
    (found,) = (counted.read([ann], now_ms()) or {}).values()
    assert (found["replies", 1], found["replies", 24]) == (2, 2)


# -- Valkey -----------------------------------------------------------------------------------------------------------------


def test_without_valkey_nobody_is_sanctioned_and_nothing_fails(
    settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    ann = old(sign_in())
    report(ann, 20)
    settings.HOT_URL = "redis://127.0.0.1:1/0"
    assert abuse.judge() == 0
    began = time.monotonic()
    for _ in range(50):
        counted._add(ann.user_id, 1_000)
    assert time.monotonic() - began < 30
    assert history(ann) == []


def test_keys_end_by_themselves_and_are_all_known(settings: Any) -> None:
    ann = sign_in()
    sets = {"recipients": ids(3), "strangers": ids(3), "replies": ids(3), "forwards": ids(3)}
    now = now_ms()
    seen(ann, at=now, sets=sets, messages=3, adds=3)
    seen(ann, at=now - HOUR_MS, sets=sets, messages=3)
    with hot_sync.client(settings.HOT_URL, decode_responses=True) as hot:
        there = set(hot.scan_iter(f"{{{ann.user_id}}}:abuse:*"))
        assert there
        assert there <= set(buckets.keys(ann.user_id, table(), now))
        assert all(0 < hot.pttl(name) <= 48 * HOUR_MS for name in there)
        assert counted.forget(ann.user_id, now)
        assert not set(hot.scan_iter(f"{{{ann.user_id}}}:abuse:*"))


@pytest.mark.parametrize("seed", range(10))
def test_the_last_hour_is_about_right_and_never_below_this_bucket(seed: int) -> None:
    """Against every single event: no border of a bucket doubles a count."""
    rng = random.Random(seed)
    user, base = str(uuid.uuid4()), now_ms() // HOUR_MS * HOUR_MS + HOUR_MS
    now = base + rng.randrange(HOUR_MS)
    events = [rng.randrange(base - HOUR_MS, now) for _ in range(300)]
    people = [str(rng.randrange(60)) for _ in events]
    for at, to in zip(events, people, strict=True):
        asked = list(buckets.adding(user, {"messages": 1}, {"recipients": [to]}, table(), at))
        assert counted._run([command for command, _ in asked]) is not None
    found = (counted.read([user], now) or {})[user]
    here = sum(at >= base for at in events)
    before = len(events) - here
    assert found["messages", 1] == pytest.approx(here + before * (1 - (now - base) / HOUR_MS))
    exact = sum(at > now - HOUR_MS for at in events)
    assert abs(found["messages", 1] - exact) <= 60  # random, not steady
    assert found["recipients", 1] <= len(set(people)) * 1.05 + 1


# -- settings ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "wrong",
    [
        {"signal": "moods", "hours": 1, "threshold": 1, "first": 0},
        {"signal": "messages", "hours": 2, "threshold": 1, "first": 0},
        {"signal": "messages", "hours": 1, "threshold": 0, "first": 0},
        {"signal": "messages", "hours": 1, "threshold": 1, "first": 9},
        {"signal": "reports", "hours": 1, "threshold": 1, "first": 0},
        {"signal": "messages", "hours": 1, "threshold": 1, "first": 0, "share": 2},
        {"signal": "messages", "hours": 1, "threshold": 1},
        {"signal": "messages", "hours": 1, "threshold": 1, "first": 0, "colour": 1},
    ],
    ids=str,
)
def test_a_trigger_that_is_none(settings: Any, wrong: dict[str, Any]) -> None:
    settings.ABUSE_TRIGGERS = {"mine": wrong}
    with pytest.raises(ImproperlyConfigured, match="mine"):
        table()


def test_it_can_be_switched_off(settings: Any) -> None:
    ann = old(sign_in())
    seen(ann, messages=5_000)
    settings.ABUSE = False
    assert abuse.judge() == 0
    assert history(ann) == []
