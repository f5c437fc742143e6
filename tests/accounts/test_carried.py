"""Who is slowed down or limited does not shed it by ending the account: the next one with the number has it, too."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from accounts.abuse import triggers
from accounts.limits import DAY_MS, HOUR_MS
from accounts.models import Account, CarriedSanction, Device, Sanction
from accounts.services import abuse, carried, deletion, numbers, recycling, sanctions
from accounts.tasks import prune
from tests.accounts.conftest import (
    Person,
    account_of,
    assert_problem,
    code_for,
    new_number,
    register,
    sign_in,
    verify,
)
from tests.accounts.test_deletion import delete, deleted
from tests.accounts.test_recycling import silent
from tests.accounts.test_sanctions import impose, standing
from whatsapp.infra.clock import now_ms
from whatsapp.infra.limits import LIMITS

pytestmark = pytest.mark.django_db

Clock = Callable[[int], None]


def end(person: Person) -> None:
    """Without the code, of which an hour has few."""
    recycling.retire(account=account_of(person), now=sanctions.now_ms())


def moved(person: Person, phone: str, *, replace: bool) -> Person:
    """Who has taken another number."""
    assert register(phone).status_code == 202
    account = account_of(person)
    numbers.change(
        account=account, device=Device.objects.get(pk=person.device_id), phone=phone, code=code_for(phone), pin=None,
        replace=replace, address="192.0.2.7",
    )  # fmt: skip
    return person


@pytest.mark.parametrize(("kind", "class_"), [("slow_down", "slowed"), ("limit", "restricted")])
def test_the_next_account_of_the_number_has_it_until_its_end(kind: str, class_: str, clock: Clock) -> None:
    ann = sign_in()
    first = impose(ann, kind, 2 * HOUR_MS, step=1)
    deleted(ann)
    again = sign_in(ann.phone)
    assert again.user_id != ann.user_id
    assert standing(again) == (0, class_)
    (taken,) = Sanction.objects.filter(account=again.user_id)
    assert (taken.kind, taken.reason, taken.until, taken.step) == (kind, first.reason, first.until, 1)
    assert taken.evidence == {"carried": True}, "nothing leads to who had the number"
    assert not CarriedSanction.objects.exists(), "kept no longer than it is needed"
    end(again)
    third = sign_in(ann.phone)
    assert standing(third) == (0, class_)
    clock(2 * HOUR_MS)
    sanctions.end_due(now=sanctions.now_ms())
    assert standing(third) == (0, "")


def test_nobody_else_has_it_and_nobody_after_its_end(clock: Clock) -> None:
    ann = sign_in()
    impose(ann, "limit", HOUR_MS)
    end(ann)
    assert standing(sign_in()) == (0, "")
    clock(HOUR_MS)
    prune()
    assert not CarriedSanction.objects.exists()
    assert standing(sign_in(ann.phone)) == (0, "")


def test_one_that_ends_while_who_registers_waits_is_over(clock: Clock) -> None:
    """Whoever registers the number may wait, for the number or for the account, from before the end until behind it."""
    ann = sign_in()
    first = impose(ann, "limit", HOUR_MS, step=1)
    end(ann)
    again = Account.objects.create(phone=ann.phone, created_at=now_ms())
    clock(HOUR_MS)
    assert first.until is not None
    carried.take_over(account=again, now=first.until - 1)
    taken = Sanction.objects.get(account=again)
    assert (taken.step, taken.until) == (1, first.until)
    assert again.limit_class == ""
    assert not CarriedSanction.objects.exists()


def test_what_is_over_or_was_lifted_is_not_kept(clock: Clock) -> None:
    ann = sign_in()
    impose(ann, "limit", HOUR_MS)
    clock(HOUR_MS)
    sanctions.lift(sanction=impose(ann, "slow_down", DAY_MS, step=0), by="mod", reason="mistake")
    sanctions.lift(sanction=impose(ann, "limit", HOUR_MS, by="mod"), by="mod", reason="mistake")
    end(ann)
    assert not CarriedSanction.objects.exists()


# -- the ladder -----------------------------------------------------------------------------------------------------------


def next_kind(person: Person) -> str:
    """What the mildest trigger would do now."""
    last = abuse._last(account_of(person).pk, sanctions.now_ms())
    return abuse.next_step(triggers.table().triggers[0], last).kind


@pytest.mark.parametrize("how", ["at once", "in its time", "later"])
def test_the_ladder_goes_on_where_it_was(clock: Clock, how: str) -> None:
    """Whoever waits for the end of a sanction, and then begins anew, does not begin at the bottom."""
    ann = sign_in()
    assert next_kind(ann) == "slow_down"
    first = impose(ann, "slow_down", HOUR_MS, step=0)
    impose(ann, "limit", DAY_MS, step=1)
    assert next_kind(ann) == "suspension"
    if how != "at once":
        clock(2 * DAY_MS)
        sanctions.end_due(now=sanctions.now_ms())
    end(ann)
    if how == "later":
        clock(10 * DAY_MS)
        prune()
    again = sign_in(ann.phone)
    assert next_kind(again) == "suspension"
    assert standing(again) == (0, "restricted" if how == "at once" else "")
    assert next_kind(sign_in()) == "slow_down"
    assert not CarriedSanction.objects.exists(), "kept no longer than it is needed"
    taken = Sanction.objects.filter(account=again.user_id).earliest("imposed_at")
    assert taken.evidence == {"carried": True}
    if how != "at once":
        assert (taken.imposed_at, taken.until) == (first.imposed_at, first.until)


def test_it_is_forgotten_when_it_would_have_been_on_the_account_of_before(
    clock: Clock, settings: Any
) -> None:
    """However often the number is registered anew meanwhile, and also by who comes later."""
    ann = sign_in()
    first = impose(ann, "slow_down", HOUR_MS, step=0)
    clock(10 * DAY_MS)
    end(ann)
    (row,) = CarriedSanction.objects.all()
    assert row.kept_until == first.imposed_at + settings.ABUSE_MEMORY_MS
    again = sign_in(ann.phone)
    assert next_kind(again) == "limit"
    clock(10 * DAY_MS)
    end(again)
    (row,) = CarriedSanction.objects.all()
    assert row.kept_until == first.imposed_at + settings.ABUSE_MEMORY_MS
    clock(10 * DAY_MS)
    prune()
    assert not CarriedSanction.objects.exists()
    assert next_kind(sign_in(ann.phone)) == "slow_down"


def test_a_step_goes_when_it_is_lifted(clock: Clock) -> None:
    ann = sign_in()
    wrong = impose(ann, "slow_down", HOUR_MS, step=0)
    clock(2 * HOUR_MS)
    end(ann)
    again = sign_in(ann.phone)
    assert next_kind(again) == "limit"
    sanctions.lift(sanction=wrong, by="mod", reason="mistake")
    assert next_kind(again) == "slow_down"


def test_a_suspension_that_is_over_is_a_step_and_bans_nobody(clock: Clock) -> None:
    ann = sign_in()
    impose(ann, "suspension", DAY_MS, step=2)
    clock(DAY_MS + 1)
    sanctions.end_due(now=sanctions.now_ms())
    end(ann)
    again = sign_in(ann.phone)
    assert standing(again) == (0, "")
    assert again.api.get("/me").status_code == 200
    assert abuse._last(account_of(again).pk, sanctions.now_ms()).step == 2  # type: ignore[union-attr]


def test_twin_without_its_memory_the_ladder_begins_anew(
    clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("accounts.services.carried._steps", lambda account, now: [])
    ann = sign_in()
    impose(ann, "limit", DAY_MS, step=1)
    clock(2 * DAY_MS)
    end(ann)
    assert next_kind(sign_in(ann.phone)) == "slow_down"


# -- lifting, and how long -------------------------------------------------------------------------------------------------


def test_it_is_lifted_with_the_sanction_before_and_after_it_was_taken_over() -> None:
    ann = sign_in()
    early, late = impose(ann, "slow_down", DAY_MS), impose(ann, "limit", None, by="mod")
    end(ann)
    assert CarriedSanction.objects.count() == 2
    sanctions.lift(sanction=late, by="mod", reason="mistake")
    assert [row.sanction for row in CarriedSanction.objects.all()] == [early.pk]
    again = sign_in(ann.phone)
    assert standing(again) == (0, "slowed")
    sanctions.lift(sanction=early, by="mod", reason="mistake")
    assert standing(again) == (0, "")
    taken = Sanction.objects.get(account=again.user_id)
    assert (taken.lifted_by, taken.lift_reason) == ("mod", "mistake")


def test_it_is_lifted_through_any_number_of_accounts() -> None:
    ann = sign_in()
    first = impose(ann, "limit", DAY_MS)
    end(ann)
    end(sign_in(ann.phone))
    third = sign_in(ann.phone)
    end(third)
    sanctions.lift(sanction=first, by="mod", reason="mistake")
    assert not CarriedSanction.objects.exists()
    assert standing(sign_in(ann.phone)) == (0, "")


def test_it_holds_no_longer_than_a_silent_account_keeps_its_number(clock: Clock) -> None:
    """From then on who has the number counts as somebody else."""
    ann = sign_in()
    impose(ann, "limit", None, by="mod")
    end(ann)
    (row,) = CarriedSanction.objects.all()
    assert row.until is None
    assert row.kept_until <= now_ms() + LIMITS.recycled_after_days * DAY_MS
    again = sign_in(ann.phone)
    assert Sanction.objects.get(account=again.user_id).until is None, "on the account it is for good"
    end(again)
    clock(LIMITS.recycled_after_days * DAY_MS)
    assert standing(sign_in(ann.phone)) == (0, "")


def test_who_gets_a_number_that_changed_hands_has_nothing_of_it() -> None:
    ann = sign_in()
    impose(ann, "limit", None, by="mod")
    silent(ann)
    assert standing(sign_in(ann.phone)) == (0, "")
    assert not CarriedSanction.objects.exists()


@pytest.mark.parametrize("replace", [False, True])
def test_moving_to_the_number_is_no_way_around(replace: bool) -> None:
    """Whether the account was ended before, or is by the move."""
    ann, other = sign_in(), sign_in()
    impose(ann, "limit", DAY_MS)
    if not replace:
        end(ann)
    moved(other, ann.phone, replace=replace)
    assert standing(other) == (0, "restricted")


def test_it_is_known_under_an_earlier_key(settings: Any) -> None:
    ann = sign_in()
    impose(ann, "limit", DAY_MS)
    end(ann)
    settings.SECRET_KEY, settings.SECRET_KEY_FALLBACKS = "new" * 20, [settings.SECRET_KEY]
    assert standing(sign_in(ann.phone)) == (0, "restricted")


def test_who_was_banned_meanwhile_cannot_end_the_account(monkeypatch: pytest.MonkeyPatch) -> None:
    """A ban goes with the account, so it is looked for behind the lock, too."""
    ann = sign_in()
    assert register(ann.phone).status_code == 202
    real = deletion._lock

    def late(account: Account, device: Device) -> Account:
        impose(ann, "permanent", None, by="mod")
        return real(account, device)

    monkeypatch.setattr(deletion, "_lock", late)
    assert_problem(delete(ann, code=code_for(ann.phone)), "banned", 403)


# -- counts ---------------------------------------------------------------------------------------------------------------


def test_a_number_begins_with_few_accounts_a_day(limits: Callable[..., None], clock: Clock) -> None:
    """Each begins without counts. Other devices of the account are none of it; the code stays good for when the time has come."""
    limits(accounts_per_number_day=2)
    ann = sign_in()
    sign_in(ann.phone)
    end(ann)
    second = sign_in(ann.phone)
    end(second)
    refused = verify(ann.phone)
    assert_problem(refused, "rate_limited", 429)
    assert 23 * 3_600 < int(refused["Retry-After"]) <= 24 * 3_600
    assert not Account.objects.filter(phone=ann.phone).exists()
    assert sign_in().user_id, "another number"
    clock(DAY_MS)
    assert sign_in(ann.phone).user_id not in (ann.user_id, second.user_id)


def test_a_number_that_is_left_and_taken_again_is_one_of_them(limits: Callable[..., None]) -> None:
    limits(accounts_per_number_day=2)
    ann = sign_in()
    for _ in range(2):
        phone = ann.phone
        moved(ann, new_number(), replace=False)
        answer = verify(phone)
        if answer.status_code != 200:
            break
        ann = Person(
            phone, *(answer.json()[name] for name in ("userId", "deviceId", "token", "refreshToken"))
        )
    assert_problem(answer, "rate_limited", 429)
