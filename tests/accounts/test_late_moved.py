"""Who moves to a throwaway number and registers the old one anew sheds nothing by it, whether it is decided before or after."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest

from accounts.errors import Refused
from accounts.limits import DAY_MS, HOUR_MS
from accounts.models import Account, CarriedSanction, LeftNumber, Sanction
from accounts.services import carried, late, sanctions
from accounts.services.sanctions import FOREVER
from accounts.tasks import end_sanctions, prune
from tests.accounts.conftest import Person, account_of, assert_problem, new_number, sign_in, verify
from tests.accounts.test_carried import end, moved
from tests.accounts.test_sanctions import impose, standing
from tests.support.patience import PATIENCE
from tests.support.waiting import Beside, until_it_waits_or_ends
from whatsapp.infra.clock import now_ms
from whatsapp.infra.limits import LIMITS

pytestmark = pytest.mark.django_db

Clock = Callable[[int], None]


def left() -> Person:
    """Somebody who has another number now; ``phone`` is the one of before."""
    return moved(sign_in(), new_number(), replace=False)


def late_on(person: Person, kind: str, ms: int | None = 7 * DAY_MS) -> Sanction:
    """Decided now, and followed up."""
    sanction = impose(person, kind, ms, by="mod", reason="spam")
    late.follow_due(now=now_ms())
    return sanction


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize(("kind", "class_"), [("slow_down", "slowed"), ("limit", "restricted")])
def test_who_has_the_old_number_may_do_less(kind: str, class_: str, when: str, clock: Clock) -> None:
    """Whether they registered it before it was decided or after."""
    ann = left()
    again = sign_in(ann.phone) if when == "before" else None
    decided = late_on(ann, kind)
    again = again or sign_in(ann.phone)
    assert standing(again) == standing(ann) == (0, class_)
    (taken,) = Sanction.objects.filter(account=again.user_id)
    assert (taken.kind, taken.reason, taken.until, taken.carried_from) == (
        kind,
        "spam",
        decided.until,
        decided.pk,
    )
    assert taken.evidence == {"carried": True}, "nothing leads to who had the number"
    assert not CarriedSanction.objects.exists(), "kept no longer than it is needed"
    clock(7 * DAY_MS)
    end_sanctions()
    assert standing(again) == standing(ann) == (0, "")


@pytest.mark.parametrize(("kind", "ms"), [("suspension", DAY_MS), ("permanent", None)])
def test_who_registers_the_old_number_is_banned(kind: str, ms: int | None) -> None:
    ann, bob = left(), left()
    again = sign_in(ann.phone)
    decided = late_on(ann, kind, ms)
    assert standing(again) == (decided.until or FOREVER, "")
    decided = late_on(bob, kind, ms)
    refused = assert_problem(verify(bob.phone), "banned", 403)["details"]
    assert refused["until"] == (decided.until or FOREVER)
    assert refused["appealUrl"]


def test_what_is_in_force_goes_with_the_old_number() -> None:
    ann = sign_in()
    first = impose(ann, "limit", DAY_MS, step=1)
    moved(ann, new_number(), replace=False)
    again = sign_in(ann.phone)
    assert standing(again) == standing(ann) == (0, "restricted")
    (taken,) = Sanction.objects.filter(account=again.user_id)
    assert (taken.until, taken.step) == (first.until, 1)


def test_it_holds_for_every_number_that_was_left() -> None:
    """And for the one that it had when it ended."""
    ann = left()
    second = account_of(ann).phone or ""
    moved(ann, new_number(), replace=False)
    third = account_of(ann).phone or ""
    end(ann)
    late_on(ann, "limit")
    for phone in (ann.phone, second, third):
        assert standing(sign_in(phone)) == (0, "restricted"), phone
    assert standing(sign_in()) == (0, "")


def test_it_is_lifted_everywhere() -> None:
    ann = left()
    again = sign_in(ann.phone)
    moved(ann, new_number(), replace=False)
    decided = late_on(ann, "limit")
    assert CarriedSanction.objects.count() == 1, "for the second number, which nobody has"
    sanctions.lift(sanction=decided, by="mod", reason="mistake")
    assert standing(again) == standing(ann) == (0, "")
    assert not CarriedSanction.objects.exists()


def test_who_comes_back_has_it_once() -> None:
    """The old number is the account's own again: what it was sanctioned for waits for nobody there."""
    ann = sign_in()
    impose(ann, "limit", DAY_MS)
    moved(ann, new_number(), replace=False)
    moved(ann, ann.phone, replace=False)
    assert Sanction.objects.filter(account=ann.user_id).count() == 1
    assert not CarriedSanction.objects.filter(number=carried.persons.number_hashes(ann.phone)[0]).exists()
    late_on(ann, "slow_down")
    assert Sanction.objects.filter(account=ann.user_id).count() == 2


