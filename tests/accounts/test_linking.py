"""/auth/link: a new device shows a code, the primary device approves it, the new device fetches its session, once."""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable
from typing import Any

import pytest

from accounts.models import Account, Device, DeviceLink, KeptAnswer, RefreshToken
from accounts.services import bans
from accounts.tasks import prune
from delivery.store.sync import store
from tests.accounts.conftest import Api, Person, assert_problem, at_once, parallel, sign_in
from whatsapp.infra.clock import now_ms

pytestmark = pytest.mark.django_db

POLL = "X-Link-Secret"
DAY_MS = 86_400_000


class Newcomer:
    """A device that shows a code."""

    def __init__(self, **fields: Any) -> None:
        answer = Api().post("/auth/link", {"deviceName": "laptop", **fields})
        assert answer.status_code == 201, answer.content
        self.offer: dict[str, Any] = answer.json()
        form, version, self.link_id, self.secret = self.offer["qr"].split(":")
        assert (form, version, self.link_id) == ("wa-link", "1", self.offer["linkId"])
        self.path = f"/auth/link/{self.link_id}"

    def poll(self, secret: str = "") -> Any:
        return Api().get(self.path, headers={POLL: secret or self.offer["pollSecret"]})

    def look(self, person: Person, secret: str = "") -> Any:
        return person.api.get(f"{self.path}/device", headers={POLL: secret or self.secret})

    def approve(self, person: Person, **fields: Any) -> Any:
        return person.api.put(self.path, {"secret": self.secret, **fields})

    def reject(self, person: Person, secret: str = "") -> Any:
        return person.api.delete(self.path, headers={POLL: secret or self.secret})

    def linked(self) -> dict[str, Any]:
        """The session, fetched."""
        answer = self.poll()
        assert answer.status_code == 200, answer.content
        body: dict[str, Any] = answer.json()
        assert body["status"] == "approved", body
        return body


def names(person: Person) -> list[str]:
    return [item["name"] for item in person.api.get("/devices").json()["items"]]


def test_the_whole_way(told: Any, django_capture_on_commit_callbacks: Any) -> None:
    person = sign_in(deviceName="phone")
    read = told(person.user_id)
    new = Newcomer(deviceName="Ann's laptop", registrationId=17)
    waiting = new.poll()
    assert waiting.json() == {"status": "pending", "expiresAt": new.offer["expiresAt"], "retryAfter": 2_000}
    assert waiting.headers["Cache-Control"] == "no-store"
    asked = new.look(person).json()
    assert asked["askedAt"] <= now_ms() < asked["expiresAt"] == new.offer["expiresAt"]
    assert (asked["status"], asked["deviceName"], asked["sameAddress"]) == ("pending", "Ann's laptop", True)
    approved = new.approve(person, historyDays=3).json()
    assert (approved["status"], approved["historyDays"]) == ("approved", 3)
    assert names(person) == ["phone"], "until it has fetched its session it is no device"
    with django_capture_on_commit_callbacks(execute=True):
        session = new.linked()
    assert set(session) == {"status", "token", "refreshToken", "expiresAt", "userId", "deviceId"}
    assert session["userId"] == person.user_id
    at = Device.objects.get(pk=session["deviceId"]).linked_at
    data = {"deviceId": session["deviceId"], "name": "Ann's laptop", "at": at, "linkedBy": person.device_id}
    assert read() == [{"type": "notice", "kind": "device_linked", "data": data}]
    items = Api(session["token"]).get("/devices").json()["items"]
    assert [(i["deviceId"], i["primary"], i["linkedBy"], i["registrationId"]) for i in items] == [
        (person.device_id, True, None, None),
        (session["deviceId"], False, person.device_id, 17),
    ]
    assert Api().post("/auth/refresh", {"refreshToken": session["refreshToken"]}).status_code == 200
    assert {row.device for row in store.devices([person.user_id])[person.user_id]} == {
        person.device_id,
        session["deviceId"],
    }
    # Told again what it did: and nothing is done twice.
    again = new.approve(person, historyDays=3).json()
    assert (again["status"], again["deviceId"]) == ("linked", session["deviceId"])
    assert_problem(new.poll(), "gone", 410)
    assert_problem(new.reject(person), "conflict", 409)
    assert Device.objects.filter(user_id=person.user_id).count() == 2


