"""The client's own device ids: counted, banned, followed over accounts."""

from __future__ import annotations

import uuid
from functools import partial
from typing import Any

import pytest
from django.db import connection

from accounts.models import Device
from accounts.services import bans
from tests.accounts.conftest import (
    Api,
    ask,
    assert_problem,
    at_once,
    code_for,
    give,
    messages_to,
    new_number,
    register,
    sign_in,
    verify,
)
from whatsapp.infra.clock import now_ms

pytestmark = pytest.mark.django_db


def test_registrations_of_an_installation_are_limited_whatever_number_and_address(
    limits: Any, clock: Any
) -> None:
    limits(registrations_per_device_day=5)
    device_id = str(uuid.uuid4())
    for n in range(5):
        assert ask(new_number(), device_id, f"192.0.2.{n}").status_code == 202
    phone = new_number()
    problem = assert_problem(ask(phone, device_id.upper(), "192.0.2.9"), "rate_limited", 429)
    assert 0 < problem["retryAfterMs"] <= 86_400_000
    assert messages_to(phone) == []
    assert ask(phone, str(uuid.uuid4())).status_code == 202
    assert register(phone).status_code == 202  # it is the client's to give
    clock(86_400_000)
    assert ask(phone, device_id).status_code == 202


def test_an_installation_is_not_stored_in_clear() -> None:
    device_id = str(uuid.uuid4())
    ask(new_number(), device_id)
    person = sign_in(deviceId=device_id)
    tables = ("accounts_limithit", "accounts_verificationcode", "accounts_device", "accounts_installationban")
    bans.ban_device(device=Device.objects.get(pk=person.device_id), until=2**52)
    with connection.cursor() as cursor:
        for table in tables:
            cursor.execute(f"SELECT {table}::text FROM {table}")
            stored = " ".join(row[0] for row in cursor.fetchall())
            assert stored
            assert device_id not in stored
            assert device_id.encode().hex() not in stored


def test_a_banned_installation_registers_and_verifies_nothing_and_can_be_let_in_again() -> None:
    device_id, phone, later = str(uuid.uuid4()), new_number(), new_number()
    assert ask(later, device_id).status_code == 202
    bans.ban_installation(device_id=device_id, until=2**52)
    problem = assert_problem(ask(phone, device_id), "banned", 403)
    assert problem["details"] == {"until": 2**52, "appealUrl": ""}
    assert messages_to(phone) == []
    # The code that was sent before is of no use to it, whether it names itself again or not.
    assert_problem(give(later, code_for(later)), "banned", 403)
    assert_problem(give(later, code_for(later), deviceId=device_id), "banned", 403)
    register(phone)
    assert_problem(give(phone, code_for(phone), deviceId=device_id), "banned", 403)
    assert give(phone, code_for(phone), deviceId=str(uuid.uuid4())).status_code == 200
    bans.lift_installation(device_id=device_id)
    assert ask(new_number(), device_id).status_code == 202
    assert give(later, code_for(later)).status_code == 200
    with pytest.raises(ValueError):
        bans.ban_installation(device_id=" ", until=1)


def test_a_ban_of_a_device_follows_its_installation_over_accounts(
    told: Any, django_capture_on_commit_callbacks: Any
) -> None:
    device_id = str(uuid.uuid4())
    first, second = sign_in(deviceId=device_id), sign_in(deviceId=device_id)
    other = sign_in(first.phone)
    read, heard = told(first.user_id), told(second.user_id)
    with django_capture_on_commit_callbacks(execute=True):
        bans.ban_device(device=Device.objects.get(pk=second.device_id), until=2**52)
    assert {"type": "device.banned", "deviceId": first.device_id, "until": 2**52} in read()
    assert {"type": "device.banned", "deviceId": second.device_id, "until": 2**52} in heard()
    for person in (first, second):
        assert assert_problem(person.api.get("/me"), "banned", 403)["details"]["until"] == 2**52
        body = {"refreshToken": person.refresh_token}
        assert_problem(Api().post("/auth/refresh", body), "banned", 403)
        # Nor does it come back by proving the number, as the device that it was.
        assert_problem(verify(person.phone, refreshToken=person.refresh_token), "banned", 403)
    assert other.api.get("/me").status_code == 200
    bans.lift_device(device=Device.objects.get(pk=first.device_id))
    assert first.api.get("/me").status_code == 200
    assert second.api.get("/me").status_code == 200


def test_a_device_without_an_installation_is_banned_alone() -> None:
    person = sign_in()
    bans.ban_device(device=Device.objects.get(pk=person.device_id), until=2**52)
    assert_problem(person.api.get("/me"), "banned", 403)
    assert sign_in(person.phone).user_id == person.user_id


def test_a_ban_of_a_device_ends_by_itself(clock: Any) -> None:
    device_id = str(uuid.uuid4())
    person = sign_in(deviceId=device_id)
    bans.ban_device(device=Device.objects.get(pk=person.device_id), until=now_ms() + 60_000)
    assert_problem(person.api.get("/me"), "banned", 403)
    assert_problem(ask(new_number(), device_id), "banned", 403)
    clock(61_000)
    assert person.api.get("/me").status_code == 200
    assert ask(new_number(), device_id).status_code == 202


@pytest.mark.django_db(transaction=True)
def test_a_ban_of_an_installation_misses_no_device_that_is_being_linked() -> None:
    for _ in range(8):
        device_id, phone = str(uuid.uuid4()), new_number()
        ask(phone, device_id)
        code = code_for(phone)
        banning = partial(bans.ban_installation, device_id=device_id, until=2**52)
        answers = [answer for answer in at_once(partial(give, phone, code), banning) if answer is not None]
        if answers[0].status_code == 200:
            assert_problem(Api(answers[0].json()["token"]).get("/me"), "banned", 403)
        else:
            assert_problem(answers[0], "banned", 403)
