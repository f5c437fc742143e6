"""/keys: what a device leaves for others, and that each one-time key is given once."""

from __future__ import annotations

import json
import uuid
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from django.db import OperationalError, connection, transaction
from psycopg.errors import LockNotAvailable

from accounts import rates, tasks
from accounts.envelope_devices import envelope_devices
from accounts.models import Account, Allowance, Device, DeviceKeys, Identity, Prekey
from accounts.services import bundles
from tests.accounts.conftest import Api, assert_problem, at_once, new_number, parallel, sign_in
from tests.accounts.prekeys import committed, counted, fetched, ids, someone, with_keys
from tests.accounts.test_recycling import silent
from tests.support.signal_keys import keys, text

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("enqueued")]
DAY_MS = 86_400_000


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