def test_the_id_of_a_link_and_each_secret_alone_open_nothing() -> None:
    person, new, other = sign_in(), Newcomer(), Newcomer()
    poll = new.offer["pollSecret"]
    for path in (new.path, f"/auth/link/{uuid.uuid4()}"):
        for wrong in (new.secret, other.secret, other.offer["pollSecret"], "A" * 43):
            assert_problem(Api().get(path, headers={POLL: wrong}), "not_found", 404)
        for wrong in (poll, other.secret, "A" * 43):
            headers = {POLL: wrong}
            assert_problem(person.api.get(f"{path}/device", headers=headers), "not_found", 404)
            assert_problem(person.api.put(path, {"secret": wrong}), "not_found", 404)
            assert_problem(person.api.delete(path, headers=headers), "not_found", 404)
    for wrong in ("", "x", "A" * 44, "é" * 43):
        assert_problem(Api().get(new.path, headers={POLL: wrong} if wrong else {}), "bad_request", 400)
    # The code without a session: nothing either.
    assert_problem(Api().put(new.path, {"secret": new.secret}), "unauthenticated", 401)
    assert_problem(Api().delete(new.path, headers={POLL: new.secret}), "unauthenticated", 401)
    assert_problem(Api().get(f"{new.path}/device", headers={POLL: new.secret}), "unauthenticated", 401)
    assert new.poll().json()["status"] == "pending"


def test_what_is_stored_opens_nothing() -> None:
    person, new = sign_in(), Newcomer()
    new.approve(person)
    row = json.dumps(
        DeviceLink.objects.filter(pk=new.link_id).values().get(),
        default=lambda v: bytes(v).hex() if isinstance(v, memoryview) else str(v),
    )
    secrets = [new.secret, new.offer["pollSecret"]]
    assert not [secret for secret in secrets if secret in row or secret.encode().hex() in row]
    session = new.linked()
    assert not RefreshToken.objects.filter(token_hash=session["refreshToken"].encode()).exists()


def test_no_answer_with_secrets_is_kept_for_a_repeat() -> None:
    person, key = sign_in(), {"X-Idempotency-Key": str(uuid.uuid4())}
    before = KeptAnswer.objects.count()
    first = Api().post("/auth/link", {"deviceName": "laptop"}, headers=key).json()
    second = Api().post("/auth/link", {"deviceName": "laptop"}, headers=key).json()
    assert first["linkId"] != second["linkId"]
    path = f"/auth/link/{first['linkId']}"
    body = {"secret": first["qr"].rpartition(":")[2]}
    assert person.api.put(path, body, headers=key).status_code == 200
    headers = {**key, POLL: first["pollSecret"]}
    assert Api().get(path, headers=headers).json()["status"] == "approved"
    assert_problem(Api().get(path, headers=headers), "gone", 410)
    assert KeptAnswer.objects.count() == before


def test_looking_without_a_body_takes_nothing() -> None:
    """HEAD, which frameworks answer by GET, would use the session up."""
    person, new = sign_in(), Newcomer()
    new.approve(person)
    headers = {POLL: new.offer["pollSecret"]}
    assert Api()("HEAD", new.path, headers=headers).status_code == 401
    assert person.api("HEAD", new.path, headers=headers).status_code == 405
    assert new.linked()["userId"] == person.user_id


def test_only_the_primary_device_lets_others_in() -> None:
    person = sign_in()
    second, new = sign_in(person.phone), Newcomer()
    for answer in (new.look(second), new.approve(second), new.reject(second)):
        assert_problem(answer, "forbidden", 403)
    # It is told the same whatever the code.
    assert_problem(second.api.put(f"/auth/link/{uuid.uuid4()}", {"secret": "A" * 43}), "forbidden", 403)
    person.api.post("/auth/logout")
    assert new.approve(second).status_code == 200  # it is primary now


def test_a_device_that_came_by_a_code_is_the_last_to_become_primary() -> None:
    person, new = sign_in(), Newcomer()
    new.approve(person)
    laptop = new.linked()
    phone = sign_in(person.phone)  # linked later, and the number was verified on it

    def primary() -> set[str]:
        items = phone.api.get("/devices").json()["items"]
        return {item["deviceId"] for item in items if item["primary"]}

    assert phone.api.delete(f"/devices/{person.device_id}").status_code == 204
    assert primary() == {phone.device_id}
    assert phone.api.post("/auth/logout").status_code == 204
    (left,) = Api(laptop["token"]).get("/devices").json()["items"]
    assert left["primary"]


