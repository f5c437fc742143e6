"""``DELETE /me``: who may, and what is gone at once."""

from __future__ import annotations

import threading
from typing import Any

import pytest
from django.db import connection

from accounts.limits import DAY_MS
from accounts.models import Account, Device, DeviceKeys, Erasure, Prekey, RefreshToken, VerificationCode
from accounts.services import deletion, persons
from delivery.store.sync import store
from tests.accounts.conftest import Api, Person, assert_problem, code_for, give, register, sign_in, wrong
from tests.accounts.prekeys import with_keys
from tests.accounts.test_conversations import append, open_direct
from tests.support.patience import PATIENCE
from tests.support.waiting import until_it_waits_or_ends
from whatsapp.infra.clock import now_ms
from whatsapp.infra.limits import LIMITS

pytestmark = pytest.mark.django_db

PIN = "271828"


def delete(person: Person, **proof: Any) -> Any:
    return person.api.delete("/me", body=proof)


def deleted(person: Person) -> Person:
    """Whose account is ended, by a code."""
    assert register(person.phone).status_code == 202
    assert delete(person, code=code_for(person.phone)).status_code == 204
    return person


def test_a_token_alone_deletes_nothing() -> None:
    person = sign_in()
    for proof in ({}, {"pin": PIN}, {"code": ""}, {"code": None}):
        assert assert_problem(delete(person, **proof), "forbidden", 403)["details"] == {"codeRequired": True}
    assert register(person.phone).status_code == 202
    refusal = assert_problem(delete(person, code=wrong(person.phone)), "forbidden", 403)
    assert refusal["details"] == {"codeWrong": True}
    assert person.api.get("/me").status_code == 200
    assert Erasure.objects.filter(user=person.user_id).count() == 0


def test_the_code_of_another_number_deletes_nothing() -> None:
    person, thief = sign_in(), sign_in()
    assert register(thief.phone).status_code == 202
    assert_problem(delete(person, code=code_for(thief.phone)), "forbidden", 403)
    assert person.api.get("/me").status_code == 200


def test_wrong_codes_are_limited() -> None:
    person = sign_in()
    assert register(person.phone).status_code == 202
    bad = wrong(person.phone)
    for _ in range(LIMITS.code_attempts):
        assert_problem(delete(person, code=bad), "forbidden", 403)
    assert_problem(delete(person, code=code_for(person.phone)), "rate_limited", 429)
    assert person.api.get("/me").status_code == 200


def test_an_account_with_a_pin_is_deleted_by_the_pin_alone() -> None:
    person = sign_in()
    assert person.api.put("/auth/pin", {"pin": PIN}).status_code == 204
    assert register(person.phone).status_code == 202
    refusal = assert_problem(delete(person, code=code_for(person.phone)), "forbidden", 403)
    assert refusal["details"] == {"pinRequired": True}
    refusal = assert_problem(delete(person, pin="314159"), "forbidden", 403)
    assert refusal["details"] == {"pinRequired": True, "pinWrong": True}
    assert delete(person, pin=PIN).status_code == 204
    assert Account.objects.get(pk=person.user_id).retired_at is not None


@pytest.mark.parametrize("body", [{"pin": 1}, {"pin": "1" * 65}, {"code": ["1"]}, {"code": "1" * 17}])
def test_what_is_no_proof_is_a_bad_request(body: Any) -> None:
    assert_problem(delete(sign_in(), **body), "bad_request", 400)


def test_everything_that_lets_in_is_gone_at_once() -> None:
    person, _, _ = with_keys()
    second = sign_in(person.phone)
    deleted(person)
    for one in (person, second):
        assert_problem(one.api.get("/me"), "unauthenticated", 401)
        answer = Api().post("/auth/refresh", {"refreshToken": one.refresh_token})
        assert_problem(answer, "unauthenticated", 401)
    devices = Device.objects.filter(user=person.user_id)
    assert not devices.filter(unlinked_at=None).exists()
    for kind in (RefreshToken, DeviceKeys, Prekey):
        assert not kind.objects.filter(device__in=devices).exists(), kind
    assert not VerificationCode.objects.filter(phone=person.phone).exists()
    assert store.devices([person.user_id])[person.user_id] == ()


