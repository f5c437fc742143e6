"""GET /devices, DELETE /devices/{id}."""

from __future__ import annotations

import uuid
from typing import Any

import pytest

from accounts.models import Device
from delivery.store.sync import store
from tests.accounts.conftest import Api, assert_problem, parallel, sign_in

pytestmark = pytest.mark.django_db


def test_the_list_shows_linked_devices_oldest_first() -> None:
    first = sign_in(deviceName="phone", registrationId=9)
    second = sign_in(first.phone, deviceName="laptop")
    items = second.api.get("/devices").json()["items"]
    assert [(item["deviceId"], item["name"], item["primary"], item["current"]) for item in items] == [
        (first.device_id, "phone", True, False),
        (second.device_id, "laptop", False, True),
    ]
    assert [item["registrationId"] for item in items] == [9, None]
    assert set(items[0]) == {
        "deviceId", "name", "primary", "current", "registrationId", "linkedAt", "linkedBy", "lastSeenAt"
    }  # fmt: skip


def test_the_list_costs_two_queries(django_assert_num_queries: Any) -> None:
    person = sign_in()
    sign_in(person.phone)
    with django_assert_num_queries(2):
        person.api.get("/devices")


def test_removing_a_device_ends_it_here_in_the_engine_and_on_its_socket(
    told: Any, django_capture_on_commit_callbacks: Any
) -> None:
    first = sign_in()
    second = sign_in(first.phone)
    read = told(first.user_id)
    with django_capture_on_commit_callbacks(execute=True):
        assert first.api.delete(f"/devices/{second.device_id}").status_code == 204
        assert read() == []  # not before the commit
    at = Device.objects.get(pk=second.device_id).unlinked_at
    data = {"deviceId": second.device_id, "name": "phone", "reason": "removed", "at": at}
    assert read() == [
        {"type": "device.removed", "deviceId": second.device_id},
        {"type": "notice", "kind": "device_removed", "data": data, "but": second.device_id},
    ]
    assert_problem(second.api.get("/me"), "unauthenticated", 401)
    assert_problem(
        Api().post("/auth/refresh", {"refreshToken": second.refresh_token}), "unauthenticated", 401
    )
    assert [row.device for row in store.devices([first.user_id])[first.user_id]] == [first.device_id]
    assert [item["deviceId"] for item in first.api.get("/devices").json()["items"]] == [first.device_id]


def test_a_lost_event_fails_no_request(settings: Any, django_capture_on_commit_callbacks: Any) -> None:
    settings.CHANNEL_LAYERS = {
        "default": {
            "BACKEND": "channels_redis.pubsub.RedisPubSubChannelLayer",
            "CONFIG": {"hosts": ["redis://127.0.0.1:1/0"]},
        }
    }
    person = sign_in()
    with django_capture_on_commit_callbacks(execute=True):
        assert person.api.post("/auth/logout").status_code == 204
    assert Device.objects.get(pk=person.device_id).unlinked_at is not None


def test_without_the_primary_the_oldest_device_is_primary() -> None:
    first = sign_in()
    second, third = sign_in(first.phone), sign_in(first.phone)
    first.api.delete(f"/devices/{first.device_id}")
    primary = {item["deviceId"]: item["primary"] for item in third.api.get("/devices").json()["items"]}
    assert primary == {second.device_id: True, third.device_id: False}


def test_other_peoples_devices_and_unknown_ones_are_not_found() -> None:
    person, other = sign_in(), sign_in()
    assert_problem(person.api.delete(f"/devices/{other.device_id}"), "not_found", 404)
    assert_problem(person.api.delete(f"/devices/{uuid.uuid4()}"), "not_found", 404)
    assert_problem(person.api.delete("/devices/1"), "not_found", 404)
    assert other.api.get("/me").status_code == 200


def test_removing_twice_is_not_found_the_second_time() -> None:
    person = sign_in()
    other = sign_in(person.phone)
    assert person.api.delete(f"/devices/{other.device_id}").status_code == 204
    assert_problem(person.api.delete(f"/devices/{other.device_id}"), "not_found", 404)


def test_a_removed_device_verifies_as_a_new_one() -> None:
    person = sign_in()
    other = sign_in(person.phone)
    person.api.delete(f"/devices/{other.device_id}")
    again = sign_in(person.phone, refreshToken=other.refresh_token)
    assert again.device_id not in {person.device_id, other.device_id}


def test_the_other_devices_are_told_of_a_new_one(told: Any, django_capture_on_commit_callbacks: Any) -> None:
    with django_capture_on_commit_callbacks(execute=True):
        person = sign_in()
    read = told(person.user_id)
    with django_capture_on_commit_callbacks(execute=True):
        added = sign_in(person.phone, deviceName="laptop")
    at = Device.objects.get(pk=added.device_id).linked_at
    data = {"deviceId": added.device_id, "name": "laptop", "at": at}
    assert read() == [{"type": "notice", "kind": "device_linked", "data": data}]


@pytest.mark.django_db(transaction=True)
def test_devices_that_leave_at_once_leave_one_primary() -> None:
    people = [sign_in()]
    people += [sign_in(people[0].phone) for _ in range(3)]
    leaving = iter(people[:3])
    statuses = parallel(3, lambda: (lambda who: who.api.post("/auth/logout").status_code)(next(leaving)))
    assert statuses == [204, 204, 204]
    (left,) = people[3].api.get("/devices").json()["items"]
    assert left["primary"]