def test_a_device_that_came_by_a_code_cannot_make_itself_primary() -> None:
    """Or who has a stolen laptop would remove the telephone, set a PIN, and move the account to a number of their own."""
    person, new = sign_in(), Newcomer()
    new.approve(person)
    laptop = Api(new.linked()["token"])
    assert_problem(laptop.delete(f"/devices/{person.device_id}"), "forbidden", 403)
    assert_problem(laptop.put("/auth/pin", {"pin": "271828"}), "forbidden", 403)
    assert person.api.get("/me").status_code == 200
    other = Newcomer()
    other.approve(person)
    assert laptop.delete(f"/devices/{other.linked()['deviceId']}").status_code == 204  # any but the primary
    # The owner who has lost the telephone verifies the number on a new one, which may.
    phone = sign_in(person.phone)
    assert phone.api.delete(f"/devices/{person.device_id}").status_code == 204


def test_whoever_is_primary_afterwards_may_approve_anew(clock: Callable[[int], None]) -> None:
    person, new, other = sign_in(), Newcomer(), Newcomer()
    second = sign_in(person.phone)
    new.approve(person, historyDays=1)
    other.approve(person)
    person.api.post("/auth/logout")
    assert_problem(new.poll(), "gone", 410)
    assert new.approve(second, historyDays=2).json()["historyDays"] == 2
    assert new.linked()["userId"] == second.user_id
    # The same device with another session: its own earlier approval is none either.
    assert other.approve(second).status_code == 200
    clock(1_000)
    again = sign_in(second.phone, refreshToken=second.refresh_token)
    assert_problem(other.poll(), "gone", 410)
    assert other.approve(again).status_code == 200
    assert other.linked()["userId"] == second.user_id


@pytest.mark.parametrize("end", ["logout", "revoked", "verified anew", "banned device", "retired"])
def test_an_approval_ends_with_what_gave_it(end: str, clock: Callable[[int], None]) -> None:
    """Until the session is fetched: then it is the new device's own."""
    person, new = sign_in(), Newcomer()
    sign_in(person.phone)
    assert new.approve(person).status_code == 200
    clock(1_000)
    expected = ("gone", 410)
    if end == "logout":
        person.api.post("/auth/logout")
    elif end == "revoked":
        Device.objects.filter(pk=person.device_id).update(revoked_at=now_ms())
    elif end == "verified anew":
        sign_in(person.phone, refreshToken=person.refresh_token)
    elif end == "banned device":
        bans.ban_device(device=Device.objects.get(pk=person.device_id), until=now_ms() + DAY_MS)
    else:
        Device.objects.filter(user_id=person.user_id).update(unlinked_at=now_ms(), primary=False)
    before = Device.objects.count()
    assert_problem(new.poll(), *expected)
    assert Device.objects.count() == before


def test_the_banned_are_refused_at_each_step() -> None:
    person, installation = sign_in(), str(uuid.uuid4())
    new = Newcomer(deviceId=installation)
    bans.ban_installation(device_id=installation, until=now_ms() + DAY_MS)
    assert_problem(Api().post("/auth/link", {"deviceName": "x", "deviceId": installation}), "banned", 403)
    assert_problem(new.approve(person), "banned", 403)
    bans.lift_installation(device_id=installation)
    assert new.approve(person).status_code == 200
    bans.ban_installation(device_id=installation, until=now_ms() + DAY_MS)
    assert_problem(new.poll(), "banned", 403)
    bans.lift_installation(device_id=installation)
    account = Account.objects.get(pk=person.user_id)
    bans.ban(account=account, until=now_ms() + DAY_MS)
    assert_problem(new.poll(), "banned", 403)
    assert_problem(new.approve(person), "banned", 403)
    bans.lift(account=account)
    session = new.linked()
    # The ban of an installation finds devices that came by a code.
    bans.ban_installation(device_id=installation, until=now_ms() + DAY_MS)
    assert_problem(Api(session["token"]).get("/me"), "banned", 403)


