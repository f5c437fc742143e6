"""The PIN: set, changed, removed, and asked for on a new device."""

from __future__ import annotations

import json
from typing import Any

import pytest
from django.db import connection

from accounts import pin_hash
from accounts.limits import DAY_MS, HOUR_MS
from accounts.models import Account, Device, LimitHit, Pin, VerificationCode
from accounts.services import pins
from tests.accounts.conftest import (
    Api,
    Person,
    assert_problem,
    at_once,
    code_for,
    give,
    new_number,
    parallel,
    register,
    sign_in,
    verify,
    wrong,
)
from whatsapp.settings import pins as shipped

pytestmark = pytest.mark.django_db
PIN, OTHER = "271828", "sea-otter-7"


def with_pin(pin: str = PIN) -> Person:
    person = sign_in()
    assert person.api.put("/auth/pin", {"pin": pin}).status_code == 204
    return person


def pin_events(read: Any) -> list[dict[str, Any]]:
    return [event for event in read() if event.get("kind") == "pin"]


# -- set, change, remove ------------------------------------------------------------------------------------------------------


def test_a_pin_is_set_changed_and_removed() -> None:
    person = sign_in()
    assert person.api.get("/me").json()["pinSet"] is False
    assert person.api.put("/auth/pin", {"pin": PIN}).status_code == 204
    assert person.api.get("/me").json()["pinSet"] is True
    laptop = sign_in(person.phone, pin=PIN)
    body = assert_problem(laptop.api.put("/auth/pin", {"pin": OTHER}), "forbidden", 403)
    assert body["details"] == {"pinRequired": True}
    answer = laptop.api.put("/auth/pin", {"pin": OTHER, "currentPin": "314159"})
    assert assert_problem(answer, "forbidden", 403)["details"] == {"pinRequired": True, "pinWrong": True}
    assert laptop.api.put("/auth/pin", {"pin": OTHER, "currentPin": PIN}).status_code == 204
    assert person.api("DELETE", "/auth/pin", {"currentPin": PIN}).status_code == 403
    assert person.api("DELETE", "/auth/pin").status_code == 403
    assert person.api("DELETE", "/auth/pin", {"currentPin": OTHER}).status_code == 204
    assert person.api("DELETE", "/auth/pin", {"currentPin": OTHER}).status_code == 204  # nothing is asked
    assert person.api.get("/me").json()["pinSet"] is False
    assert sign_in(person.phone).user_id == person.user_id


def test_the_first_pin_is_set_by_the_primary_device() -> None:
    person = sign_in()
    laptop = sign_in(person.phone)
    assert_problem(laptop.api.put("/auth/pin", {"pin": PIN}), "forbidden", 403)
    assert person.api.put("/auth/pin", {"pin": PIN}).status_code == 204


def test_a_repeat_whose_answer_was_lost_is_answered_alike(clock: Any) -> None:
    person = with_pin()
    for _ in range(2):
        assert person.api.put("/auth/pin", {"pin": PIN}).status_code == 204
        assert person.api.put("/auth/pin", {"pin": OTHER, "currentPin": PIN}).status_code == 204
        assert person.api.put("/auth/pin", {"pin": OTHER, "currentPin": PIN}).status_code == 204
        assert person.api.put("/auth/pin", {"pin": PIN, "currentPin": OTHER}).status_code == 204
    # Only for a while, only by the device that set it, and every miss is counted.
    laptop = sign_in(person.phone, pin=PIN)
    assert_problem(laptop.api.put("/auth/pin", {"pin": PIN}), "forbidden", 403)
    assert not LimitHit.objects.filter(scope="wrong_pin_device").exists()
    assert_problem(person.api.put("/auth/pin", {"pin": OTHER}), "forbidden", 403)
    assert LimitHit.objects.filter(scope="wrong_pin_device").count() == 1
    clock(HOUR_MS)
    assert_problem(Api(fresh(person)).put("/auth/pin", {"pin": PIN}), "forbidden", 403)


