"""``X-Idempotency-Key``: repeats, repeats at once, another body, another caller, refusals, and what the table gives away."""

from __future__ import annotations

import json
import threading
import uuid
from typing import Any

import pytest
from django.db import connection

from accounts import sms
from accounts.models import Contact, Device, KeptAnswer, LimitHit
from accounts.rest import idempotency
from accounts.tasks import prune
from tests.accounts.conftest import (
    Api,
    Person,
    _memory_layer,
    assert_problem,
    clock,
    code_for,
    limits,
    messages_to,
    new_number,
    parallel,
    sign_in,
)

__all__ = ["_memory_layer", "clock", "limits"]  # fixtures

pytestmark = pytest.mark.django_db

HEADER = "X-Idempotency-Key"
DAY_MS = 86_400_000


def new_key() -> str:
    return str(uuid.uuid4())


def add(person: Person, phone: str, key: str, **fields: Any) -> Any:
    return person.api.post("/contacts", {"phoneNumber": phone, **fields}, headers={HEADER: key})


def register(phone: str, key: str, **fields: Any) -> Any:
    return Api().post("/auth/register", {"phoneNumber": phone, **fields}, headers={HEADER: key})


def test_a_repeated_registration_sends_one_message() -> None:
    phone, key = new_number(), new_key()
    first, again = register(phone, key), register(phone, key)
    assert (first.status_code, again.status_code) == (202, 202)
    assert first.json() == again.json()
    assert idempotency.REPLAYED not in first.headers
    assert again.headers[idempotency.REPLAYED] == "true"
    assert len(messages_to(phone)) == 1
    register(phone, new_key())
    assert len(messages_to(phone)) == 2


def test_a_repeated_verification_gives_the_same_session() -> None:
    phone, key = new_number(), new_key()
    register(phone, new_key())
    body = {"phoneNumber": phone, "code": code_for(phone), "deviceName": "phone"}
    first = Api().post("/auth/verify", body, headers={HEADER: key})
    again = Api().post("/auth/verify", body, headers={HEADER: key})
    assert first.status_code == 200, first.content
    assert first.json() == again.json()
    assert Device.objects.filter(user_id=first.json()["userId"]).count() == 1
    assert Api(again.json()["token"]).get("/me").status_code == 200
    # Without the key, or with another, the code is used up.
    assert_problem(Api().post("/auth/verify", body), "unauthenticated", 401)
    assert_problem(Api().post("/auth/verify", body, headers={HEADER: new_key()}), "unauthenticated", 401)


def test_a_repeated_look_up_counts_once(limits: Any) -> None:
    limits(contacts_per_hour=1)
    person, other, key = sign_in(), sign_in(), new_key()
    first = add(person, other.phone, key)
    assert first.status_code == 200, first.content
    assert add(person, other.phone, key).json() == first.json()
    assert_problem(add(person, other.phone, new_key()), "rate_limited", 429)


def test_the_same_key_with_another_body_is_a_conflict() -> None:
    person, other, key = sign_in(), sign_in(), new_key()
    assert add(person, other.phone, key, nickname="one").status_code == 200
    assert_problem(add(person, other.phone, key, nickname="two"), "conflict", 409)
    assert Contact.objects.get(owner_id=person.user_id).nickname == "one"
    # The order of a body's members means nothing.
    text = json.dumps({"nickname": "one", "phoneNumber": other.phone}).encode()
    assert person.api.post("/contacts", text, headers={HEADER: key}).status_code == 200


def test_a_key_belongs_to_its_caller() -> None:
    one, two, other, key = sign_in(), sign_in(), sign_in(), new_key()
    assert add(one, other.phone, key, nickname="of one").status_code == 200
    answer = add(two, other.phone, key, nickname="of two")
    assert (answer.status_code, answer.json()["nickname"]) == (200, "of two")
    assert idempotency.REPLAYED not in answer.headers
    phones = [new_number(), new_number()]
    assert [register(phone, key).status_code for phone in phones] == [202, 202]
    assert [len(messages_to(phone)) for phone in phones] == [1, 1]


def test_a_kept_answer_is_not_given_without_the_session() -> None:
    person, other, key = sign_in(), sign_in(), new_key()
    assert add(person, other.phone, key).status_code == 200
    assert person.api.post("/auth/logout").status_code == 204
    assert_problem(add(person, other.phone, key), "unauthenticated", 401)


def test_a_refusal_is_not_kept_and_still_counts(limits: Any) -> None:
    limits(contacts_per_hour=2)
    person, key, phone = sign_in(), new_key(), new_number()
    assert_problem(add(person, phone, key), "not_found", 404)
    assert LimitHit.objects.filter(scope="contacts_hour").count() == 1  # or keys would lift the limit
    sign_in(phone)
    assert add(person, phone, key).status_code == 200


