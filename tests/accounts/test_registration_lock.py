"""While an account with a PIN is in use its number opens nothing without it; later the number begins anew, and never leads to
what was there."""

from __future__ import annotations

from typing import Any

import pytest

from accounts.limits import DAY_MS, HOUR_MS
from accounts.models import Account, Device, LimitHit, Pin
from tests.accounts.conftest import (
    Api,
    Person,
    assert_problem,
    at_once,
    code_for,
    give,
    parallel,
    register,
    sign_in,
    verify,
)
from tests.accounts.test_conversations import append, open_direct
from tests.accounts.test_pin import OTHER, PIN, fresh, with_pin
from tests.accounts.test_recycling import silent

pytestmark = pytest.mark.django_db
LOCK = 7 * DAY_MS


def test_the_lock_holds_for_seven_days_without_use_and_then_the_number_begins_anew(clock: Any) -> None:
    old, friend = with_pin(), sign_in()
    old.api.patch("/me", {"name": "Ann"})
    conversation = open_direct(old, friend)
    append(friend, conversation, "for Ann alone")
    used = Device.objects.get(pk=old.device_id).last_seen_at
    for _ in range(2):
        for extra in ({}, {"startAnew": True}):
            body = assert_problem(verify(old.phone, **extra), "forbidden", 403)
            assert body["details"] == {"pinRequired": True, "until": used + LOCK}
        clock(LOCK // 2 - HOUR_MS)
    clock(2 * HOUR_MS)
    # From here on the newcomer may begin, and says so: the owner who comes back on a new telephone is asked for the PIN first.
    body = assert_problem(verify(old.phone), "forbidden", 403)
    assert body["details"] == {"pinRequired": True, "until": used + LOCK}
    new = sign_in(old.phone, startAnew=True)
    assert new.user_id != old.user_id
    me = new.api.get("/me").json()
    assert (me["name"], me["pinSet"], me["phoneNumber"]) == ("", False, old.phone)
    assert new.api.get("/conversations").json() == {"items": []}
    assert_problem(new.api.get(f"/conversations/{conversation}/events"), "not_found", 404)
    assert_problem(Api(fresh(friend)).get(f"/users/{old.user_id}"), "not_found", 404)
    assert not Pin.objects.filter(account_id=old.user_id).exists()
    assert Account.objects.get(pk=old.user_id).phone is None
    # The old PIN and the old device's token open nothing of it any more.
    assert sign_in(old.phone, pin=PIN, refreshToken=old.refresh_token).user_id == new.user_id


def test_any_device_in_use_holds_the_lock_an_unlinked_one_too(clock: Any) -> None:
    person = with_pin()
    laptop = sign_in(person.phone, pin=PIN)
    clock(LOCK - HOUR_MS)
    refreshed = Api().post("/auth/refresh", {"refreshToken": laptop.refresh_token}).json()
    clock(2 * HOUR_MS)
    assert_problem(verify(person.phone, startAnew=True), "forbidden", 403)
    assert Api(refreshed["token"]).post("/auth/logout").status_code == 401  # it has expired meanwhile
    refreshed = Api().post("/auth/refresh", {"refreshToken": refreshed["refreshToken"]}).json()
    for token in (refreshed["token"], None):
        if token:
            assert Api(token).post("/auth/logout").status_code == 204
        assert_problem(verify(person.phone, startAnew=True), "forbidden", 403)
    clock(LOCK - HOUR_MS)
    assert_problem(verify(person.phone, startAnew=True), "forbidden", 403)
    clock(2 * HOUR_MS)
    assert sign_in(person.phone, startAnew=True).user_id != person.user_id


def test_attempts_are_no_use_so_they_do_not_prolong_the_lock(clock: Any) -> None:
    person = with_pin()
    until = assert_problem(verify(person.phone), "forbidden", 403)["details"]["until"]
    clock(2 * DAY_MS)
    assert_problem(verify(person.phone, pin="314159"), "forbidden", 403)
    assert assert_problem(verify(person.phone), "forbidden", 403)["details"]["until"] == until


@pytest.mark.parametrize("away", ["eight days", "long"])
def test_the_owner_comes_back_with_the_pin_however_long_it_was(away: str, clock: Any) -> None:
    person = with_pin()
    if away == "long":
        silent(person)
    else:
        clock(8 * DAY_MS)
    # A slip costs nothing but an attempt, and without the PIN nothing happens yet.
    assert_problem(verify(person.phone), "forbidden", 403)
    assert_problem(verify(person.phone, pin="314159", startAnew=True), "forbidden", 403)
    back = sign_in(person.phone, pin=PIN, startAnew=True)
    assert back.user_id == person.user_id


def test_a_known_device_keeps_the_account_whatever_it_says() -> None:
    person = silent(with_pin())
    assert sign_in(person.phone, refreshToken=person.refresh_token, startAnew=True).user_id == person.user_id


def test_a_device_whose_tokens_were_copied_may_begin_anew_like_any_other() -> None:
    person = with_pin()
    first = Api().post("/auth/refresh", {"refreshToken": person.refresh_token}).json()
    assert Api().post("/auth/refresh", {"refreshToken": person.refresh_token}).status_code == 401
    token = {"refreshToken": first["refreshToken"]}
    assert_problem(verify(person.phone, startAnew=True, **token), "forbidden", 403)
    silent(person)
    new = sign_in(person.phone, startAnew=True, **token)
    assert new.user_id != person.user_id
    assert new.device_id != person.device_id


def test_a_token_that_was_used_before_is_no_known_device() -> None:
    """Copied with an old backup, say: at ``/auth/refresh`` it would end the session."""
    person = with_pin()
    old = {"refreshToken": person.refresh_token}
    next_one = Api().post("/auth/refresh", old).json()["refreshToken"]
    body = assert_problem(verify(person.phone, **old), "forbidden", 403)
    assert body["details"]["pinRequired"]
    assert_problem(verify(person.phone, pin="314159", **old), "forbidden", 403)
    assert (
        LimitHit.objects.filter(scope="wrong_pin").count() == 1
    )  # among those who have no more than the code
    # The device goes on, and whoever knows the PIN, or has the token that is good, keeps it.
    next_one = Api().post("/auth/refresh", {"refreshToken": next_one}).json()["refreshToken"]
    assert sign_in(person.phone, pin=PIN, **old).device_id == person.device_id
    assert_problem(verify(person.phone, refreshToken=next_one), "forbidden", 403)


def test_neither_a_ban_of_the_account_nor_of_the_device_is_sat_out(clock: Any) -> None:
    person = with_pin()
    until = 2**52
    clock(8 * DAY_MS)
    Account.objects.filter(pk=person.user_id).update(banned_until=until)
    assert_problem(verify(person.phone, startAnew=True), "banned", 403)
    Account.objects.filter(pk=person.user_id).update(banned_until=None)
    Device.objects.filter(pk=person.device_id).update(banned_until=until)
    assert_problem(verify(person.phone, startAnew=True, refreshToken=person.refresh_token), "banned", 403)
    assert Account.objects.get(pk=person.user_id).retired_at is None


def test_without_a_pin_there_is_no_lock_and_45_days_count_as_before() -> None:
    person = sign_in()
    assert sign_in(person.phone).user_id == person.user_id
    assert sign_in(silent(person).phone).user_id != person.user_id


@pytest.mark.django_db(transaction=True)
def test_of_many_who_begin_anew_at_once_one_does(clock: Any) -> None:
    person = with_pin()
    clock(8 * DAY_MS)
    register(person.phone)
    code = code_for(person.phone)
    answers = parallel(4, lambda: give(person.phone, code, startAnew=True))
    assert sorted(answer.status_code for answer in answers) == [200, 401, 401, 401]
    account = Account.objects.get(phone=person.phone)
    assert str(account.pk) == next(a.json()["userId"] for a in answers if a.status_code == 200)
    assert Device.objects.filter(user=account).count() == 1


@pytest.mark.django_db(transaction=True)
def test_the_owner_and_a_newcomer_at_once_do_not_share_an_account(clock: Any) -> None:
    person = with_pin()
    clock(8 * DAY_MS)
    register(person.phone)
    code = code_for(person.phone)
    answers = at_once(
        lambda: give(person.phone, code, pin=PIN), lambda: give(person.phone, code, startAnew=True)
    )
    assert sorted(answer.status_code for answer in answers) == [200, 401]
    linked = Device.objects.filter(user__phone=person.phone, unlinked_at=None)
    owner = Account.objects.get(phone=person.phone)
    assert linked.count() == (2 if str(owner.pk) == person.user_id else 1)


def test_a_pin_that_was_removed_locks_nothing() -> None:
    person: Person = with_pin(OTHER)
    assert person.api("DELETE", "/auth/pin", {"currentPin": OTHER}).status_code == 204
    assert sign_in(person.phone).user_id == person.user_id
