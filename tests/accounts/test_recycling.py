"""A number whose account was silent for long and that is verified on another device belongs to somebody else."""

from __future__ import annotations

from typing import Any

import pytest

from accounts.limits import DAY_MS
from accounts.models import Account, Device
from delivery.store.sync import store
from tests.accounts.conftest import Api, Person, assert_problem, code_for, sign_in, verify
from tests.accounts.test_conversations import append, open_direct
from whatsapp.infra.clock import now_ms

pytestmark = pytest.mark.django_db

LONG = 45 * DAY_MS


def silent(person: Person) -> Person:
    """A person who used the account for the last time 45 days ago."""
    Account.objects.filter(pk=person.user_id).update(created_at=1)
    for device in Device.objects.filter(user_id=person.user_id):
        device.last_seen_at -= LONG
        device.save(update_fields=["last_seen_at"])
    return person


def test_the_newcomer_gets_nothing_of_the_old_person() -> None:
    old, friend = sign_in(), sign_in()
    old.api.patch("/me", {"name": "Ann", "about": "here", "language": "pt-BR"})
    old.api.put(f"/contacts/{friend.user_id}", {"nickname": "Bob"})
    friend.api.post("/contacts", {"phoneNumber": old.phone, "nickname": "Ann"})
    conversation = open_direct(old, friend)
    append(friend, conversation, "for Ann alone")
    silent(old)
    new = sign_in(old.phone)
    assert new.user_id != old.user_id
    me = new.api.get("/me").json()
    assert (me["phoneNumber"], me["name"], me["about"], me["language"]) == (old.phone, "", "", "")
    assert new.api.get("/contacts").json() == {"items": []}
    assert new.api.get("/conversations").json() == {"items": []}
    assert_problem(new.api.get(f"/conversations/{conversation}/events"), "not_found", 404)
    assert [item["deviceId"] for item in new.api.get("/devices").json()["items"]] == [new.device_id]
    assert Device.objects.get(pk=new.device_id).primary
    # Nobody takes the one for the other: the number leads to the newcomer, the old id to nobody.
    assert friend.api.post("/contacts", {"phoneNumber": old.phone}).json()["userId"] == new.user_id
    assert_problem(friend.api.get(f"/users/{old.user_id}"), "not_found", 404)
    assert_problem(friend.api.put(f"/conversations/direct/{old.user_id}"), "not_found", 404)
    assert open_direct(friend, new) != conversation
    # What the friend has stays.
    assert len(friend.api.get(f"/conversations/{conversation}/events").json()["items"]) == 1


def test_the_old_devices_are_unlinked_here_in_the_engine_and_on_their_sockets(
    told: Any, django_capture_on_commit_callbacks: Any
) -> None:
    old = sign_in()
    second = sign_in(old.phone)
    silent(old)
    read = told(old.user_id)
    with django_capture_on_commit_callbacks(execute=True):
        new = sign_in(old.phone)
    removed = {event["deviceId"] for event in read() if event["type"] == "device.removed"}
    assert removed == {old.device_id, second.device_id}
    for person in (old, second):
        assert_problem(person.api.get("/me"), "unauthenticated", 401)
        body = {"refreshToken": person.refresh_token}
        assert_problem(Api().post("/auth/refresh", body), "unauthenticated", 401)
    assert store.devices([old.user_id])[old.user_id] == ()
    account = Account.objects.get(pk=old.user_id)
    assert (account.phone, account.name, account.retired_at is not None) == (None, "", True)
    # An old token proves nothing any more: who has it and the number is a new device of the newcomer.
    again = sign_in(old.phone, refreshToken=old.refresh_token)
    assert (again.user_id, again.device_id != old.device_id) == (new.user_id, True)


def test_the_own_device_keeps_the_account_however_long_it_was_away() -> None:
    person = silent(sign_in())
    again = sign_in(person.phone, refreshToken=person.refresh_token)
    assert (again.user_id, again.device_id) == (person.user_id, person.device_id)


def test_who_was_here_lately_keeps_the_account_on_a_new_device() -> None:
    person = sign_in()
    Account.objects.filter(pk=person.user_id).update(created_at=1)
    device = Device.objects.get(pk=person.device_id)
    device.last_seen_at -= LONG - 60_000
    device.save()
    assert sign_in(person.phone).user_id == person.user_id


def test_one_device_in_use_keeps_the_account_for_all() -> None:
    person = sign_in()
    in_use = sign_in(person.phone)
    silent(person)
    Device.objects.filter(pk=in_use.device_id).update(last_seen_at=now_ms())
    assert sign_in(person.phone).user_id == person.user_id


def test_a_device_that_was_unlinked_lately_counts_as_use() -> None:
    person = sign_in()
    Account.objects.filter(pk=person.user_id).update(created_at=1)
    assert person.api.post("/auth/logout").status_code == 204
    assert sign_in(person.phone).user_id == person.user_id


def test_a_wrong_code_or_a_full_house_retires_nobody(limits: Any) -> None:
    person = silent(sign_in())
    assert Api().post("/auth/register", {"phoneNumber": person.phone}).status_code == 202
    body = {"phoneNumber": person.phone, "code": "x", "deviceName": "phone"}
    assert_problem(Api().post("/auth/verify", body), "unauthenticated", 401)
    assert Account.objects.get(phone=person.phone).pk == Account.objects.get(pk=person.user_id).pk
    limits(devices_per_user=0)
    body["code"] = code_for(person.phone)
    assert_problem(Api().post("/auth/verify", body), "limit_exceeded", 409)
    account = Account.objects.get(pk=person.user_id)
    assert (account.phone, account.retired_at) == (person.phone, None)


def test_a_ban_is_not_sat_out_by_silence() -> None:
    person = silent(sign_in())
    Account.objects.filter(pk=person.user_id).update(banned_until=2**52)
    assert_problem(verify(person.phone), "banned", 403)
    Account.objects.filter(pk=person.user_id).update(banned_until=None)
    assert sign_in(person.phone).user_id != person.user_id


def test_the_newcomer_is_recycled_in_turn() -> None:
    first = silent(sign_in())
    second = silent(sign_in(first.phone))
    third = sign_in(first.phone)
    assert len({first.user_id, second.user_id, third.user_id}) == 3
