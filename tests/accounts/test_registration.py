"""POST /auth/register and /auth/verify."""

from __future__ import annotations

import re
import uuid
from functools import partial
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from accounts.models import Account, Device, VerificationCode
from delivery.store.sync import store
from tests.accounts.conftest import (
    Api,
    ask,
    assert_problem,
    at_once,
    code_for,
    give,
    messages_to,
    new_number,
    parallel,
    register,
    sign_in,
    verify,
    wrong,
)

pytestmark = pytest.mark.django_db


def test_register_sends_a_code_and_says_until_when() -> None:
    phone = new_number()
    answer = register(phone)
    assert answer.status_code == 202
    assert set(answer.json()) == {"expiresAt", "retryAfter"}
    (message,) = messages_to(phone)
    assert answer.json()["expiresAt"] - message["at"] == pytest.approx(600_000, abs=2_000)


def _asked(phone: str) -> tuple[Any, list[str]]:
    """The answer of one /auth/register and the texts of its statements."""
    with CaptureQueriesContext(connection) as captured:
        answer = register(phone)
    # Savepoints are numbered by thread; the values are compared nowhere, only what is asked.
    return answer, [re.sub(r"'[^']*'|s\d+_x\d+| ?-?\b\d+\b", "?", query["sql"]) for query in captured]


def test_known_unknown_banned_and_silent_numbers_are_answered_alike(limits: Any, clock: Any) -> None:
    known, banned, unknown = sign_in(), sign_in(), new_number()
    Account.objects.filter(pk=banned.user_id).update(banned_until=2**52)
    sign_in(known.phone)
    silent = sign_in()
    Device.objects.filter(pk=silent.device_id).update(last_seen_at=1)
    Account.objects.filter(pk=silent.user_id).update(created_at=1, language="fr")
    waiting = new_number()
    register(waiting)  # a code is on its way already
    shapes, statements, headers, texts = [], [], [], []
    for phone in (unknown, known.phone, banned.phone, silent.phone, waiting):
        answer, asked = _asked(phone)
        assert answer.status_code == 202
        shapes.append({name: type(value) for name, value in answer.json().items()})
        statements.append(asked)
        headers.append(sorted(answer.headers))
        texts.append(re.sub(r"\d{6}", "", messages_to(phone)[-1]["body"]))
    assert all(shape == shapes[0] for shape in shapes)
    for asked in statements:
        assert asked == statements[0]
    assert all(names == headers[0] for names in headers)
    assert set(texts) == {texts[0]}
    # Refusals too.
    limits(otp_sends_per_hour=1)
    refusals = [register(phone) for phone in (unknown, known.phone, banned.phone)]
    problems = [assert_problem(answer, "rate_limited", 429) for answer in refusals]
    for problem in problems:
        problem.pop("retryAfterMs")
    assert all(problem == problems[0] for problem in problems)


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"phoneNumber": ""},
        {"phoneNumber": "12"},
        {"phoneNumber": "+15551"},
        {"phoneNumber": "+1555123456789"},
        {"phoneNumber": "+999123456789"},
        {"phoneNumber": "+1555000\u0000"},
        {"phoneNumber": None},
        {"phoneNumber": 15550001},
        {"phoneNumber": ["+15550001"]},
        {"phoneNumber": "+١٥٥٥٠٠٠١"},
    ],
)
def test_register_refuses_what_is_no_number(body: dict[str, Any]) -> None:
    answer = Api().post("/auth/register", body)
    problem = assert_problem(answer, "bad_request", 400)
    assert problem["details"] == {"field": "phoneNumber"}


@pytest.mark.parametrize("text", ["+44 20 7946 0958", "+442079460958", "+44 (20) 7946-0958"])
def test_register_takes_real_numbers_in_any_writing(text: str) -> None:
    assert register(text).status_code == 202
    assert messages_to("+442079460958")