def test_wrong_codes_count_with_a_key_too(limits: Any) -> None:
    limits(code_attempts=2)
    phone = new_number()
    register(phone, new_key())
    wrong = {"phoneNumber": phone, "code": "x", "deviceName": "phone"}
    for _ in range(2):
        answer = Api().post("/auth/verify", wrong, headers={HEADER: new_key()})
        assert_problem(answer, "unauthenticated", 401)
    right = {**wrong, "code": code_for(phone)}
    assert_problem(Api().post("/auth/verify", right, headers={HEADER: new_key()}), "rate_limited", 429)


@pytest.mark.django_db(transaction=True)
def test_repeats_at_once_have_one_effect() -> None:
    phone, key = new_number(), new_key()
    answers = parallel(6, lambda: register(phone, key))
    assert {answer.status_code for answer in answers} == {202}
    assert len({answer.content for answer in answers}) == 1
    assert sum(idempotency.REPLAYED not in answer.headers for answer in answers) == 1
    assert len(messages_to(phone)) == 1


@pytest.mark.django_db(transaction=True)
def test_a_repeat_that_waited_for_a_refusal_is_judged_itself(limits: Any) -> None:
    person, key, phone = sign_in(), new_key(), new_number()
    answers = parallel(4, lambda: add(person, phone, key))
    assert [answer.status_code for answer in answers] == [404] * 4
    assert not KeptAnswer.objects.exists()


@pytest.mark.django_db(transaction=True)
def test_a_repeat_waits_for_the_first_one_not_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    """A message that takes its time must not hold a connection for each impatient repeat."""
    phone, key = new_number(), new_key()
    began, go_on = threading.Event(), threading.Event()
    send = sms.send

    def slow(**message: Any) -> None:
        began.set()
        assert go_on.wait(30)
        send(**message)

    monkeypatch.setattr(sms, "send", slow)
    monkeypatch.setattr(idempotency, "WAIT_MS", 100)
    answers: list[Any] = []

    def first() -> None:
        answers.append(register(phone, key))
        connection.close()

    thread = threading.Thread(target=first)
    thread.start()
    assert began.wait(30)
    try:
        again = register(phone, key)
    finally:
        go_on.set()
        thread.join()
    problem = assert_problem(again, "unavailable", 503)
    assert problem["retryable"] is True
    assert again.headers["Retry-After"] == "1"
    assert answers[0].status_code == 202
    assert register(phone, key).headers[idempotency.REPLAYED] == "true"
    assert len(messages_to(phone)) == 1


@pytest.mark.django_db(transaction=True)
def test_a_crash_leaves_neither_effect_nor_claim(monkeypatch: pytest.MonkeyPatch) -> None:
    person, other, key = sign_in(), sign_in(), new_key()
    with monkeypatch.context() as patched:
        patched.setattr(idempotency.AESGCM, "encrypt", lambda *_: 1 / 0)
        assert_problem(add(person, other.phone, key), "internal", 500)
    assert not Contact.objects.filter(owner_id=person.user_id).exists()
    assert add(person, other.phone, key).status_code == 200


def test_a_key_is_good_for_24_hours(clock: Any) -> None:
    phone, key = new_number(), new_key()
    register(phone, key)
    clock(DAY_MS - 60_000)
    prune()
    assert register(phone, key).headers[idempotency.REPLAYED] == "true"
    clock(60_001)
    answer = register(phone, key, captcha="other body, after the time")
    assert answer.status_code == 202
    assert idempotency.REPLAYED not in answer.headers
    assert len(messages_to(phone)) == 2
    clock(DAY_MS)
    prune()
    assert not KeptAnswer.objects.exists()


@pytest.mark.parametrize("key", ["", " ", "x" * 129, "a b", "ключ", "tab\t"])
def test_what_is_no_key_is_a_bad_request(key: str) -> None:
    phone = new_number()
    assert_problem(register(phone, key), "bad_request", 400)
    assert messages_to(phone) == []


def test_the_table_names_nobody_and_shows_no_token() -> None:
    phone, key = new_number(), new_key()
    register(phone, key)
    body = {"phoneNumber": phone, "code": code_for(phone), "deviceName": "phone"}
    tokens = Api().post("/auth/verify", body, headers={HEADER: key}).json()
    with connection.cursor() as cursor:
        cursor.execute("SELECT id, request, answer FROM accounts_keptanswer")
        stored = b"".join(bytes(part) for row in cursor.fetchall() for part in row)
    for secret in (phone, key, tokens["token"], tokens["refreshToken"], tokens["userId"]):
        assert secret.encode() not in stored
