"""/keys: what a device may leave, whole or not at all."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest

from accounts.envelope_devices import envelope_devices
from accounts.models import DeviceKeys, Identity
from tests.accounts.conftest import assert_problem
from tests.accounts.prekeys import counted, fetched, someone, with_keys
from tests.support.signal_keys import IdentityPair, key, keys, new_kyber, new_public, text

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("enqueued")]


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


def test_an_upload_with_a_name_is_repeated_by_that_name() -> None:
    bob, pair = someone(), IdentityPair()
    body, named = keys(pair, classic=1), {"X-Idempotency-Key": "first"}
    assert bob.api.post("/keys", body, headers=named).status_code == 204
    fetched(someone(), bob)
    again = bob.api.post("/keys", body, headers=named)
    assert (again.status_code, again.content) == (204, b"")
    assert again.headers["X-Idempotency-Replayed"] == "true"
    assert_problem(bob.api.post("/keys", keys(pair), headers=named), "conflict", 409)