def test_sockets_close_and_contacts_are_told(told: Any, django_capture_on_commit_callbacks: Any) -> None:
    person, friend, stranger = sign_in(), sign_in(), sign_in()
    friend.api.post("/contacts", {"phoneNumber": person.phone, "nickname": "Ann"})
    own, friends, strangers = told(person.user_id), told(friend.user_id), told(stranger.user_id)
    with django_capture_on_commit_callbacks(execute=True):
        deleted(person)
    assert [event["deviceId"] for event in own() if event["type"] == "device.removed"] == [person.device_id]
    (notice,) = [event for event in friends() if event["type"] == "notice"]
    assert (notice["kind"], notice["data"]) == ("contact_deleted", {"userId": person.user_id})
    assert strangers() == []


def test_what_was_sent_is_still_delivered() -> None:
    person, friend = sign_in(), sign_in()
    conversation = open_direct(person, friend)
    append(person, conversation, "last words")
    deleted(person)
    items = friend.api.get(f"/conversations/{conversation}/events").json()["items"]
    assert [item["senderId"] for item in items] == [person.user_id]
    assert store.behind(friend.user_id, friend.device_id)[0].conversation == conversation


def test_the_number_is_free_and_nothing_comes_back_with_it() -> None:
    person, friend = sign_in(), sign_in()
    person.api.patch("/me", {"name": "Ann"})
    person.api.put(f"/contacts/{friend.user_id}", {"nickname": "Bob"})
    deleted(person)
    again = sign_in(person.phone)
    assert again.user_id != person.user_id
    assert again.api.get("/me").json()["name"] == ""
    assert again.api.get("/contacts").json() == {"items": []}
    assert_problem(friend.api.get(f"/users/{person.user_id}"), "not_found", 404)


def test_the_erasure_knows_whom_it_is_about_and_shows_nobody() -> None:
    person = sign_in()
    before = now_ms()
    deleted(person)
    row = Erasure.objects.get(user=person.user_id)
    assert row.state == "soft"
    assert before + LIMITS.retention_ms <= row.erase_at < row.due_at
    assert before + 90 * DAY_MS <= row.due_at <= now_ms() + 90 * DAY_MS
    sealed = bytes(row.identifiers)
    assert person.phone.encode() not in sealed
    assert person.phone[1:].encode() not in sealed
    known = persons.unseal(sealed, person.user_id)
    assert (known.user_id, known.phone, known.device_ids) == (
        person.user_id,
        person.phone,
        (person.device_id,),
    )
    # Moved into the row of somebody else it says nothing.
    other = "0190a0e0-0000-7000-8000-000000000001"
    assert persons.unseal(sealed, other) == persons.Person(other)


def test_a_banned_account_does_not_shed_its_ban() -> None:
    person = sign_in()
    assert register(person.phone).status_code == 202
    Account.objects.filter(pk=person.user_id).update(banned_until=2**52)
    assert_problem(delete(person, code=code_for(person.phone)), "banned", 403)
    assert Account.objects.get(pk=person.user_id).phone == person.phone


@pytest.mark.django_db(transaction=True)
def test_who_registers_the_number_while_its_account_ends_by_pin_waits_for_that(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """And not both for each other: a code's row comes before the account's, whoever locks them."""
    person = sign_in()
    assert person.api.put("/auth/pin", {"pin": PIN}).status_code == 204
    held, answers = threading.Event(), list[Any]()
    real = deletion._lock

    def locking(account: Account, device: Device) -> Account:
        locked = real(account, device)
        held.set()
        until_it_waits_or_ends(registering)
        return locked

    def register_anew() -> None:
        try:
            assert held.wait(PATIENCE)
            answers.append(give(person.phone, code))
        finally:
            connection.close()

    assert register(person.phone).status_code == 202
    code = code_for(person.phone)
    registering = threading.Thread(target=register_anew)
    registering.start()
    monkeypatch.setattr(deletion, "_lock", locking)
    ended = delete(person, pin=PIN)
    registering.join()
    assert (ended.status_code, answers[0].status_code) == (204, 401)
    assert not Account.objects.filter(phone=person.phone).exists()