def fresh(person: Person) -> str:
    """An access token of now."""
    answer = Api().post("/auth/refresh", {"refreshToken": person.refresh_token})
    assert answer.status_code == 200, answer.content
    person.refresh_token = answer.json()["refreshToken"]
    person.token = answer.json()["token"]
    return person.token


@pytest.mark.parametrize(
    "pin", ["", "12345", "1" * 21, "1234 5", "12345é", "٣١٤١٥٩", "123456\0", 271828, None, True, ["271828"]]
)
def test_what_is_no_pin_is_a_bad_request(pin: Any) -> None:
    body = assert_problem(sign_in().api.put("/auth/pin", {"pin": pin}), "bad_request", 400)
    assert body["details"] == {"field": "pin"}


def test_pins_that_are_tried_first_are_refused() -> None:
    person = sign_in()
    for pin in ("000000", "123456", "987654", "abcdef", "zzzzzzzz", person.phone[-6:]):
        body = assert_problem(person.api.put("/auth/pin", {"pin": pin}), "bad_request", 400)
        assert body["details"] == {"field": "pin"}
    for pin in ("135790", "271828", "correct horse".replace(" ", "-")):
        assert not pins.too_easy(pin, phone=person.phone)


def test_what_is_stored_is_argon2id_under_a_key_and_survives_a_change_of_the_key(settings: Any) -> None:
    settings.PIN_MEMORY_KIB, settings.PIN_PASSES = shipped.PIN_MEMORY_KIB, shipped.PIN_PASSES
    person = with_pin()
    stored = Pin.objects.get(account_id=person.user_id).hash
    assert stored.startswith("$argon2id$v=19$m=32768,t=3,p=1$")
    # The PIN itself does not open it, nor does that of another account.
    with pytest.raises(Exception, match="does not match"):
        pin_hash._hasher().verify(stored, PIN)
    assert not pin_hash.compare(stored, PIN, account_id=sign_in().user_id).right
    assert pin_hash.compare(stored, PIN, account_id=person.user_id) == (True, False)
    settings.SECRET_KEY_FALLBACKS = [settings.SECRET_KEY]
    settings.SECRET_KEY = "another key " * 5
    assert pin_hash.compare(stored, PIN, account_id=person.user_id) == (True, True)
    settings.PIN_MEMORY_KIB, settings.PIN_PASSES = 1_024, 1
    again = sign_in(person.phone, pin=PIN)
    settings.SECRET_KEY_FALLBACKS = []
    assert again.user_id == person.user_id
    assert sign_in(person.phone, pin=PIN).user_id == person.user_id, "it was made anew under the new key"


def test_few_hashes_run_at_once_and_who_finds_no_room_is_told_so(monkeypatch: pytest.MonkeyPatch) -> None:
    person = with_pin()
    monkeypatch.setattr(pin_hash.settings, "PIN_WAIT_MS", 10)
    register(person.phone)
    hits = LimitHit.objects.count()
    with pin_hash._turn(), pin_hash._turn():
        assert pin_hash.settings.PIN_AT_ONCE == 2
        answer = give(person.phone, code_for(person.phone), pin=PIN)
        assert assert_problem(answer, "unavailable", 503)["retryAfterMs"] > 0
        # Who has no code costs no hash.
        assert_problem(give(person.phone, wrong(person.phone), pin=PIN), "unauthenticated", 401)
        assert sign_in(pin=PIN).user_id
    assert LimitHit.objects.filter(scope__startswith="wrong_pin").count() == 0 <= hits
    assert give(person.phone, code_for(person.phone), pin=PIN).status_code == 200, "the code stayed good"


# -- on a new device ----------------------------------------------------------------------------------------------------------


def test_a_new_device_needs_the_pin_and_the_code_stays_good_until_it_comes(told: Any) -> None:
    person = with_pin()
    register(person.phone)
    code = code_for(person.phone)
    for extra in ({}, {"pin": ""}):
        body = assert_problem(give(person.phone, code, **extra), "forbidden", 403)
        used = Device.objects.get(pk=person.device_id).last_seen_at
        assert body["details"] == {"pinRequired": True, "until": used + 7 * DAY_MS}
    answer = assert_problem(give(person.phone, code, pin="314159"), "forbidden", 403)
    assert answer["details"] == {"pinRequired": True, "pinWrong": True}
    opened = give(person.phone, code, pin=PIN)
    assert (opened.status_code, opened.json()["userId"]) == (200, person.user_id)
    assert_problem(give(person.phone, code, pin=PIN), "unauthenticated", 401)  # now it is used up


