"""Wrong codes: whose they are, how many a code and a day, and that the owner still gets in."""

from __future__ import annotations

import uuid
from typing import Any

import pytest

from tests.accounts.conftest import (
    Api,
    ask,
    assert_problem,
    code_for,
    give,
    new_number,
    parallel,
    register,
    sign_in,
    wrong,
)
from whatsapp.infra.limits import Limits

pytestmark = pytest.mark.django_db

OWNER, STRANGER = "192.0.2.1", "198.51.100.7"


def guess(phone: str, code: str, address: str, **fields: Any) -> Any:
    body = {"phoneNumber": phone, "code": code, "deviceName": "phone", **fields}
    return Api().post("/auth/verify", body, REMOTE_ADDR=address)


def wrong_guesses(phone: str, address: str, number: int, **fields: Any) -> list[int]:
    return [guess(phone, wrong(phone), address, **fields).status_code for _ in range(number)]


def test_a_stranger_cannot_use_up_the_attempts_of_who_asked() -> None:
    phone = new_number()
    register(phone, REMOTE_ADDR=OWNER)
    assert wrong_guesses(phone, STRANGER, 6) == [401] * 5 + [429]
    assert_problem(guess(phone, code_for(phone), STRANGER), "rate_limited", 429)
    assert guess(phone, code_for(phone), OWNER).status_code == 200


def test_who_asked_is_known_by_its_installation_too() -> None:
    phone, device_id = new_number(), str(uuid.uuid4())
    assert ask(phone, device_id, OWNER).status_code == 202
    wrong_guesses(phone, STRANGER, 5)
    # Another network meanwhile, as a telephone that leaves the house.
    assert guess(phone, code_for(phone), "203.0.113.5", deviceId=device_id).status_code == 200


@pytest.mark.parametrize(
    ("limit", "address"), [("wrong_codes_per_asker_day", OWNER), ("wrong_codes_by_strangers_day", STRANGER)]
)
def test_wrong_codes_are_bounded_a_day_over_all_codes_of_a_number(
    limit: str, address: str, limits: Any, clock: Any
) -> None:
    limits(**{limit: 7})
    phone = new_number()
    statuses = []
    for _ in range(3):
        register(phone, REMOTE_ADDR=OWNER)
        statuses += wrong_guesses(phone, address, 3)
    assert statuses == [401] * 7 + [429] * 2
    problem = assert_problem(guess(phone, code_for(phone), address), "rate_limited", 429)
    assert 0 < problem["retryAfterMs"] <= 86_400_000
    other = STRANGER if address == OWNER else OWNER
    assert guess(phone, code_for(phone), other).status_code == 200
    clock(86_400_000)
    register(phone, REMOTE_ADDR=OWNER)
    assert guess(phone, code_for(phone), address).status_code == 200


def test_many_addresses_together_are_bounded_and_the_owners_device_still_gets_in(limits: Any) -> None:
    limits(wrong_codes_per_day=6)
    owner = sign_in()
    statuses = []
    for n in range(4):
        register(owner.phone, REMOTE_ADDR=f"203.0.113.{n}")
        statuses += wrong_guesses(owner.phone, f"203.0.113.{n}", 2)
    assert statuses == [401] * 6 + [429] * 2
    assert_problem(guess(owner.phone, code_for(owner.phone), OWNER), "rate_limited", 429)
    again = guess(owner.phone, code_for(owner.phone), OWNER, refreshToken=owner.refresh_token)
    assert again.json()["deviceId"] == owner.device_id


def test_an_address_that_tries_many_numbers_is_bounded(limits: Any) -> None:
    limits(wrong_codes_per_address_day=4)
    statuses = []
    for n in range(3):
        phone = new_number()
        register(phone, REMOTE_ADDR=f"203.0.113.{n}")
        statuses += wrong_guesses(phone, STRANGER, 2)
        assert guess(phone, code_for(phone), f"203.0.113.{n}").status_code == 200
    assert statuses == [401] * 4 + [429] * 2


def test_a_known_device_has_a_bound_of_its_own_and_a_strangers_token_opens_none(limits: Any) -> None:
    limits(wrong_codes_by_device_day=2)
    owner, other = sign_in(), sign_in()
    limits(wrong_codes_per_day=1)
    register(owner.phone, REMOTE_ADDR=STRANGER)
    wrong_guesses(owner.phone, STRANGER, 1)
    assert wrong_guesses(owner.phone, STRANGER, 2, refreshToken=other.refresh_token) == [429, 429]
    assert wrong_guesses(owner.phone, OWNER, 3, refreshToken=owner.refresh_token) == [401, 401, 429]


@pytest.mark.django_db(transaction=True)
def test_parallel_guesses_do_not_pass_the_bound_of_the_day(limits: Any) -> None:
    limits(code_attempts=100, wrong_codes_per_day=4)
    phone = new_number()
    register(phone)
    statuses = parallel(10, lambda: give(phone, wrong(phone)).status_code)
    assert (statuses.count(401), statuses.count(429)) == (4, 6)


def test_the_shipped_bounds_leave_a_chance_of_one_in_twenty_thousand_a_day() -> None:
    shipped = Limits()
    assert shipped.wrong_codes_per_day / 10**6 <= 1 / 20_000
    assert shipped.wrong_codes_per_asker_day >= 2 * shipped.code_attempts  # two codes' worth of slips
    assert (shipped.otp_sends_per_hour, shipped.registrations_per_ip_day) == (3, 10)
    assert shipped.registrations_per_device_day == 5