def test_a_sixth_device_has_no_room(limits: Any) -> None:
    limits(devices_per_user=2)
    person, new, other = sign_in(), Newcomer(), Newcomer()
    assert new.approve(person).status_code == 200
    second = sign_in(person.phone)
    problem = assert_problem(new.poll(), "limit_exceeded", 409)
    assert problem["details"] == {"limit": 2}
    assert_problem(other.approve(person), "limit_exceeded", 409)
    assert person.api.delete(f"/devices/{second.device_id}").status_code == 204
    new.linked()  # it had gone on asking


def test_codes_expire(clock: Callable[[int], None]) -> None:
    person, new, other, third = sign_in(), Newcomer(), Newcomer(), Newcomer()
    clock(100_000)
    assert new.approve(person).status_code == 200
    assert other.poll().json()["status"] == "pending"
    clock(20_001)
    assert_problem(other.poll(), "gone", 410)
    assert_problem(other.look(person), "gone", 410)
    assert_problem(other.approve(person), "gone", 410)
    assert_problem(third.approve(person), "gone", 410)
    clock(20_000)
    session = new.linked()  # a minute from its approval
    clock(3_500_000)
    prune()
    assert_problem(other.poll(), "gone", 410)
    clock(200_000)
    prune()
    assert_problem(other.poll(), "not_found", 404)
    assert DeviceLink.objects.filter(pk=new.link_id).count() == 0
    assert Device.objects.filter(pk=session["deviceId"], unlinked_at=None).exists()


def test_an_approval_that_nobody_fetches_expires(clock: Callable[[int], None]) -> None:
    person, new = sign_in(), Newcomer()
    new.approve(person)
    clock(60_001)
    assert_problem(new.poll(), "gone", 410)
    assert_problem(new.approve(person), "gone", 410)
    assert len(names(person)) == 1


def test_rejected_codes_are_void_also_after_the_approval() -> None:
    person, new, other = sign_in(), Newcomer(), Newcomer()
    for one in (new, other):
        if one is other:
            one.approve(person)
        assert one.reject(person).status_code == 204
        assert one.reject(person).status_code == 204
        assert_problem(one.poll(), "gone", 410)
        assert_problem(one.approve(person), "gone", 410)
    assert len(names(person)) == 1


def test_an_approval_is_one_persons() -> None:
    ann, bob, new = sign_in(), sign_in(), Newcomer()
    assert new.approve(ann, historyDays=1).status_code == 200
    for answer in (new.approve(bob), new.look(bob), new.reject(bob)):
        assert_problem(answer, "gone", 410)
    assert new.approve(ann, historyDays=1).json()["status"] == "approved"
    assert_problem(new.approve(ann, historyDays=2), "conflict", 409)
    assert new.linked()["userId"] == ann.user_id


def test_days_of_history_have_bounds() -> None:
    person, new = sign_in(), Newcomer()
    for bad in (-1, 31, 1.5, "7", True):
        assert_problem(new.approve(person, historyDays=bad), "bad_request", 400)
    assert new.approve(person, historyDays=30).status_code == 200


def test_codes_are_limited_by_address_and_approvals_by_account(limits: Any) -> None:
    limits(links_per_address_hour=3, link_approvals_per_day=2)
    person, codes = sign_in(), [Newcomer() for _ in range(3)]
    answer = Api().post("/auth/link", {"deviceName": "x"})
    assert_problem(answer, "rate_limited", 429)
    assert Api().post("/auth/link", {"deviceName": "x"}, REMOTE_ADDR="192.0.2.7").status_code == 201
    for code in codes[:2]:
        assert code.approve(person).status_code == 200
        assert code.approve(person).status_code == 200  # a repetition is none
    assert_problem(codes[2].approve(person), "rate_limited", 429)


def test_an_account_with_a_pin_is_asked_for_it(limits: Any) -> None:
    limits(wrong_pins_free=1, wrong_pins_per_day=2)
    person, new, other = sign_in(), Newcomer(), Newcomer()
    assert person.api.put("/auth/pin", {"pin": "271828"}).status_code == 204
    assert assert_problem(new.approve(person), "forbidden", 403)["details"] == {"pinRequired": True}
    wrong = assert_problem(new.approve(person, pin="314159"), "forbidden", 403)
    assert wrong["details"] == {"pinRequired": True, "pinWrong": True}
    assert new.poll().json()["status"] == "pending"
    assert new.approve(person, pin="271828").json()["status"] == "approved"
    assert new.approve(person).json()["status"] == "approved"  # a repetition
    assert_problem(other.approve(person, pin="314159"), "forbidden", 403)  # counted, though refused
    assert_problem(other.approve(person, pin="271828"), "rate_limited", 429)
    assert new.linked()["userId"] == person.user_id


