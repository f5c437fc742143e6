"""Who ends the account while a case waits does not shed what is decided then: the next one with the number has it."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest
from django.db import connection, transaction

from accounts.limits import DAY_MS, HOUR_MS
from accounts.models import Account, CarriedSanction, Erasure, Sanction
from accounts.services import carried, recycling, sanctions
from accounts.services.sanctions import FOREVER
from tests.accounts.conftest import Person, account_of, assert_problem, sign_in, verify
from tests.accounts.test_carried import end, moved
from tests.accounts.test_deletion import delete
from tests.accounts.test_pin import PIN
from tests.accounts.test_recycling import silent
from tests.accounts.test_sanctions import impose, standing
from tests.support.patience import PATIENCE
from tests.support.waiting import until_it_waits_or_ends
from whatsapp.infra.limits import LIMITS

pytestmark = pytest.mark.django_db

Clock = Callable[[int], None]


def ended() -> Person:
    ann = sign_in()
    with transaction.atomic():
        end(ann)
    return ann


def at_number(person: Person) -> Account:
    return Account.objects.get(phone=person.phone)


def late(ann: Person, kind: str, ms: int | None = 7 * DAY_MS, **fields: Any) -> Sanction:
    return impose(ann, kind, ms, by="mod", reason="spam", **fields)


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize(("kind", "class_"), [("slow_down", "slowed"), ("limit", "restricted")])
def test_who_has_the_number_may_do_less(kind: str, class_: str, when: str, clock: Clock) -> None:
    """Whether they registered it anew before it was decided or after."""
    ann = ended()
    again = sign_in(ann.phone) if when == "before" else None
    decided = late(ann, kind)
    again = again or sign_in(ann.phone)
    assert standing(again) == (0, class_)
    (taken,) = Sanction.objects.filter(account=again.user_id)
    assert (taken.kind, taken.reason, taken.until) == (kind, "spam", decided.until)
    assert taken.evidence == {"carried": True}, "nothing leads to who had the number"
    assert not CarriedSanction.objects.exists(), "kept no longer than it is needed"
    clock(7 * DAY_MS)
    sanctions.end_due(now=sanctions.now_ms())
    assert standing(again) == (0, "")


@pytest.mark.parametrize(("kind", "ms"), [("suspension", DAY_MS), ("permanent", None)])
def test_who_registered_the_number_anew_is_banned(
    kind: str, ms: int | None, told: Any, django_capture_on_commit_callbacks: Any
) -> None:
    ann = ended()
    again = sign_in(ann.phone)
    told_again = told(again.user_id)
    with django_capture_on_commit_callbacks(execute=True):
        decided = late(ann, kind, ms)
    assert standing(again) == (decided.until or FOREVER, "")
    refused = assert_problem(again.api.get("/me"), "banned", 403)["details"]
    assert refused["appealUrl"]
    assert "banned" in str(told_again()), "its sockets hear of it"


@pytest.mark.parametrize(("kind", "ms"), [("suspension", DAY_MS), ("permanent", None)])
def test_who_registers_the_number_is_refused_and_can_appeal(kind: str, ms: int | None) -> None:
    ann = ended()
    decided = late(ann, kind, ms)
    for _ in range(2):  # what the first attempt has made refuses the second
        refused = assert_problem(verify(ann.phone), "banned", 403)["details"]
        assert refused["until"] == (decided.until or FOREVER)
    taken = Sanction.objects.get(account=at_number(ann))
    assert not CarriedSanction.objects.exists()
    path = refused["appealUrl"].partition("/appeals/")[2]
    assert sign_in().api.get(f"/appeals/{path}").status_code == 200
    sanctions.ask_appeal(sanction_id=taken.pk, text="The number is new to me.")
    sanctions.decide_appeal(sanction=Sanction.objects.get(pk=taken.pk), by="mod", grant=True, reason="true")
    assert standing(sign_in(ann.phone)) == (0, "")


def test_a_suspension_that_is_over_lets_in(clock: Clock) -> None:
    ann = ended()
    late(ann, "suspension", HOUR_MS)
    assert_problem(verify(ann.phone), "banned", 403)
    clock(HOUR_MS)
    assert standing(sign_in(ann.phone)) == (0, "")


def test_it_is_lifted_with_the_one_that_was_decided() -> None:
    ann, other = ended(), ended()
    first, second = late(ann, "permanent", None), late(other, "suspension")
    assert_problem(verify(ann.phone), "banned", 403)
    for one in (first, second):
        sanctions.lift(sanction=one, by="mod", reason="mistake")
    assert not CarriedSanction.objects.exists()
    for person in (ann, other):
        assert standing(sign_in(person.phone)) == (0, "")


def test_it_goes_through_accounts_that_end_one_after_the_other() -> None:
    ann = ended()
    end(sign_in(ann.phone))
    late(ann, "limit")
    third = sign_in(ann.phone)
    assert standing(third) == (0, "restricted")
    end(third)
    assert standing(sign_in(ann.phone)) == (0, "restricted")


@pytest.mark.parametrize("replace", [False, True])
def test_a_number_that_is_banned_takes_nobody_in(replace: bool) -> None:
    """Whoever would come from another account keeps that one, with its number."""
    ann, other = ended(), sign_in()
    late(ann, "permanent", None)
    if replace:
        assert_problem(verify(ann.phone), "banned", 403)
    with pytest.raises(Exception, match="This number cannot be used"):
        moved(other, ann.phone, replace=replace)
    assert standing(other) == (0, "")
    assert account_of(other).phone == other.phone


def test_who_moved_to_the_number_before_has_it() -> None:
    ann, other = ended(), sign_in()
    moved(other, ann.phone, replace=False)
    late(ann, "limit")
    assert standing(other) == (0, "restricted")


def test_who_moved_to_the_number_before_is_not_banned(clock: Clock) -> None:
    """Whoever has had an account with another number for long is not banned for what somebody else did; the next one with the
    number is, and so is who begins anew at the moment at which the account ends."""
    other = sign_in()
    clock(2 * HOUR_MS)
    ann, bob = ended(), ended()
    moved(other, ann.phone, replace=False)
    late(ann, "permanent", None)
    late(ann, "limit")
    assert standing(other) == (0, "restricted")
    end(other)
    assert_problem(verify(ann.phone), "banned", 403)
    again = sign_in(bob.phone)
    Account.objects.filter(pk=again.user_id).update(created_at=account_of(bob).retired_at - 60_000)  # type: ignore[operator]
    late(bob, "permanent", None)
    assert standing(again) == (FOREVER, "")


def test_somebody_else_has_nothing_of_it(clock: Clock) -> None:
    """Another number; one that changed hands; one whose account ended so long ago that it may be somebody else's."""
    ann, bob, carl = ended(), sign_in(), ended()
    late(ann, "permanent", None)
    assert standing(sign_in()) == (0, "")
    silent(bob)
    newcomer = sign_in(bob.phone)
    late(bob, "permanent", None)
    assert standing(newcomer) == (0, "")
    clock(LIMITS.recycled_after_days * DAY_MS)
    late(carl, "permanent", None)
    for person in (ann, carl):
        assert standing(sign_in(person.phone)) == (0, "")