def test_test_numbers_are_refused_outside_development(settings: Any) -> None:
    settings.PHONE_TEST_NUMBERS = False
    assert_problem(register(new_number()), "bad_request", 400)


def test_the_code_is_not_stored_in_clear() -> None:
    phone = new_number()
    register(phone)
    row = VerificationCode.objects.get(phone=phone)
    assert code_for(phone).encode() not in bytes(row.code_hash)
    assert len(bytes(row.code_hash)) == 32


def test_verify_makes_an_account_with_a_primary_device_known_to_the_engine() -> None:
    person = sign_in(registrationId=77)
    account = Account.objects.get(phone=person.phone)
    device = Device.objects.get(pk=person.device_id)
    assert str(account.pk) == person.user_id
    assert (device.primary, device.name, device.registration_id) == (True, "phone", 77)
    assert account.pk.version == 7
    assert [row.device for row in store.devices([person.user_id])[person.user_id]] == [person.device_id]


def test_a_second_device_joins_the_account_and_is_not_primary() -> None:
    first = sign_in()
    second = sign_in(first.phone, deviceName="laptop")
    assert second.user_id == first.user_id
    assert second.device_id != first.device_id
    assert not Device.objects.get(pk=second.device_id).primary


def test_a_sixth_device_is_refused_and_the_code_stays_good() -> None:
    person = sign_in()
    for _ in range(4):
        sign_in(person.phone)
    answer = verify(person.phone)
    assert_problem(answer, "limit_exceeded", 409)
    assert Device.objects.filter(user_id=person.user_id).count() == 5
    assert person.api.delete(f"/devices/{person.device_id}").status_code == 204
    assert give(person.phone, code_for(person.phone)).status_code == 200


def test_verifying_again_with_the_refresh_token_keeps_the_device() -> None:
    person = sign_in()
    again = verify(person.phone, refreshToken=person.refresh_token, deviceName="new name").json()
    assert (again["userId"], again["deviceId"]) == (person.user_id, person.device_id)
    assert Device.objects.get(pk=person.device_id).name == "new name"
    # The earlier session of the device is over.
    assert_problem(person.api.get("/me"), "unauthenticated", 401)
    assert Api(again["token"]).get("/me").status_code == 200
    assert_problem(
        Api().post("/auth/refresh", {"refreshToken": person.refresh_token}), "unauthenticated", 401
    )


def test_somebody_elses_refresh_token_names_no_device() -> None:
    other, person = sign_in(), sign_in()
    again = verify(person.phone, refreshToken=other.refresh_token).json()
    assert again["userId"] == person.user_id
    assert again["deviceId"] not in {other.device_id, person.device_id}
    assert other.api.get("/me").status_code == 200


def test_a_wrong_code_and_no_code_are_not_told_apart() -> None:
    phone = new_number()
    register(phone)
    with_code = assert_problem(give(phone, wrong(phone)), "unauthenticated", 401)
    without = assert_problem(give(new_number(), "123456"), "unauthenticated", 401)
    assert with_code == without
    assert not Account.objects.filter(phone=phone).exists()


def test_a_code_works_once() -> None:
    person = sign_in()
    assert_problem(give(person.phone, code_for(person.phone)), "unauthenticated", 401)


def test_a_new_code_replaces_the_old_one() -> None:
    phone = new_number()
    register(phone)
    old = code_for(phone)
    register(phone)
    while code_for(phone) == old:
        register(phone)
    assert_problem(give(phone, old), "unauthenticated", 401)
    assert give(phone, code_for(phone)).status_code == 200


def test_a_code_expires_after_ten_minutes(clock: Any) -> None:
    phone = new_number()
    register(phone)
    clock(600_000)
    assert_problem(give(phone, code_for(phone)), "unauthenticated", 401)