def test_another_address_is_shown_as_one() -> None:
    person = sign_in()
    offer = Api().post("/auth/link", {"deviceName": "x"}, REMOTE_ADDR="192.0.2.7").json()
    headers = {POLL: offer["qr"].rpartition(":")[2]}
    asked = person.api.get(f"/auth/link/{offer['linkId']}/device", headers=headers).json()
    assert asked["sameAddress"] is False
    # Of two that nobody knows nothing is said.
    offer = Api().post("/auth/link", {"deviceName": "x"}, REMOTE_ADDR="").json()
    headers = {POLL: offer["qr"].rpartition(":")[2]}
    path = f"/auth/link/{offer['linkId']}/device"
    assert person.api.get(path, headers=headers, REMOTE_ADDR="").json()["sameAddress"] is False


def test_looking_costs_one_query_and_takes_no_lock(django_assert_num_queries: Any) -> None:
    new = Newcomer()
    with django_assert_num_queries(1) as queries:
        new.poll()
    assert "FOR UPDATE" not in queries.captured_queries[0]["sql"]


@pytest.mark.django_db(transaction=True)
def test_a_session_is_given_once_to_many_who_ask_at_once() -> None:
    person, new = sign_in(), Newcomer()
    new.approve(person)
    answers = parallel(8, new.poll)
    assert sorted(answer.status_code for answer in answers) == [200, *[410] * 7]
    assert Device.objects.filter(user_id=person.user_id, unlinked_at=None).count() == 2


@pytest.mark.django_db(transaction=True)
def test_of_two_people_who_approve_at_once_one_gets_the_device() -> None:
    for _ in range(4):
        ann, bob, new = sign_in(), sign_in(), Newcomer()
        answers = at_once(lambda: new.approve(ann), lambda: new.approve(bob), new.poll)  # noqa: B023
        statuses = sorted(answer.status_code for answer in answers)
        assert statuses == [200, 200, 410]
        owner = DeviceLink.objects.get(pk=new.link_id).user_id
        assert str(owner) in (ann.user_id, bob.user_id)
        if DeviceLink.objects.get(pk=new.link_id).device_id is None:
            assert new.linked()["userId"] == str(owner)


@pytest.mark.django_db(transaction=True)
def test_a_device_let_in_while_its_primary_leaves_is_in_or_out() -> None:
    """Fetched before the primary was unlinked, or gone; and there is one primary device."""
    for _ in range(4):
        person, new = sign_in(), Newcomer()
        second = sign_in(person.phone)
        new.approve(person)
        answers = at_once(new.poll, lambda: person.api.post("/auth/logout"))  # noqa: B023
        assert sorted(answer.status_code for answer in answers)[0] in (200, 204)
        items = second.api.get("/devices").json()["items"]
        assert len(items) == (2 if 200 in [answer.status_code for answer in answers] else 1)
        assert [item["primary"] for item in items].count(True) == 1


@pytest.mark.django_db(transaction=True)
def test_many_codes_fetched_at_once_keep_the_bound_of_devices(limits: Any) -> None:
    limits(devices_per_user=3)
    person, codes = sign_in(), [Newcomer() for _ in range(4)]
    for code in codes:
        assert code.approve(person).status_code == 200
    turns = iter(codes)
    statuses = sorted(answer.status_code for answer in parallel(4, lambda: next(turns).poll()))
    assert statuses == [200, 200, 409, 409]
    assert len(names(person)) == 3


def test_what_was_removed_meanwhile_is_listed() -> None:
    person = sign_in()
    began = now_ms() - 1
    second, third = sign_in(person.phone, deviceName="tablet"), sign_in(person.phone, deviceName="desk")
    person.api.delete(f"/devices/{second.device_id}")
    third.api.post("/auth/logout")
    body = person.api.get(f"/devices?since={began}").json()
    assert {(item["deviceId"], item["name"], item["reason"]) for item in body["removed"]} == {
        (second.device_id, "tablet", "removed"),
        (third.device_id, "desk", "logout"),
    }
    assert [item["deviceId"] for item in body["items"]] == [person.device_id]
    assert person.api.get(f"/devices?since={now_ms() + 1_000}").json()["removed"] == []
    assert "removed" not in person.api.get("/devices").json()
