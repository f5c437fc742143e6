"""Sanctions: what they do, that the strictest of several counts, and that each can be taken back; against a model."""

from __future__ import annotations

import random
import uuid
from collections.abc import Callable
from typing import Any

import pytest

from accounts import appeals
from accounts.errors import Refused
from accounts.limits import DAY_MS, HOUR_MS
from accounts.models import Account, Sanction
from accounts.services import sanctions
from accounts.services.sanctions import FOREVER, Kind
from tests.accounts.conftest import Person, account_of, assert_problem, parallel, sign_in, verify
from whatsapp.infra import clock as real_clock

pytestmark = pytest.mark.django_db

Told = Callable[[str], Callable[[], list[dict[str, Any]]]]
Clock = Callable[[int], None]


def impose(person: Person, kind: str = "suspension", ms: int | None = DAY_MS, **fields: Any) -> Sanction:
    """``ms``: for how long, by the time that services read."""
    until = None if ms is None else sanctions.now_ms() + ms
    given = {"reason": "messages", "evidence": {"messages": 1_200}, "by": "automatic", **fields}
    return sanctions.impose(account_id=uuid.UUID(person.user_id), kind=kind, until=until, **given)


def standing(person: Person) -> tuple[int, str]:
    """Until when the account is banned by now (0: it is not), and its class."""
    account = account_of(person)
    banned = account.banned_until if account.is_banned(sanctions.now_ms()) else 0
    return banned or 0, account.limit_class


# -- what each does ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("kind", "class_"), [("slow_down", "slowed"), ("limit", "restricted")])
def test_a_class_for_a_time(kind: str, class_: str, clock: Clock) -> None:
    ann = sign_in()
    impose(ann, kind, HOUR_MS)
    assert standing(ann) == (0, class_)
    assert ann.api.get("/me").status_code == 200
    assert sanctions.end_due(now=sanctions.now_ms()) == 0
    assert standing(ann) == (0, class_)
    clock(HOUR_MS)
    assert sanctions.end_due(now=sanctions.now_ms()) == 1
    assert standing(ann) == (0, "")
    assert sanctions.end_due(now=sanctions.now_ms()) == 0  # once


def test_who_may_do_less_is_told_until_when_and_where_to_ask(
    told: Told, clock: Clock, django_capture_on_commit_callbacks: Any
) -> None:
    def of(sanction: Sanction) -> dict[str, Any]:
        address = f"/appeals/{appeals.token(str(sanction.pk))}"
        return {"kind": sanction.kind, "until": sanction.until, "appealUrl": address}

    ann = sign_in()
    assert ann.api.get("/me").json()["limited"] is None
    read = told(ann.user_id)
    with django_capture_on_commit_callbacks(execute=True):
        slowed = impose(ann, "slow_down", 2 * HOUR_MS)
        clock(1)
        limited = impose(ann, "limit", HOUR_MS)
        clock(1)
        longer = impose(ann, "limit", HOUR_MS + 60_000)  # it is the same, and lasts longer
    assert ann.api.get("/me").json()["limited"] == of(longer)
    with django_capture_on_commit_callbacks(execute=True):
        clock(HOUR_MS + 60_000)
        sanctions.end_due(now=sanctions.now_ms())
    assert appeals.limited_account(account_of(ann)) == of(slowed)
    with django_capture_on_commit_callbacks(execute=True):
        sanctions.lift(sanction=slowed, by="mod", reason="mistake")
    assert appeals.limited_account(account_of(ann)) is None
    notices = [event["data"] for event in read() if event["type"] == "notice"]
    over = {"kind": None, "until": None, "appealUrl": ""}
    assert notices == [of(slowed), of(limited), of(longer), of(slowed), over]


def test_a_suspension_refuses_tokens_and_ends_by_itself(
    told: Told, clock: Clock, django_capture_on_commit_callbacks: Any
) -> None:
    ann = sign_in()
    read = told(ann.user_id)
    with django_capture_on_commit_callbacks(execute=True):
        sanction = impose(ann)
    assert [event for event in read() if event["type"] == "user.banned"] == [
        {"type": "user.banned", "until": sanction.until, "sanction": str(sanction.pk)}
    ]
    details = {"until": sanction.until, "appealUrl": f"/appeals/{appeals.token(str(sanction.pk))}"}
    for answer in (
        ann.api.get("/me"),
        ann.api.post("/auth/refresh", {"refreshToken": ann.refresh_token}),
        verify(ann.phone),
    ):
        assert assert_problem(answer, "banned", 403)["details"] == details
    clock(DAY_MS)
    assert ann.api.post("/auth/refresh", {"refreshToken": ann.refresh_token}).status_code == 200


def test_a_permanent_ban_says_so_and_can_be_lifted() -> None:
    ann = sign_in()
    sanction = impose(ann, "permanent", None, by="mod", reason="fraud")
    assert standing(ann) == (FOREVER, "")
    assert sanctions.lift(sanction=sanction, by="mod", reason="it was somebody else")
    assert not sanctions.lift(sanction=sanction, by="other", reason="again")
    assert standing(ann) == (0, "")
    found = Sanction.objects.get(pk=sanction.pk)
    assert (found.lifted_by, found.lift_reason) == ("mod", "it was somebody else")
    assert ann.api.get("/me").status_code == 200


def test_an_account_goes_back_to_the_class_it_was_of(clock: Clock) -> None:
    ann = sign_in()
    Account.objects.filter(pk=ann.user_id).update(limit_class="business")
    first = impose(ann, "slow_down", HOUR_MS)
    clock(1)
    second = impose(ann, "limit", 2 * HOUR_MS)
    assert standing(ann) == (0, "restricted")
    sanctions.lift(sanction=first, by="mod", reason="mistake")
    assert standing(ann) == (0, "restricted")
    sanctions.lift(sanction=second, by="mod", reason="mistake")
    assert standing(ann) == (0, "business")


