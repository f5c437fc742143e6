"""Devices that nobody uses: their user is told, then they are unlinked; who comes back stays."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from accounts.models import Device
from accounts.services import idle
from accounts.tasks import unlink_idle
from delivery.store.sync import store
from tests.accounts.conftest import Api, Person, assert_problem, at_once, sign_in
from whatsapp.infra.clock import now_ms

pytestmark = pytest.mark.django_db

DAY_MS = 86_400_000


@pytest.fixture
def days(clock: Callable[[int], None]) -> Callable[[float], int]:
    """``days(3)``: so long later, and the job has run; how many devices it unlinked."""

    def later(number: float) -> int:
        clock(round(number * DAY_MS))
        return int(unlink_idle())

    return later


def linked(person: Person) -> set[str]:
    return {
        str(pk)
        for pk in Device.objects.filter(user_id=person.user_id, unlinked_at=None).values_list("pk", flat=True)
    }


def used(person: Person) -> None:
    """The device is seen, as it is when it connects or refreshes."""
    answer = Api().post("/auth/refresh", {"refreshToken": person.refresh_token})
    assert answer.status_code == 200
    person.token, person.refresh_token = answer.json()["token"], answer.json()["refreshToken"]


def test_a_silent_device_is_told_of_and_then_unlinked(
    days: Any, told: Any, django_capture_on_commit_callbacks: Any
) -> None:
    phone = sign_in()
    laptop, tablet = sign_in(phone.phone, deviceName="laptop"), sign_in(phone.phone, deviceName="tablet")
    seen = Device.objects.get(pk=laptop.device_id).last_seen_at
    read = told(phone.user_id)
    with django_capture_on_commit_callbacks(execute=True):
        assert days(26.9) == 0
    assert read() == []
    used(tablet)
    with django_capture_on_commit_callbacks(execute=True):
        assert days(0.2) == 0
    (notice,) = read()
    assert (notice["type"], notice["kind"]) == ("notice", "device_idle")
    data = dict(notice["data"])
    # 30 days after it was seen, but not before three days after this.
    assert seen + 30 * DAY_MS <= data.pop("unlinkAt") <= seen + 31 * DAY_MS
    assert data == {"deviceId": laptop.device_id, "name": "laptop"}
    with django_capture_on_commit_callbacks(execute=True):
        assert days(1) == days(1) == 0
    assert read() == [], "once a silence"
    with django_capture_on_commit_callbacks(execute=True):
        assert days(1) == 1
    at = Device.objects.get(pk=laptop.device_id).unlinked_at
    data = {"deviceId": laptop.device_id, "name": "laptop", "reason": "idle", "at": at}
    assert read() == [
        {"type": "device.removed", "deviceId": laptop.device_id},
        {"type": "notice", "kind": "device_removed", "data": data, "but": laptop.device_id},
    ]
    assert linked(phone) == {phone.device_id, tablet.device_id}
    assert {row.device for row in store.devices([phone.user_id])[phone.user_id]} == linked(phone)
    assert_problem(
        Api().post("/auth/refresh", {"refreshToken": laptop.refresh_token}), "unauthenticated", 401
    )
    used(tablet)
    (removed,) = Api(tablet.token).get(f"/devices?since={seen}").json()["removed"]
    assert (removed["deviceId"], removed["reason"]) == (laptop.device_id, "idle")


def test_the_primary_device_stays_and_so_does_an_account_of_one(days: Any) -> None:
    person = sign_in()
    assert days(400) == 0
    assert days(400) == 0
    assert linked(person) == {person.device_id}


def test_who_comes_back_after_the_notice_is_told_of_again_before_the_end(days: Any) -> None:
    person = sign_in()
    other = sign_in(person.phone)
    assert days(28) == 0
    used(other)
    assert days(29) == 0  # of the second silence it was told now only
    assert days(2) == 0
    assert days(1.1) == 1
    assert linked(person) == {person.device_id}


def test_a_month_without_any_system_unlinks_nobody_who_comes_back(days: Any) -> None:
    """Nor does a clock that is wrong for an hour."""
    person = sign_in()
    other = sign_in(person.phone)
    assert days(60) == 0
    used(other)
    assert days(3.1) == 0
    assert linked(person) == {person.device_id, other.device_id}


def test_twin_without_the_notice_a_jump_of_the_clock_would_unlink(days: Any, settings: Any) -> None:
    settings.DEVICE_IDLE_NOTICE_DAYS = 0
    person = sign_in()
    sign_in(person.phone)
    assert days(60) + days(0) == 1
    assert linked(person) == {person.device_id}


def test_it_can_be_switched_off_and_takes_other_days(days: Any, settings: Any) -> None:
    settings.DEVICE_IDLE_DAYS = 0
    person = sign_in()
    sign_in(person.phone)
    assert days(100) == days(100) == 0
    settings.DEVICE_IDLE_DAYS = 1
    settings.DEVICE_IDLE_NOTICE_DAYS = 5  # no longer than the whole
    assert days(0) == 0
    assert days(1.1) == 1
    assert len(linked(person)) == 1


def test_many_go_in_batches_and_one_that_fails_keeps_nobody_waiting(
    days: Any, monkeypatch: pytest.MonkeyPatch, django_assert_max_num_queries: Any
) -> None:
    monkeypatch.setattr(idle, "_AT_ONCE", 2)
    person = sign_in()
    others = [sign_in(person.phone) for _ in range(4)]
    with django_assert_max_num_queries(20):
        assert days(28) == 0
    assert Device.objects.filter(user_id=person.user_id, idle_told_at=None).count() == 1
    real = idle.end_device

    def end(*, device: Device, **options: Any) -> None:
        if str(device.pk) == others[1].device_id:
            raise RuntimeError
        real(device=device, **options)

    monkeypatch.setattr(idle, "end_device", end)
    assert days(4) == 3
    assert linked(person) == {person.device_id, others[1].device_id}


@pytest.mark.django_db(transaction=True)
def test_a_device_that_comes_back_at_that_moment_is_in_or_out() -> None:
    for _ in range(5):
        person = sign_in()
        other = sign_in(person.phone)
        long_ago = now_ms() - 40 * DAY_MS
        Device.objects.filter(pk=other.device_id).update(last_seen_at=long_ago, idle_told_at=long_ago + 1)
        answers = at_once(
            lambda: Api().post("/auth/refresh", {"refreshToken": other.refresh_token}),  # noqa: B023
            lambda: idle.unlink_idle(now=now_ms()),
        )
        status = next(answer.status_code for answer in answers if not isinstance(answer, int))
        count = next(answer for answer in answers if isinstance(answer, int))
        assert (status, count) in ((200, 0), (401, 1))
        stays = status == 200
        assert (other.device_id in linked(person)) is stays
        assert (
            other.device_id in {row.device for row in store.devices([person.user_id])[person.user_id]}
        ) is stays