def test_five_wrong_attempts_end_a_code_and_a_new_one_begins_again() -> None:
    phone = new_number()
    register(phone)
    for _ in range(5):
        assert_problem(give(phone, wrong(phone)), "unauthenticated", 401)
    answer = give(phone, code_for(phone))
    problem = assert_problem(answer, "rate_limited", 429)
    assert 0 < problem["retryAfterMs"] <= 600_000
    assert int(answer.headers["Retry-After"]) * 1000 >= problem["retryAfterMs"]
    register(phone)
    assert give(phone, code_for(phone)).status_code == 200


@pytest.mark.django_db(transaction=True)
def test_parallel_guesses_cannot_share_an_attempt(limits: Any) -> None:
    limits(code_attempts=3)
    phone = new_number()
    register(phone)
    statuses = parallel(10, lambda: give(phone, wrong(phone)).status_code)
    assert statuses.count(401) == 3
    assert statuses.count(429) == 7
    assert_problem(give(phone, code_for(phone)), "rate_limited", 429)


@pytest.mark.django_db(transaction=True)
def test_a_code_given_twice_at_once_makes_one_device() -> None:
    phone = new_number()
    register(phone)
    code = code_for(phone)
    statuses = parallel(6, lambda: give(phone, code).status_code)
    assert sorted(statuses) == [200, 401, 401, 401, 401, 401]
    assert Device.objects.filter(user__phone=phone).count() == 1


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("deviceName", None),
        ("deviceName", "x" * 101),
        ("deviceName", {"a": 1}),
        ("code", ""),
        ("code", "1" * 17),
        ("registrationId", -1),
        ("registrationId", 2**31),
        ("registrationId", "many"),
        ("refreshToken", "x" * 257),
    ],
)
def test_verify_names_the_field_at_fault(field: str, value: Any) -> None:
    answer = give(new_number(), "123456", **{field: value}) if field != "code" else give(new_number(), value)
    assert assert_problem(answer, "bad_request", 400)["details"] == {"field": field}


def test_a_banned_account_gets_no_session(clock: Any) -> None:
    person = sign_in()
    Account.objects.filter(pk=person.user_id).update(banned_until=2**52)
    problem = assert_problem(verify(person.phone), "banned", 403)
    assert problem["details"]["until"] == 2**52
    assert "appealUrl" in problem["details"]


def test_the_number_of_sends_to_a_number_is_limited(limits: Any, clock: Any) -> None:
    limits(otp_sends_per_hour=3)
    phone = new_number()
    for _ in range(3):
        assert register(phone).status_code == 202
    answer = register(phone)
    problem = assert_problem(answer, "rate_limited", 429)
    assert problem["retryable"] is True
    assert int(answer.headers["Retry-After"]) <= 3600
    assert len(messages_to(phone)) == 3  # nothing was sent
    assert register(new_number()).status_code == 202
    clock(3_600_000)
    assert register(phone).status_code == 202


def test_registrations_of_an_address_are_limited_loopback_too(limits: Any, clock: Any) -> None:
    limits(registrations_per_ip_day=2)
    assert register(new_number(), REMOTE_ADDR="127.0.0.1").status_code == 202
    assert register(new_number(), REMOTE_ADDR="127.0.0.1").status_code == 202
    phone = new_number()
    assert_problem(register(phone, REMOTE_ADDR="127.0.0.1"), "rate_limited", 429)
    assert messages_to(phone) == []
    assert register(new_number(), REMOTE_ADDR="192.0.2.7").status_code == 202
    clock(86_400_000)
    assert register(new_number(), REMOTE_ADDR="127.0.0.1").status_code == 202


def test_a_forged_forwarded_address_evades_no_limit(limits: Any, settings: Any) -> None:
    limits(registrations_per_ip_day=1)
    forged = {"X-Forwarded-For": "198.51.100.9"}
    assert register(new_number(), REMOTE_ADDR="192.0.2.20").status_code == 202
    assert_problem(register(new_number(), REMOTE_ADDR="192.0.2.20", headers=forged), "rate_limited", 429)
    settings.TRUSTED_PROXIES = ["192.0.2.0/24"]
    assert register(new_number(), REMOTE_ADDR="192.0.2.20", headers=forged).status_code == 202
    # Only the entry that the proxy itself wrote counts, the last one.
    two = {"X-Forwarded-For": "203.0.113.1, 198.51.100.9"}
    assert_problem(register(new_number(), REMOTE_ADDR="192.0.2.20", headers=two), "rate_limited", 429)