def test_it_holds_no_longer_than_45_days_from_the_end_of_the_account(clock: Clock) -> None:
    ann = ended()
    ended_at = account_of(ann).retired_at
    assert ended_at is not None
    clock(10 * DAY_MS)
    late(ann, "permanent", None)
    (row,) = CarriedSanction.objects.all()
    assert row.kept_until == ended_at + LIMITS.recycled_after_days * DAY_MS


@pytest.mark.parametrize("lost", ["key", "erasure"])
def test_without_its_number_it_is_decided_all_the_same(lost: str, settings: Any) -> None:
    ann = ended()
    if lost == "key":
        settings.SECRET_KEY = "another" * 10
    else:
        Erasure.objects.all().delete()
    late(ann, "limit")
    assert Sanction.objects.filter(account=ann.user_id, kind="limit").exists()
    assert not CarriedSanction.objects.exists()


def test_twin_without_it_the_sanction_ends_with_the_account(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sanctions, "_follow", None)
    ann = ended()
    late(ann, "permanent", None)
    assert standing(sign_in(ann.phone)) == (0, "")


# -- at the same moment ----------------------------------------------------------------------------------------------------


def _while_it_registers(ann: Person, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The decision comes when who registers has looked at what is kept, and has not committed. Their answer."""
    looked, go_on = threading.Event(), threading.Event()
    real = carried.take_over
    answers: list[Any] = []

    def slowly(*, account: Account, now: int, **options: Any) -> None:
        real(account=account, now=now, **options)
        if threading.current_thread() is thread:
            looked.set()
            assert go_on.wait(PATIENCE)

    def run() -> None:
        try:
            answers.append(verify(ann.phone))
        finally:
            connection.close()

    def decide() -> None:
        try:
            late(ann, "permanent", None)
        finally:
            connection.close()

    monkeypatch.setattr(carried, "take_over", slowly)
    thread = threading.Thread(target=run)
    thread.start()
    assert looked.wait(PATIENCE)
    decision = threading.Thread(target=decide)
    decision.start()
    until_it_waits_or_ends(decision)
    go_on.set()
    thread.join()
    decision.join()
    return answers[0]


@pytest.mark.django_db(transaction=True)
def test_who_registers_at_this_moment_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    ann = ended()
    assert _while_it_registers(ann, monkeypatch).status_code == 200
    assert standing_at(ann) == FOREVER


@pytest.mark.django_db(transaction=True)
def test_twin_without_the_lock_who_registers_at_this_moment_sheds_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(carried, "lock", lambda phone: None)
    ann = ended()
    assert _while_it_registers(ann, monkeypatch).status_code == 200
    assert standing_at(ann) == 0


def standing_at(ann: Person) -> int:
    return at_number(ann).banned_until or 0


def _while_it_changes(change: Callable[[], Any], ann: Person, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """``change`` ends the account that has the number, whose row it has locked when the decision about the one before comes.
    Classes of what went wrong."""
    held, wrong = threading.Event(), list[str]()
    real = recycling.retire

    def slowly(*, account: Account, now: int) -> None:
        held.set()
        until_it_waits_or_ends(decision)
        real(account=account, now=now)

    def run(deed: Callable[[], Any]) -> None:
        try:
            deed()
        except Exception as error:
            wrong.append(type(error).__name__)
        finally:
            connection.close()

    def decide() -> None:
        assert held.wait(PATIENCE)
        late(ann, "limit")

    decision = threading.Thread(target=run, args=(decide,), name="decision")
    changing = threading.Thread(target=run, args=(change,))
    monkeypatch.setattr(recycling, "retire", slowly)
    for thread in (decision, changing):
        thread.start()
    for thread in (decision, changing):
        thread.join()
    return wrong


def _ends(holder: Person) -> None:
    assert delete(holder, pin=PIN).status_code == 204


def _begins_anew(holder: Person) -> None:
    assert verify(holder.phone, startAnew=True).status_code == 200


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("change", [_ends, _begins_anew, None], ids=["ends", "begins anew", "is replaced"])
def test_nobody_waits_in_a_circle(
    change: Callable[[Person], None] | None, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An account with the number ends, for whatever reason, while the account that had the number before is sanctioned."""
    ann = ended()
    holder = sign_in(ann.phone)
    if change is not None:
        assert holder.api.put("/auth/pin", {"pin": PIN}).status_code == 204
    if change is _begins_anew:
        clock(8 * DAY_MS)
    other = sign_in()
    deed = (lambda: moved(other, ann.phone, replace=True)) if change is None else (lambda: change(holder))
    assert _while_it_changes(deed, ann, monkeypatch) == []
    last = other if change is None else sign_in(ann.phone)
    assert standing(last) == (0, "restricted")


@pytest.mark.django_db(transaction=True)
def test_twin_with_the_rows_before_the_lock_two_wait_for_each_other(monkeypatch: pytest.MonkeyPatch) -> None:
    ann, other = ended(), sign_in()
    sign_in(ann.phone)
    real, take_over = carried.lock, carried.take_over

    def behind_the_rows(*, account: Account, now: int, **options: Any) -> None:
        real(str(account.phone))
        take_over(account=account, now=now, **options)

    def too_late(phone: str) -> None:
        if threading.current_thread().name == "decision":
            real(phone)

    monkeypatch.setattr(carried, "lock", too_late)
    monkeypatch.setattr(carried, "take_over", behind_the_rows)
    wrong = _while_it_changes(lambda: moved(other, ann.phone, replace=True), ann, monkeypatch)
    assert wrong == ["OperationalError"]