def test_before_the_code_is_right_nothing_tells_that_there_is_a_pin(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    hashed: list[str] = []
    monkeypatch.setattr(pin_hash, "compare", lambda *_, **__: hashed.append("") or pytest.fail("hashed"))
    answers, statements = set(), set()
    for phone in (with_pin().phone, sign_in().phone, new_number()):
        register(phone)
        for extra in ({}, {"pin": PIN}, {"pin": PIN, "startAnew": True}):
            with QueryTexts() as seen:
                answer = give(phone, wrong(phone), **extra)
            answers.add((answer.status_code, answer.content, *sorted(answer.headers)))
            statements.add(tuple(seen.texts))
    assert len(answers) == 1
    assert len(statements) == 1, "the same work, whoever has the number"
    assert hashed == []


class QueryTexts:
    """The statements of a block, without their values."""

    def __enter__(self) -> QueryTexts:
        self.texts: list[str] = []
        self._hook = connection.execute_wrapper(self._see)
        self._hook.__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        self._hook.__exit__(*error)

    def _see(self, execute: Any, sql: str, params: Any, many: bool, context: Any) -> Any:
        self.texts.append(sql.partition('"s')[0] if "SAVEPOINT" in sql else sql)
        return execute(sql, params, many, context)


def test_a_known_device_comes_back_without_the_pin_unless_its_tokens_were_copied() -> None:
    person = with_pin()
    again = sign_in(person.phone, refreshToken=person.refresh_token)
    assert again.device_id == person.device_id
    first = Api().post("/auth/refresh", {"refreshToken": again.refresh_token}).json()["refreshToken"]
    assert Api().post("/auth/refresh", {"refreshToken": again.refresh_token}).status_code == 401  # a theft
    assert_problem(verify(person.phone, refreshToken=first), "forbidden", 403)
    kept = sign_in(person.phone, refreshToken=first, pin=PIN)
    assert kept.device_id == person.device_id
    # A token of somebody else, or of a device that was unlinked, proves nothing.
    stranger = sign_in()
    assert_problem(verify(person.phone, refreshToken=stranger.refresh_token), "forbidden", 403)
    assert kept.api.post("/auth/logout").status_code == 204
    assert_problem(verify(person.phone, refreshToken=kept.refresh_token), "forbidden", 403)


def test_a_ban_goes_before_the_pin_and_the_pin_before_the_number_of_devices(limits: Any) -> None:
    person = with_pin()
    limits(devices_per_user=1)
    assert_problem(verify(person.phone), "forbidden", 403)
    assert_problem(verify(person.phone, pin=PIN), "limit_exceeded", 409)
    Account.objects.filter(pk=person.user_id).update(banned_until=2**52)
    assert_problem(verify(person.phone), "banned", 403)
    assert_problem(verify(person.phone, pin="314159"), "banned", 403)


def test_a_pin_where_none_is_set_changes_nothing() -> None:
    person = sign_in()
    assert sign_in(person.phone, pin=PIN).user_id == person.user_id
    assert sign_in(pin=PIN, startAnew=True).user_id


# -- guessing -----------------------------------------------------------------------------------------------------------------


def guess(phone: str, pin: str = "314159", **fields: Any) -> Any:
    return give(phone, code_for(phone), pin=pin, **fields)


def test_wrong_pins_are_slowed_down_and_bounded_by_the_day(limits: Any, clock: Any) -> None:
    limits(wrong_pins_per_day=5, code_ttl_ms=3 * DAY_MS)
    person = with_pin()
    register(person.phone)
    waits = []
    for _ in range(5):
        assert_problem(guess(person.phone), "forbidden", 403)
        refused = guess(person.phone, PIN)
        if refused.status_code == 200:
            register(person.phone)
            waits.append(0)
            continue
        body = assert_problem(refused, "rate_limited", 429)
        assert body["details"] == {"pinRequired": True}
        waits.append(body["retryAfterMs"])
        clock(waits[-1])
    assert [round(wait / 60_000) for wait in waits[:4]] == [0, 0, 1, 4]
    assert waits[4] > DAY_MS - HOUR_MS
    # A day after the first wrong one there is room again: nobody is kept out for ever.
    assert guess(person.phone, PIN).status_code == 200


def test_guesses_with_the_code_leave_the_owners_devices_their_own(limits: Any) -> None:
    limits(wrong_pins_per_day=1)
    person = with_pin()
    register(person.phone)
    assert_problem(guess(person.phone), "forbidden", 403)
    assert_problem(guess(person.phone, PIN), "rate_limited", 429)
    assert person.api.put("/auth/pin", {"pin": OTHER, "currentPin": PIN}).status_code == 204
    assert_problem(person.api("DELETE", "/auth/pin", {"currentPin": PIN}), "forbidden", 403)
    assert_problem(person.api("DELETE", "/auth/pin", {"currentPin": OTHER}), "rate_limited", 429)
    assert sign_in(person.phone, refreshToken=person.refresh_token).user_id == person.user_id


def test_hashes_are_bounded_for_who_knows_the_pin_too(limits: Any, clock: Any) -> None:
    """Also where something else refuses after a right PIN, so that the code stays good and may be sent for ever."""
    person = with_pin()
    limits(pin_checks_per_hour=3, devices_per_user=1)
    register(person.phone)
    for _ in range(3):
        assert_problem(guess(person.phone, PIN), "limit_exceeded", 409)
    assert_problem(guess(person.phone, PIN), "rate_limited", 429)
    for new, current in ((OTHER, PIN), (PIN, OTHER), (OTHER, PIN)):
        assert person.api.put("/auth/pin", {"pin": new, "currentPin": current}).status_code == 204
    assert_problem(person.api.put("/auth/pin", {"pin": PIN, "currentPin": OTHER}), "rate_limited", 429)
    clock(HOUR_MS)
    register(person.phone)
    assert_problem(guess(person.phone, OTHER), "limit_exceeded", 409)


def test_a_day_of_guessing_wins_little() -> None:
    from whatsapp.infra.limits import Limits

    shipped = Limits()
    assert shipped.wrong_pins_per_day * shipped.registration_lock_days / 10**6 <= 1 / 10_000


def test_the_owners_devices_hear_of_a_wrong_pin_and_of_changes(
    told: Any, django_capture_on_commit_callbacks: Any
) -> None:
    person = with_pin()
    read = told(person.user_id)
    register(person.phone)
    with django_capture_on_commit_callbacks(execute=True):
        assert_problem(guess(person.phone), "forbidden", 403)
        assert_problem(give(person.phone, code_for(person.phone)), "forbidden", 403)
        assert_problem(give(person.phone, wrong(person.phone), pin="314159"), "unauthenticated", 401)
    (event,) = pin_events(read)
    assert set(event["data"]) == {"event", "at"}
    assert event["data"]["event"] == "failed"
    # Who was away finds it in /me, until the PIN is another one.
    assert person.api.get("/me").json()["pinFailedAt"] == event["data"]["at"]
    with django_capture_on_commit_callbacks(execute=True):
        person.api.put("/auth/pin", {"pin": OTHER, "currentPin": PIN})
        person.api("DELETE", "/auth/pin", {"currentPin": OTHER})
    assert [(event["data"]["event"], event["but"]) for event in pin_events(read)] == [
        ("changed", person.device_id),
        ("removed", person.device_id),
    ]
    assert person.api.get("/me").json()["pinFailedAt"] is None


@pytest.mark.django_db(transaction=True)
def test_guesses_at_once_do_not_share_an_attempt(limits: Any) -> None:
    limits(wrong_pins_per_day=3, wrong_pins_free=3)
    person = with_pin()
    register(person.phone)
    statuses = parallel(8, lambda: guess(person.phone).status_code)
    assert (statuses.count(403), statuses.count(429)) == (3, 5)
    assert LimitHit.objects.filter(scope="wrong_pin").count() == 3


@pytest.mark.django_db(transaction=True)
def test_one_code_and_pin_sent_at_once_by_many_make_one_device() -> None:
    person = with_pin()
    register(person.phone)
    code = code_for(person.phone)
    statuses = parallel(4, lambda: give(person.phone, code, pin=PIN).status_code)
    assert sorted(statuses) == [200, 401, 401, 401]
    assert Device.objects.filter(user_id=person.user_id, unlinked_at=None).count() == 2


@pytest.mark.django_db(transaction=True)
def test_of_two_devices_that_change_it_at_once_one_wins() -> None:
    person = with_pin()
    laptop = sign_in(person.phone, pin=PIN)
    bodies = [{"pin": OTHER, "currentPin": PIN}, {"pin": "314159", "currentPin": PIN}]
    results = at_once(
        lambda: (0, person.api.put("/auth/pin", bodies[0]).status_code),
        lambda: (1, laptop.api.put("/auth/pin", bodies[1]).status_code),
    )
    (winner,) = [number for number, status in results if status == 204]
    (loser,) = [number for number, status in results if status == 403]
    assert_problem(verify(person.phone, pin=bodies[loser]["pin"]), "forbidden", 403)
    assert sign_in(person.phone, pin=bodies[winner]["pin"]).user_id == person.user_id


@pytest.mark.django_db(transaction=True)
def test_a_new_device_while_the_pin_is_set_has_it_or_comes_before(limits: Any) -> None:
    """Whatever the order, nobody is in afterwards who came later and without it."""
    person = sign_in()
    register(person.phone)
    code = code_for(person.phone)
    results = dict(
        at_once(
            lambda: ("pin", person.api.put("/auth/pin", {"pin": PIN}).status_code),
            lambda: ("verify", give(person.phone, code).status_code),
        )
    )
    assert results["pin"] == 204
    assert results["verify"] in (200, 403)
    assert_problem(verify(person.phone), "forbidden", 403)


# -- what is kept -------------------------------------------------------------------------------------------------------------


def test_no_kept_answer_can_be_searched_for_a_pin() -> None:
    """The digest that tells bodies apart is quick to compute: whoever has the table and SECRET_KEY would try all PINs."""
    person = with_pin()
    register(person.phone)
    key = {"X-Idempotency-Key": "k" * 32}
    body = {"phoneNumber": person.phone, "code": code_for(person.phone), "deviceName": "phone"}
    first = Api().post("/auth/verify", {**body, "pin": PIN}, headers=key)
    assert first.status_code == 200
    again = Api().post("/auth/verify", {**body, "pin": "another"}, headers=key)
    assert (again.status_code, again.json()) == (200, first.json())
    assert again.headers["X-Idempotency-Replayed"] == "true"


def test_a_refused_pin_with_a_key_is_judged_anew() -> None:
    person = with_pin()
    register(person.phone)
    key = {"X-Idempotency-Key": "r" * 32}
    body = {"phoneNumber": person.phone, "code": code_for(person.phone), "deviceName": "phone"}
    assert_problem(Api().post("/auth/verify", body, headers=key), "forbidden", 403)
    assert_problem(Api().post("/auth/verify", {**body, "pin": "314159"}, headers=key), "forbidden", 403)
    assert LimitHit.objects.filter(scope="wrong_pin").count() == 1
    assert VerificationCode.objects.filter(phone=person.phone).exists()
    assert Api().post("/auth/verify", {**body, "pin": PIN}, headers=key).status_code == 200


def test_neither_answers_nor_the_table_of_counters_hold_it() -> None:
    person = with_pin("Xq7-secret-Pin")
    register(person.phone)
    answer = guess(person.phone, "Xq7-secret-Pon")
    assert b"Xq7" not in answer.content
    assert "Xq7" not in json.dumps(person.api.get("/me").json())
    assert "Xq7" not in repr([*LimitHit.objects.values()]) + repr([*Pin.objects.values()]) + str(
        Pin.objects.get()
    )