def test_an_ipv6_customer_is_one_address(limits: Any) -> None:
    limits(registrations_per_ip_day=1)
    assert register(new_number(), REMOTE_ADDR="2001:db8:1:2::1").status_code == 202
    assert_problem(register(new_number(), REMOTE_ADDR="2001:db8:1:2:ffff::9"), "rate_limited", 429)
    assert register(new_number(), REMOTE_ADDR="2001:db8:1:3::1").status_code == 202


def test_nobody_is_told_of_a_message_that_could_not_be_sent(settings: Any) -> None:
    settings.SMS_SENDER = "accounts.sms.NoSender"
    assert_problem(register(new_number()), "unavailable", 503)


# -- lost answers ----------------------------------------------------------------------------------------------------------


def test_a_lost_answer_of_verify_is_given_again_for_the_same_key_and_code() -> None:
    phone, key = new_number(), {"X-Idempotency-Key": str(uuid.uuid4())}
    register(phone)
    body = {"phoneNumber": phone, "code": code_for(phone), "deviceName": "phone"}
    first, again = (Api().post("/auth/verify", body, headers=key) for _ in range(2))
    assert first.json() == again.json()
    assert Device.objects.filter(user__phone=phone).count() == 1
    # The key alone gives nothing, neither does the code alone.
    other = {**body, "code": wrong(phone)}
    assert_problem(Api().post("/auth/verify", other, headers=key), "conflict", 409)
    assert_problem(Api().post("/auth/verify", body), "unauthenticated", 401)


def test_a_key_that_could_be_guessed_keeps_no_answer_of_verify() -> None:
    phone = new_number()
    register(phone)
    body = {"phoneNumber": phone, "code": code_for(phone), "deviceName": "phone"}
    assert Api().post("/auth/verify", body, headers={"X-Idempotency-Key": "short"}).status_code == 200
    answer = Api().post("/auth/verify", body, headers={"X-Idempotency-Key": "short"})
    assert_problem(answer, "unauthenticated", 401)


# -- at once ---------------------------------------------------------------------------------------------------------------


@pytest.mark.django_db(transaction=True)
def test_verifying_while_the_device_is_removed_ends_in_one_order_or_the_other() -> None:
    """Both lock account and device; in two orders that would be a deadlock."""
    for _ in range(5):
        person = sign_in()
        other = sign_in(person.phone)
        register(person.phone)
        code = code_for(person.phone)
        answers = at_once(
            partial(give, person.phone, code, refreshToken=other.refresh_token),
            partial(person.api.delete, f"/devices/{other.device_id}"),
            partial(Api().post, "/auth/refresh", {"refreshToken": other.refresh_token}),
        )
        assert {answer.status_code for answer in answers} <= {200, 204, 401, 404}
        linked = Device.objects.filter(user_id=person.user_id, unlinked_at=None).count()
        assert linked in (1, 2)


@pytest.mark.django_db(transaction=True)
def test_many_registrations_at_once_pass_no_limit(limits: Any) -> None:
    limits(registrations_per_device_day=3, otp_sends_per_hour=2)
    device_id, phone = str(uuid.uuid4()), new_number()
    statuses = parallel(8, lambda: ask(new_number(), device_id).status_code)
    assert (statuses.count(202), statuses.count(429)) == (3, 5)
    statuses = parallel(8, lambda: register(phone).status_code)
    assert (statuses.count(202), statuses.count(429)) == (2, 6)
    assert len(messages_to(phone)) == 2