def test_somebody_else_has_nothing_of_it(clock: Clock) -> None:
    """Who has had an account for long and moves to the number is not banned for what somebody else did; after 45 days the number
    is somebody else's."""
    other = sign_in()
    clock(2 * HOUR_MS)
    ann, bob = left(), left()
    moved(other, ann.phone, replace=False)
    late_on(ann, "permanent", None)
    assert standing(other) == (0, "")
    clock(LIMITS.recycled_after_days * DAY_MS)
    late_on(bob, "permanent", None)
    assert standing(sign_in(bob.phone)) == (0, "")
    assert prune()
    assert not LeftNumber.objects.filter(account=bob.user_id).exists()


def test_the_number_is_sealed_told_to_its_owner_and_goes_with_the_account() -> None:
    ann = left()
    (row,) = LeftNumber.objects.all()
    assert ann.phone.encode() not in bytes(row.sealed)
    from accounts.exported import _left_numbers

    (told,) = _left_numbers(ann.user_id)
    assert told == {"phoneNumber": ann.phone, "leftAt": row.left_at}
    Account.objects.filter(pk=ann.user_id).delete()
    assert not LeftNumber.objects.exists()


def test_without_the_key_it_is_decided_all_the_same(settings: Any) -> None:
    ann = left()
    settings.SECRET_KEY = "another" * 10
    late_on(ann, "limit")
    assert Sanction.objects.filter(account=ann.user_id, kind="limit", follows=False).exists()
    assert not CarriedSanction.objects.exists()


def test_a_crash_behind_the_decision_is_made_up_for() -> None:
    """The decision commits, and whoever was to follow it up is gone: the job that ends sanctions does."""
    ann = left()
    again = sign_in(ann.phone)
    impose(ann, "limit", DAY_MS)
    assert standing(again) == (0, "")
    end_sanctions()
    assert standing(again) == (0, "restricted")
    assert not Sanction.objects.filter(follows=True).exists()


def test_one_that_was_lifted_before_it_followed_goes_nowhere() -> None:
    ann = left()
    again = sign_in(ann.phone)
    decided = impose(ann, "limit", DAY_MS)
    sanctions.lift(sanction=decided, by="mod", reason="mistake")
    end_sanctions()
    assert standing(again) == (0, "")
    assert not Sanction.objects.filter(follows=True).exists()
    assert not CarriedSanction.objects.exists()


def test_twin_without_it_a_throwaway_number_sheds_the_decision(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(late, "leave", lambda **_: None)
    ann = left()
    late_on(ann, "permanent", None)
    assert standing(sign_in(ann.phone)) == (0, "")


def test_a_banned_account_moves_nowhere() -> None:
    """Its tokens are refused; this one was let in a moment before."""
    ann = sign_in()
    impose(ann, "permanent", None)
    with pytest.raises(Refused) as refused:
        moved(ann, new_number(), replace=False)
    assert refused.value.code == "banned"
    assert account_of(ann).phone == ann.phone


# -- at the same moment ----------------------------------------------------------------------------------------------------


@pytest.mark.django_db(transaction=True)
def test_nobody_waits_in_a_circle_who_comes_back_at_this_moment(monkeypatch: pytest.MonkeyPatch) -> None:
    """The account moves back to its old number while it is sanctioned."""
    ann = left()
    impose(ann, "limit", DAY_MS)
    held = threading.Event()
    real = carried.bans

    def slowly(phone: str, *, now: int) -> bool:
        held.set()  # has the locks of the number and of the account
        until_it_waits_or_ends(decision)
        return real(phone, now=now)

    def decide() -> Sanction:
        assert held.wait(PATIENCE)
        return late_on(ann, "slow_down")

    monkeypatch.setattr(carried, "bans", slowly)
    decision, coming = Beside(decide), Beside(lambda: moved(ann, ann.phone, replace=False))
    for thread in (decision, coming):
        thread.start()
    for thread in (decision, coming):
        thread.join()
        assert thread.answers, "whom PostgreSQL had to stop has none"
    assert not Sanction.objects.filter(follows=True).exists()
    assert Sanction.objects.filter(account=ann.user_id).count() == 2
    assert not CarriedSanction.objects.filter(number=carried.persons.number_hashes(ann.phone)[0]).exists()