def test_a_class_that_staff_gave_meanwhile_stays(clock: Clock) -> None:
    ann = sign_in()
    impose(ann, "slow_down", HOUR_MS)
    sanctions.set_class(account=account_of(ann), limit_class="business", by="mod")
    clock(HOUR_MS)
    sanctions.end_due(now=sanctions.now_ms())
    assert standing(ann) == (0, "business")


def test_a_longer_ban_by_hand_stays() -> None:
    ann = sign_in()
    far = sanctions.now_ms() + 30 * DAY_MS
    Account.objects.filter(pk=ann.user_id).update(banned_until=far)
    sanction = impose(ann)
    assert standing(ann)[0] == far
    sanctions.lift(sanction=sanction, by="mod", reason="mistake")
    assert standing(ann)[0] == far
    assert sanctions.lift_bans(account_id=uuid.UUID(ann.user_id), by="mod", reason="all of it")
    assert standing(ann)[0] == 0
    assert not sanctions.lift_bans(account_id=uuid.UUID(ann.user_id), by="mod", reason="all of it")


@pytest.mark.parametrize(
    "wrong",
    [
        {"kind": "exile"},
        {"kind": "suspension", "ms": None},
        {"kind": "permanent", "ms": DAY_MS},
        {"ms": -1},
        {"ms": 10**15},
        {"reason": "Sent rude words"},
        {"reason": ""},
        {"evidence": {"text": "what somebody wrote"}},
        {"evidence": {"number": "+15551234567"}},
        {"evidence": {"list": [1, 2]}},
        {"evidence": {f"n{n}": n for n in range(51)}},
    ],
    ids=str,
)
def test_what_is_no_sanction_is_refused(wrong: dict[str, Any]) -> None:
    ann = sign_in()
    with pytest.raises(Refused) as refused:
        impose(ann, **wrong)
    assert refused.value.code == "bad_request"
    assert standing(ann) == (0, "")
    assert not Sanction.objects.filter(account=ann.user_id).exists()


def test_nobody_is_sanctioned_who_is_not_there() -> None:
    with pytest.raises(Refused) as refused:
        sanctions.impose(
            account_id=uuid.uuid4(), kind="limit", reason="messages", evidence={}, until=None, by="automatic"
        )
    assert refused.value.code == "not_found"


@pytest.mark.django_db(transaction=True)
def test_two_that_look_at_once_do_it_once() -> None:
    ann = sign_in()
    since = sanctions.now_ms()

    def once() -> str:
        try:
            impose(ann, "slow_down", HOUR_MS, unless_since=since)
        except Refused as refused:
            return refused.code
        return "done"

    assert sorted(parallel(4, once)) == ["conflict", "conflict", "conflict", "done"]
    assert Sanction.objects.filter(account=ann.user_id).count() == 1


# -- a model ----------------------------------------------------------------------------------------------------------------


class Model:
    """The whole history, and what follows from it."""

    def __init__(self, class_: str) -> None:
        self.class_ = class_
        self.sanctions: dict[uuid.UUID, tuple[str, int]] = {}

    def standing(self, now: int) -> tuple[int, str]:
        living = [(kind, until) for kind, until in self.sanctions.values() if until > now]
        banned = max((until for kind, until in living if kind in ("suspension", "permanent")), default=0)
        kinds = {kind for kind, _ in living}
        class_ = "restricted" if "limit" in kinds else "slowed" if "slow_down" in kinds else self.class_
        return banned, class_


@pytest.mark.parametrize("seed", range(12))
def test_any_history_is_the_model(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Imposed, lifted, ended, appealed in any order: after each step the account is what the rows in force say."""
    rng = random.Random(seed)
    now = real_clock.now_ms()
    monkeypatch.setattr(sanctions, "now_ms", lambda: now)
    ann = sign_in()
    model = Model(rng.choice(["", "business", "slowed"]))
    Account.objects.filter(pk=ann.user_id).update(limit_class=model.class_)
    for _ in range(40):
        step = rng.random()
        if step < 0.4:
            kind = rng.choice(list(Kind.values))
            ms = None if kind == "permanent" else rng.choice([HOUR_MS, DAY_MS, 7 * DAY_MS])
            made = impose(ann, kind, ms)
            model.sanctions[made.pk] = (kind, made.until or FOREVER)
        elif step < 0.7 and model.sanctions:
            one = Sanction.objects.get(pk=rng.choice(list(model.sanctions)))
            if rng.random() < 0.5 and one.in_force(now) and one.appeal == "":
                sanctions.ask_appeal(sanction_id=one.pk, text="it was not me")
                grant = rng.random() < 0.5
                sanctions.decide_appeal(sanction=one, by="mod", grant=grant, reason="looked at")
            else:
                grant = sanctions.lift(sanction=one, by="mod", reason="mistake")
            if grant:
                del model.sanctions[one.pk]
        else:
            now += rng.choice([1, HOUR_MS // 2, HOUR_MS, DAY_MS, 3 * DAY_MS])
            sanctions.end_due(now=now)
        account = account_of(ann)
        found = (account.banned_until if account.is_banned(now) else 0, account.limit_class)
        assert found == model.standing(now)
        assert {one.pk for one in sanctions.in_force_of(account.pk, now=now)} == {
            pk for pk, (_, until) in model.sanctions.items() if until > now
        }
