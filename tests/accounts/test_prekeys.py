"""/keys: what a device leaves for others, and that each one-time key is given once."""

from __future__ import annotations

import base64
import json
import uuid
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from django.db import OperationalError, connection, transaction
from django.test.utils import CaptureQueriesContext
from psycopg.errors import LockNotAvailable

from accounts import events, rates, tasks
from accounts.envelope_devices import envelope_devices
from accounts.models import Account, Allowance, Device, DeviceKeys, Identity, IdentityNews, Prekey
from accounts.services import bundles, identities
from accounts.services.devices import link_device
from accounts.services.sessions import start_session
from tests.accounts.conftest import Api, Person, assert_problem, at_once, new_number, parallel, sign_in
from tests.accounts.test_recycling import silent
from tests.support.signal_keys import IdentityPair, key, keys, new_kyber, new_public, text
from whatsapp.infra import metrics
from whatsapp.infra.clock import now_ms

pytestmark = pytest.mark.django_db
DAY_MS = 86_400_000
#: What happens behind a commit, or in several transactions at once.
committed = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def enqueued(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Tasks that were enqueued; there is no broker here."""
    found: list[Any] = []
    monkeypatch.setattr("delivery.tasks.enqueue_soon", lambda task, *args: found.append(task))
    return found


@pytest.fixture
def lists_changed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Users whose gateways were told that other devices take envelopes."""
    found: list[str] = []
    monkeypatch.setattr(events, "devices_changed", lambda *, user_id: found.append(user_id))
    return found


def someone(phone: str = "") -> Person:
    """A person on a new device, without the way through a text message."""
    phone, now = phone or new_number(), now_ms()
    with transaction.atomic():
        account, _ = Account.objects.get_or_create(phone=phone)
        device = link_device(account=account, name="phone", registration_id=None, now=now)
        tokens = start_session(device=device, now=now)
    return Person(phone, tokens.user_id, tokens.device_id, tokens.token, tokens.refresh_token)


def with_keys(phone: str = "", **counts: Any) -> tuple[Person, IdentityPair, dict[str, Any]]:
    """Somebody who has left keys."""
    person, pair = someone(phone), IdentityPair()
    body = keys(pair, **counts)
    assert person.api.post("/keys", body).status_code == 204
    return person, pair, body


def fetched(caller: Person, user: Person, query: str = "") -> list[dict[str, Any]]:
    answer = caller.api.get(f"/keys/{user.user_id}{query}")
    assert answer.status_code == 200, answer.content
    devices: list[dict[str, Any]] = answer.json()["devices"]
    return devices


def counted(person: Person) -> tuple[int, int]:
    answer = person.api.get("/keys/count").json()
    return answer["preKeys"], answer["pqPreKeys"]


def ids(body: dict[str, Any], field: str) -> list[int]:
    return [one["keyId"] for one in body[field]]


# -- a session can begin


def test_what_was_left_is_given_each_one_time_key_once_then_the_last_resort() -> None:
    caller = someone()
    bob, pair, body = with_keys(classic=2, post_quantum=1, last=True)
    assert counted(bob) == (2, 1)
    first, second, third = (fetched(caller, bob)[0] for _ in range(3))
    for bundle in (first, second, third):
        assert bundle["deviceId"] == bob.device_id
        assert bundle["registrationId"] == 4711
        assert bundle["identityKey"] == text(pair.public)
        assert bundle["signedPreKey"] == body["signedPreKey"]
    assert [first["preKey"], second["preKey"]] == body["preKeys"], "the oldest first"
    assert "preKey" not in third
    assert first["pqPreKey"] == body["pqPreKeys"][0]
    assert second["pqPreKey"] == third["pqPreKey"] == body["lastResort"]
    assert counted(bob) == (0, 0)


@pytest.mark.parametrize("place", range(3))
def test_what_libsignal_makes_is_taken_and_given_back_as_it_was(place: int) -> None:
    body = json.loads((Path(__file__).parent / "libsignal_uploads.json").read_text())["uploads"][place]
    bob, caller = someone(), someone()
    assert bob.api.post("/keys", body).status_code == 204
    (bundle,) = fetched(caller, bob)
    assert bundle == {
        "deviceId": bob.device_id,
        "registrationId": 4711,
        "identityKey": body["identityKey"],
        "signedPreKey": body["signedPreKey"],
        "preKey": body["preKeys"][0],
        "pqPreKey": body["pqPreKeys"][0],
    }


def test_every_device_has_its_own_keys_and_the_calling_one_gets_none_of_its_own() -> None:
    phone, caller = new_number(), someone()
    first, pair, _ = with_keys(phone, classic=1)
    second = someone(phone)
    assert [bundle["deviceId"] for bundle in fetched(caller, first)] == [first.device_id]
    body = keys(pair, classic=1, registrationId=815)
    assert second.api.post("/keys", body).status_code == 204
    assert [bundle["deviceId"] for bundle in fetched(second, first)] == [first.device_id]
    (own,) = fetched(first, first)
    assert (own["deviceId"], own["registrationId"], own["preKey"]) == (
        second.device_id,
        815,
        body["preKeys"][0],
    )
    assert [bundle["deviceId"] for bundle in fetched(caller, first)] == [first.device_id, second.device_id]
    (one,) = fetched(caller, first, f"?deviceId={second.device_id}")
    assert one["deviceId"] == second.device_id
    assert_problem(caller.api.get(f"/keys/{first.user_id}?deviceId={caller.device_id}"), "not_found", 404)
    assert_problem(caller.api.get(f"/keys/{first.user_id}?deviceId=7"), "bad_request", 400)


def test_who_has_no_keys_has_none_and_nobody_is_not_found() -> None:
    caller, bob = someone(), someone()
    assert fetched(caller, bob) == []
    assert counted(bob) == (0, 0)
    assert_problem(caller.api.get("/keys/01900000-0000-7000-8000-000000000000"), "not_found", 404)
    assert_problem(Api().get(f"/keys/{bob.user_id}"), "unauthenticated", 401)


def test_who_is_blocked_gets_what_everybody_gets() -> None:
    stranger, blocked = someone(), someone()
    bob, _, _ = with_keys(classic=10, post_quantum=10, last=True)
    bob.api.put(f"/blocks/{blocked.user_id}")
    seen, unseen = fetched(blocked, bob)[0], fetched(stranger, bob)[0]
    assert sorted(seen) == sorted(unseen)
    assert blocked.api.get(f"/keys/{bob.user_id}").status_code == 200


# -- given once


@committed
@pytest.mark.parametrize("rationed", [True, False])
def test_many_who_ask_at_once_get_each_key_once_and_none_is_lost(
    rationed: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if (
        not rationed
    ):  # what is counted for a user lets one pass after the other; the statement needs no such help
        monkeypatch.setattr(rates, "take", lambda **_: 0)
    bob, _, body = with_keys(classic=20, post_quantum=20, last=True)
    callers = [someone() for _ in range(4)]
    turns = iter(callers * 7)
    given = [bundle for devices in parallel(28, lambda: fetched(next(turns), bob)) for bundle in devices]
    classic = Counter(bundle["preKey"]["keyId"] for bundle in given if "preKey" in bundle)
    quantum = Counter(bundle["pqPreKey"]["keyId"] for bundle in given)
    last = quantum.pop(body["lastResort"]["keyId"], 0)
    assert max(classic.values()) == max(quantum.values()) == 1
    while len(classic) < 20:  # who came while the last ones were locked was given none
        (bundle,) = fetched(someone(), bob)
        assert bundle["preKey"]["keyId"] not in classic
        classic[bundle["preKey"]["keyId"]] += 1
    assert sorted(classic) == sorted(ids(body, "preKeys")), "none is lost"
    assert set(quantum) <= set(ids(body, "pqPreKeys"))
    assert len(quantum) + last == 28
    assert counted(bob)[0] == 0


@committed
@pytest.mark.parametrize("locked", [True, False], ids=["", "twin"])
def test_who_comes_while_a_key_is_taken_gets_the_next_and_does_not_wait(
    locked: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not locked:
        monkeypatch.setattr(bundles, "_TAKE", bundles._TAKE.replace("FOR UPDATE SKIP LOCKED", ""))
    monkeypatch.setattr(rates, "take", lambda **_: 0)
    caller = someone()
    bob, _, body = with_keys(classic=2, post_quantum=1, last=True)
    account, device = Account.objects.get(pk=caller.user_id), Device.objects.get(pk=caller.device_id)

    def take() -> tuple[int | None, int | None]:
        with connection.cursor() as cursor:
            cursor.execute("SET LOCAL lock_timeout = '300ms'")
        (bundle,) = bundles.fetch(account=account, device=device, user_id=uuid.UUID(bob.user_id))
        return (
            bundle.classic.key_id if bundle.classic else None,
            bundle.post_quantum.key_id if bundle.post_quantum else None,
        )

    def other() -> Any:
        try:
            with transaction.atomic():
                return take()
        except OperationalError as error:
            return type(error.__cause__)
        finally:
            connection.close()

    with transaction.atomic():
        first = take()
        with ThreadPoolExecutor(1) as pool:
            second, third = pool.submit(other).result(), pool.submit(other).result()
    one, two = ids(body, "preKeys")
    assert first == (one, body["pqPreKeys"][0]["keyId"])
    if locked:
        last = body["lastResort"]["keyId"]
        assert (second, third) == ((two, last), (None, last))
    else:
        assert second is third is LockNotAvailable, "the same key was wanted by both"


def test_a_key_that_was_given_does_not_come_back_by_the_same_upload() -> None:
    caller = someone()
    bob, _, body = with_keys(classic=3)
    given = fetched(caller, bob)[0]["preKey"]["keyId"]
    assert bob.api.post("/keys", body).status_code == 204
    assert counted(bob) == (2, 0)
    rest = {fetched(caller, bob)[0]["preKey"]["keyId"] for _ in range(2)}
    assert rest == set(ids(body, "preKeys")) - {given}
    assert bob.api.post("/keys", body).status_code == 204
    assert counted(bob) == (0, 0)
    assert not Prekey.objects.filter(device=bob.device_id, public_key__isnull=False).exists()


def test_ids_of_given_keys_are_known_for_thirty_days(clock: Any) -> None:
    bob, _, _ = with_keys(classic=1)
    fetched(someone(), bob)
    clock(29 * DAY_MS)
    tasks.prune()
    assert Prekey.objects.filter(device=bob.device_id).count() == 1
    clock(2 * DAY_MS)
    tasks.prune()
    assert not Prekey.objects.filter(device=bob.device_id).exists()
    assert not Allowance.objects.exists(), "rates that were idle have no state"


# -- uploads


def test_the_same_upload_again_changes_nothing() -> None:
    bob, _, body = with_keys(classic=2, post_quantum=2, last=True)
    signed_at = DeviceKeys.objects.get(pk=bob.device_id).signed_at
    assert bob.api.post("/keys", body).status_code == 204
    assert counted(bob) == (2, 2)
    assert DeviceKeys.objects.get(pk=bob.device_id).signed_at == signed_at


def test_a_new_signed_prekey_and_last_resort_take_the_place_of_the_old() -> None:
    bob, pair, _ = with_keys(classic=1, last=True)
    body = keys(pair, classic=1, last=True)
    assert bob.api.post("/keys", body).status_code == 204
    assert counted(bob) == (2, 0), "one-time keys are added"
    (bundle,) = fetched(someone(), bob)
    assert bundle["signedPreKey"] == body["signedPreKey"]
    assert bundle["pqPreKey"] == body["lastResort"]
    del body["lastResort"]
    assert bob.api.post("/keys", body).status_code == 204
    assert "pqPreKey" in fetched(someone(), bob)[0], "what is not given stays"


@pytest.mark.parametrize("field", ["signedPreKey", "preKeys", "pqPreKeys", "lastResort"])
def test_an_id_names_one_key(field: str) -> None:
    bob, pair, body = with_keys(classic=1, post_quantum=1, last=True)
    fetched(someone(), bob)  # also of a key that was given
    old = body[field][0] if isinstance(body[field], list) else body[field]
    public = new_public() if "Kyber" not in field and len(old["publicKey"]) == 44 else new_kyber()
    new = pair.signed(public, old["keyId"])
    other = keys(pair, **{field: [new] if isinstance(body[field], list) else new})
    problem = assert_problem(bob.api.post("/keys", other), "conflict", 409)
    assert problem["details"] == {"field": field, "keyId": old["keyId"]}
    (bundle,) = fetched(someone(), bob)
    assert bundle["signedPreKey"] == body["signedPreKey"], "nothing of a refused upload is kept"
    assert counted(bob) == (0, 0)


def test_a_key_keeps_its_id_also_when_it_was_given() -> None:
    bob, pair, body = with_keys(classic=2)
    fetched(someone(), bob)
    for one in body["preKeys"]:
        renamed = key(base64.b64decode(one["publicKey"]))
        problem = assert_problem(bob.api.post("/keys", keys(pair, preKeys=[renamed])), "conflict", 409)
        assert problem["details"] == {"field": "preKeys", "keyId": renamed["keyId"]}
    assert counted(bob) == (1, 0)


def spoil(body: dict[str, Any], how: str) -> str:
    """Make one thing of an upload wrong; returns the field that is to be named."""
    forger = IdentityPair()
    public = base64.b64decode(body["signedPreKey"]["publicKey"])
    if how == "signed by another":
        body["signedPreKey"]["signature"] = text(forger.sign(public))
        return "signedPreKey"
    if how == "identity of another":
        body["identityKey"] = text(forger.public)
        return "signedPreKey"
    if how == "signature of another key":
        body["signedPreKey"]["publicKey"] = text(new_public())
        return "signedPreKey"
    if how == "signed one-time key":
        body["preKeys"][1]["signature"] = text(forger.sign(public))
        return "preKeys.1"
    if how == "post-quantum":
        body["pqPreKeys"][1]["publicKey"] = text(new_kyber())
        return "pqPreKeys.1"
    if how == "last resort":
        body["lastResort"]["signature"] = text(bytes(64))
        return "lastResort"
    if how == "small order":
        body["preKeys"][0]["publicKey"] = text(b"\x05" + bytes(32))
        return "preKeys.0"
    if how == "identity of small order":
        body["identityKey"] = text(b"\x05\x01" + bytes(31))
        return "identityKey"
    if how == "other type":
        body["preKeys"][0]["publicKey"] = text(b"\x06" + new_public()[1:])
        return "preKeys.0"
    if how == "id twice":
        body["preKeys"].append(key(new_public(), body["preKeys"][0]["keyId"]))
        return "preKeys"
    if how == "key twice":
        body["preKeys"].append(key(base64.b64decode(body["preKeys"][0]["publicKey"])))
        return "preKeys"
    if how == "signed key as one-time key":
        body["preKeys"].append(key(public))
        return "preKeys"
    assert how == "last resort as one-time key"
    body["pqPreKeys"].append({**body["lastResort"], "keyId": 1})
    return "pqPreKeys"


@pytest.mark.parametrize(
    "how",
    [
        "signed by another",
        "identity of another",
        "signature of another key",
        "signed one-time key",
        "post-quantum",
        "last resort",
        "small order",
        "identity of small order",
        "other type",
        "id twice",
        "key twice",
        "signed key as one-time key",
        "last resort as one-time key",
    ],
)
def test_what_is_not_good_is_refused_whole_and_named(how: str) -> None:
    bob = someone()
    body = keys(IdentityPair(), classic=2, post_quantum=2, last=True)
    field = spoil(body, how)
    problem = assert_problem(bob.api.post("/keys", body), "bad_request", 400)
    assert problem["details"]["field"] == field
    assert counted(bob) == (0, 0)
    assert not Identity.objects.filter(pk=bob.user_id).exists()


@pytest.mark.parametrize(
    "change",
    [
        {"identityKey": "BQ=="},
        {"identityKey": None},
        {"preKeys": {}},
        {"preKeys": [{"keyId": 2**32, "publicKey": "A" * 44}]},
        {"preKeys": [{"keyId": -1, "publicKey": "A" * 44}]},
        {"preKeys": [{"keyId": True, "publicKey": "A" * 44}]},
        {"preKeys": [{"keyId": 1, "publicKey": "A" * 43 + "\n"}]},
        {"preKeys": [{"keyId": 1, "publicKey": "A" * 44 + "\n"}]},
        {"pqPreKeys": [{"keyId": 1, "publicKey": "A" * 2_092}]},
        {"registrationId": 2**31},
    ],
)
def test_bodies_of_another_shape(change: dict[str, Any]) -> None:
    assert_problem(someone().api.post("/keys", {**keys(IdentityPair()), **change}), "bad_request", 400)


def test_a_large_upload_is_taken_and_a_larger_one_is_not() -> None:
    bob, pair = someone(), IdentityPair()
    body = keys(pair, classic=200, post_quantum=200, last=True)
    assert len(json.dumps(body)) < 1_048_576
    assert bob.api.post("/keys", body).status_code == 204
    assert counted(bob) == (200, 200)
    problem = assert_problem(bob.api.post("/keys", keys(pair, classic=1)), "limit_exceeded", 409)
    assert problem["details"] == {"limit": 200}
    assert counted(bob) == (200, 200)
    more = {**body, "preKeys": [key(new_public()) for _ in range(201)]}
    assert_problem(bob.api.post("/keys", more), "bad_request", 400)


def test_a_registration_id_is_needed_and_another_one_drops_what_was_there() -> None:
    bob, pair = someone(), IdentityPair()
    body = keys(pair, classic=2)
    del body["registrationId"]
    problem = assert_problem(bob.api.post("/keys", body), "bad_request", 400)
    assert problem["details"] == {"field": "registrationId"}
    assert bob.api.post("/keys", {**body, "registrationId": 1}).status_code == 204
    assert bob.api.post("/keys", keys(pair, classic=1, registrationId=2)).status_code == 204
    assert counted(bob) == (1, 0)
    assert envelope_devices([bob.user_id]) == {bob.user_id: ((bob.device_id, 2),)}


def test_uploads_are_limited(limits: Any) -> None:
    limits(key_uploads_per_hour=2)
    bob, _, body = with_keys()
    assert bob.api.post("/keys", body).status_code == 204
    refused = bob.api.post("/keys", body)
    assert_problem(refused, "rate_limited", 429)
    assert 1_700 < int(refused.headers["Retry-After"]) <= 1_801


# -- the keys of a device end with it


@committed
def test_keys_end_with_their_device_and_who_takes_envelopes_is_known(lists_changed: list[str]) -> None:
    phone = new_number()
    first, pair, _ = with_keys(phone, classic=1)
    second = someone(phone)
    lists_changed.clear()
    body = keys(pair, classic=3)
    assert second.api.post("/keys", body).status_code == 204
    assert second.api.post("/keys", body).status_code == 204
    assert lists_changed == [first.user_id], "once: the second time nothing changed"
    assert [device for device, _ in envelope_devices([first.user_id])[first.user_id]] == [
        first.device_id,
        second.device_id,
    ]
    first.api.delete(f"/devices/{second.device_id}")
    assert lists_changed == [first.user_id] * 2
    assert not Prekey.objects.filter(device=second.device_id).exists()
    assert [bundle["deviceId"] for bundle in fetched(someone(), first)] == [first.device_id]
    first.api.post("/auth/logout", {})
    assert not DeviceKeys.objects.filter(device__user=first.user_id).exists()
    assert envelope_devices([first.user_id]) == {first.user_id: ()}


def test_another_installation_on_a_known_device_drops_its_keys() -> None:
    bob, _, _ = with_keys(classic=1)
    again = sign_in(bob.phone, refreshToken=bob.refresh_token, registrationId=4711)
    assert again.device_id == bob.device_id
    assert len(fetched(someone(), bob)) == 1, "the same installation keeps them"
    sign_in(bob.phone, refreshToken=again.refresh_token, registrationId=12)
    assert fetched(someone(), bob) == []
    assert not Prekey.objects.filter(device=bob.device_id).exists()


def test_a_retired_account_has_no_keys() -> None:
    bob, _, _ = with_keys(classic=1)
    silent(bob)
    heir = sign_in(bob.phone)
    assert heir.user_id != bob.user_id
    assert_problem(heir.api.get(f"/keys/{bob.user_id}"), "not_found", 404)
    assert not Identity.objects.filter(pk=bob.user_id).exists()
    assert not Prekey.objects.filter(device=bob.device_id).exists()


@committed
def test_uploads_fetches_and_unlinking_at_once_leave_no_keys_of_an_unlinked_device() -> None:
    phone = new_number()
    first, pair, _ = with_keys(phone)
    caller = someone()
    for _ in range(2):
        second = someone(phone)
        bodies = [keys(pair, classic=5, post_quantum=1) for _ in range(3)]
        answers = at_once(
            *(partial(second.api.post, "/keys", body) for body in bodies),
            *[partial(caller.api.get, f"/keys/{first.user_id}")] * 3,
            partial(first.api.delete, f"/devices/{second.device_id}"),
        )
        assert {answer.status_code for answer in answers} <= {200, 204, 401}
        assert not Prekey.objects.filter(device=second.device_id).exists()
        assert not DeviceKeys.objects.filter(device=second.device_id).exists()


# -- few are left


@committed
def test_a_device_is_told_once_that_few_are_left_and_again_after_it_brought_more(
    told: Any, limits: Any
) -> None:
    limits(prekeys_low=2)
    bob, pair, _ = with_keys(classic=3, post_quantum=5)
    heard, caller = told(bob.user_id), someone()
    fetched(caller, bob)
    assert heard() == []
    fetched(caller, bob)
    (notice,) = heard()
    assert notice == {
        "type": "notice",
        "kind": "prekeys_low",
        "data": {"preKeys": 1, "pqPreKeys": 3},
        "only": bob.device_id,
    }
    fetched(caller, bob)
    assert heard() == [], "once"
    assert bob.api.post("/keys", keys(pair, classic=2)).status_code == 204
    heard()
    fetched(caller, bob)
    assert [event["kind"] for event in heard()] == ["prekeys_low"]


@committed
def test_who_never_had_post_quantum_keys_is_not_told_that_there_are_none(told: Any, limits: Any) -> None:
    limits(prekeys_low=2)
    bob, _, _ = with_keys(classic=4)
    heard = told(bob.user_id)
    fetched(someone(), bob)
    assert heard() == []


# -- exhaustion


def counter(kind: str) -> float:
    family = next(family for family in metrics.families() if family.name == "whatsapp_keys")
    return dict(family.values).get((kind,), 0)  # type: ignore[union-attr]


def test_who_asks_again_and_again_gets_no_more_one_time_keys_and_others_do(limits: Any) -> None:
    limits(prekeys_of_one_per_hour=2)
    bob, _, body = with_keys(classic=5, post_quantum=5, last=True)
    greedy, honest = someone(), someone()
    got = [fetched(greedy, bob)[0] for _ in range(4)]
    assert ["preKey" in bundle for bundle in got] == [True, True, False, False]
    assert [bundle["pqPreKey"] == body["lastResort"] for bundle in got] == [False, False, True, True]
    assert counted(bob) == (3, 3)
    assert "preKey" in fetched(honest, bob)[0]


def test_a_device_does_not_empty_the_others_of_its_user(limits: Any) -> None:
    limits(prekeys_of_one_per_hour=2, prekeys_given_per_hour=3)
    phone, _, _ = with_keys(classic=5)
    stolen, caller = someone(phone.phone), someone()
    assert ["preKey" in fetched(stolen, phone)[0] for _ in range(4)] == [True, True, False, False]
    assert [bool(fetched(caller, phone)[0].get("preKey")) for _ in range(2)] == [True, True], (
        "not from theirs"
    )


def test_whose_keys_everybody_asks_for_has_an_alarm_and_is_still_reached(
    limits: Any, caplog: pytest.LogCaptureFixture
) -> None:
    limits(prekeys_given_per_day=2)
    bob, _, body = with_keys(classic=5, last=True)
    before = counter("drained")
    got = [fetched(someone(), bob)[0] for _ in range(5)]
    assert ["preKey" in bundle for bundle in got] == [True, True, False, False, False]
    assert all(bundle["pqPreKey"] == body["lastResort"] for bundle in got)
    assert counter("drained") - before == 1, "once an hour"
    assert [record for record in caplog.records if "drained" in record.getMessage()]
    assert bob.user_id not in caplog.text


def test_a_rush_on_one_user_leaves_keys_for_the_next_hour_without_an_alarm(limits: Any, clock: Any) -> None:
    limits(prekeys_given_per_hour=2)
    bob, _, _ = with_keys(classic=5)
    before = counter("drained")
    assert ["preKey" in fetched(someone(), bob)[0] for _ in range(4)] == [True, True, False, False]
    assert counter("drained") == before
    clock(30 * 60_000)
    caller = someone()
    assert ["preKey" in fetched(caller, bob)[0] for _ in range(2)] == [True, False], "one in half an hour"


def test_who_asks_for_very_many_is_refused(limits: Any) -> None:
    limits(key_fetches_per_hour=3)
    caller, people = someone(), [someone() for _ in range(4)]
    for person in people[:3]:
        fetched(caller, person)
    refused = caller.api.get(f"/keys/{people[3].user_id}")
    assert_problem(refused, "rate_limited", 429)
    assert int(refused.headers["Retry-After"]) >= 1
    assert caller.api.get("/keys/count").status_code == 200


@committed
def test_a_rate_is_exact_when_many_ask_at_once(limits: Any) -> None:
    limits(key_fetches_per_hour=5)
    caller, bob = someone(), someone()
    answers = parallel(12, lambda: caller.api.get(f"/keys/{bob.user_id}"))
    assert Counter(answer.status_code for answer in answers) == {200: 5, 429: 7}


# -- another identity


def change_identity(person: Person) -> IdentityPair:
    pair = IdentityPair()
    assert person.api.post("/keys", keys(pair)).status_code == 204
    return pair


@committed
def test_only_the_primary_changes_the_identity_and_the_others_keys_go(
    told: Any, enqueued: list[Any], lists_changed: list[str]
) -> None:
    phone = new_number()
    first, pair, _ = with_keys(phone, classic=1)
    second = someone(phone)
    problem = assert_problem(second.api.post("/keys", keys(IdentityPair())), "conflict", 409)
    assert problem["details"] == {"field": "identityKey"}
    assert second.api.post("/keys", keys(pair, classic=1)).status_code == 204
    heard = told(first.user_id)
    lists_changed.clear()
    new = change_identity(first)
    assert lists_changed
    assert enqueued == [tasks.tell_identities], "at once, and not only by the schedule"
    tasks.tell_identities()
    assert [event["data"]["userId"] for event in heard() if event.get("kind") == "identity_changed"] == [
        first.user_id
    ], "the user's own devices are told too"
    (bundle,) = fetched(someone(), first)
    assert (bundle["deviceId"], bundle["identityKey"]) == (first.device_id, text(new.public))
    assert "preKey" not in bundle
    assert second.api.post("/keys", keys(new, classic=1)).status_code == 204
    assert len(fetched(someone(), first)) == 2


@committed
def test_who_knows_the_user_is_told_and_nobody_else_and_once(told: Any) -> None:
    bob, _, _ = with_keys()
    friend, peer, known, stranger, blocker, former = (someone() for _ in range(6))
    friend.api.put(f"/contacts/{bob.user_id}", {})
    peer.api.put(f"/conversations/direct/{bob.user_id}", {})
    bob.api.put(f"/contacts/{known.user_id}", {})
    former.api.put(f"/contacts/{bob.user_id}", {})
    former.api.delete(f"/contacts/{bob.user_id}")
    blocker.api.put(f"/contacts/{bob.user_id}", {})
    blocker.api.put(f"/blocks/{bob.user_id}")
    people = (friend, peer, known, stranger, blocker, former)
    heard = [told(person.user_id) for person in people]
    change_identity(bob)
    for _ in range(2):
        tasks.tell_identities()
    got = [[event["data"] for event in read() if event.get("kind") == "identity_changed"] for read in heard]
    assert [len(data) for data in got] == [1, 1, 0, 0, 0, 0]
    assert got[0][0]["userId"] == bob.user_id


def test_the_first_key_and_the_same_key_are_no_change() -> None:
    bob, pair, _ = with_keys()
    assert bob.api.post("/keys", keys(pair)).status_code == 204
    assert Identity.objects.get(pk=bob.user_id).changed_at == 0
    tasks.tell_identities()
    assert not IdentityNews.objects.filter(about=bob.user_id).exists()


def test_changes_are_limited(limits: Any) -> None:
    limits(identity_changes_per_day=2)
    bob, _, _ = with_keys()
    change_identity(bob)
    last = change_identity(bob)
    assert_problem(bob.api.post("/keys", keys(IdentityPair())), "rate_limited", 429)
    assert bob.api.post("/keys", keys(last)).status_code == 204


def test_a_task_that_dies_between_batches_is_carried_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(identities, "BATCH", 2)
    bob, _, _ = with_keys()
    friends = [someone() for _ in range(5)]
    for friend in friends:
        friend.api.put(f"/contacts/{bob.user_id}", {})
    change_identity(bob)
    monkeypatch.setattr(identities, "MAX_BATCHES", 1)
    tasks.tell_identities()
    assert IdentityNews.objects.filter(about=bob.user_id).count() == 2
    monkeypatch.setattr(identities, "MAX_BATCHES", 9)
    tasks.tell_identities()
    told = IdentityNews.objects.filter(about=bob.user_id).values_list("user_id", flat=True)
    assert {str(user) for user in told} == {bob.user_id, *(friend.user_id for friend in friends)}
    first = IdentityNews.objects.get(user=friends[0].user_id).at
    change_identity(bob)
    tasks.tell_identities()
    assert IdentityNews.objects.get(user=friends[0].user_id).at > first, "a second change is told again"


def test_somebody_whom_very_many_know_does_not_keep_others_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(identities, "BATCH", 1)
    monkeypatch.setattr(identities, "MAX_BATCHES", 4)
    star, bob, friend = with_keys()[0], with_keys()[0], someone()
    for fan in [friend, *(someone() for _ in range(5))]:
        fan.api.put(f"/contacts/{star.user_id}", {})
    friend.api.put(f"/contacts/{bob.user_id}", {})
    for person in (star, bob):
        change_identity(person)
    tasks.tell_identities()
    assert IdentityNews.objects.filter(about=bob.user_id).count() == 2
    assert IdentityNews.objects.filter(about=star.user_id).count() == 2


def test_each_batch_costs_the_same_however_many_know_the_user() -> None:
    star = with_keys()[0]
    with connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO accounts_account (id, region, created_at, name, about, language)"
            " SELECT gen_random_uuid(), 0, 1, '', '', '' FROM generate_series(1, 20000)"
        )
        # One in ten knows the user, and everybody somebody else.
        cursor.execute(
            "INSERT INTO accounts_contact (owner_id, user_id, nickname, updated_at, removed)"
            " SELECT id, (SELECT id FROM accounts_account WHERE region = 0 AND created_at = 1 LIMIT 1), '', 1, false"
            " FROM accounts_account WHERE created_at = 1 UNION ALL"
            " SELECT id, %s, '', 1, false FROM accounts_account WHERE created_at = 1 AND id::text LIKE '%%5'",
            [star.user_id],
        )
        cursor.execute("ANALYZE accounts_contact")
    change_identity(star)
    with CaptureQueriesContext(connection) as captured:
        identities._tell_batch(uuid.UUID(star.user_id))
    (query,) = [
        one["sql"] for one in captured if one["sql"].startswith('SELECT "accounts_contact"."owner_id"')
    ]
    with connection.cursor() as cursor:
        cursor.execute(f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) {query}")
        plan = cursor.fetchone()[0][0]["Plan"]
    assert plan["Shared Hit Blocks"] + plan["Shared Read Blocks"] < 3 * identities.BATCH, plan
    assert "Sort" not in str(plan), plan


@committed
def test_two_tasks_at_once_tell_each_once(told: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(identities, "BATCH", 2)
    bob, _, _ = with_keys()
    friends = [someone() for _ in range(4)]
    for friend in friends:
        friend.api.put(f"/contacts/{bob.user_id}", {})
    heard = [told(friend.user_id) for friend in friends]
    change_identity(bob)
    parallel(3, tasks.tell_identities)
    tasks.tell_identities()
    assert [
        len([event for event in read() if event.get("kind") == "identity_changed"]) for read in heard
    ] == [1] * 4


def test_an_upload_with_a_name_is_repeated_by_that_name() -> None:
    bob, pair = someone(), IdentityPair()
    body, named = keys(pair, classic=1), {"X-Idempotency-Key": "first"}
    assert bob.api.post("/keys", body, headers=named).status_code == 204
    fetched(someone(), bob)
    again = bob.api.post("/keys", body, headers=named)
    assert (again.status_code, again.content) == (204, b"")
    assert again.headers["X-Idempotency-Replayed"] == "true"
    assert_problem(bob.api.post("/keys", keys(pair), headers=named), "conflict", 409)
