"""Every error is an RFC 9457 document, whoever raised it."""

from __future__ import annotations

from typing import Any

import pytest
from django.db import connections

from accounts.rest import problems
from tests.accounts.conftest import Api, assert_problem, code_for, messages_to, sign_in
from whatsapp.wire.errors import CODES, RETRYABLE

pytestmark = pytest.mark.django_db

SOME_ID = "5f0c2c3e-7a55-4d43-9f3e-0b8f6f1f2a01"  # nobody's; the same in every process, as names of tests have to be

#: Every address that needs a session.
CLOSED = [
    ("POST", "/auth/logout"),
    ("PUT", "/auth/pin"),
    ("DELETE", "/auth/pin"),
    ("PUT", "/auth/phone"),
    ("GET", "/me"),
    ("PATCH", "/me"),
    ("DELETE", "/me"),
    ("GET", "/me/consents"),
    ("POST", "/me/consents"),
    ("GET", "/devices"),
    ("DELETE", f"/devices/{SOME_ID}"),
    ("PUT", f"/devices/{SOME_ID}/push"),
    ("DELETE", f"/devices/{SOME_ID}/push"),
    ("GET", "/push/apps"),
    ("GET", "/contacts"),
    ("POST", "/contacts"),
    ("PUT", f"/contacts/{SOME_ID}"),
    ("DELETE", f"/contacts/{SOME_ID}"),
    ("GET", f"/users/{SOME_ID}"),
    ("GET", "/conversations"),
    ("PUT", f"/conversations/direct/{SOME_ID}"),
    ("GET", f"/conversations/{SOME_ID}/events"),
    ("POST", "/reports"),
]


@pytest.mark.parametrize(("method", "path"), CLOSED)
@pytest.mark.parametrize("header", ["", "Bearer", "Bearer ", "Basic eA==", "Bearer nonsense", "Bearer a b c"])
def test_nothing_opens_without_a_token(method: str, path: str, header: str) -> None:
    answer = Api()(method, path, headers={"Authorization": header} if header else {})
    assert_problem(answer, "unauthenticated", 401)
    assert answer.headers["WWW-Authenticate"].startswith("Bearer")
    assert answer.headers["Cache-Control"] == "no-store"


@pytest.mark.parametrize(
    "path", ["/", "/nothing", "/me/", "/users/", "/ws", f"/users/{SOME_ID.upper()}", "/%00", "/..%2f"]
)
def test_unknown_addresses_are_not_found(path: str) -> None:
    assert_problem(sign_in().api.get(path), "not_found", 404)


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/calls/turn"),
        ("GET", "/backup"),
        ("POST", f"/bots/{SOME_ID}/webhooks"),
    ],
)
def test_what_is_promised_for_later_says_so(method: str, path: str) -> None:
    assert_problem(sign_in().api(method, path, {}), "feature_disabled", 501)


@pytest.mark.parametrize(
    ("method", "path"), [("GET", "/auth/register"), ("PUT", "/me"), ("DELETE", "/contacts")]
)
def test_a_wrong_method_names_the_right_ones(method: str, path: str) -> None:
    answer = sign_in().api(method, path, {})
    assert_problem(answer, "bad_request", 405)
    assert "OPTIONS" in answer.headers["Allow"]


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b"7",
        b'"x"',
        b"\xff\xfe",
        b'{"phoneNumber": NaN}',
        b'{"phoneNumber": "\\ud800"}',
        b'{"phoneNumber": "x",}',
        b'{"a":' * 5_000,
        b'{"a":' + b"[" * 5_000 + b"]" * 5_000 + b"}",
    ],
)
def test_what_is_no_json_object_is_a_bad_request(body: bytes) -> None:
    assert_problem(Api().post("/auth/register", body), "bad_request", 400)


def test_a_huge_body_is_too_large() -> None:
    body = b'{"phoneNumber": "' + b"1" * 1_100_000 + b'"}'
    assert_problem(Api().post("/auth/register", body), "too_large", 413)


def test_other_media_are_unsupported() -> None:
    from django.test import Client

    for content_type in (
        "application/x-www-form-urlencoded",
        "text/plain",
        "multipart/form-data; boundary=x",
    ):
        answer = Client().generic("POST", "/auth/register", b"a=b", content_type=content_type)
        assert_problem(answer, "unsupported_media", 415)


@pytest.mark.parametrize("version", ["3.0", "3.1", "3.2", "3.9", "4.0"])
def test_the_protocol_version_is_echoed(version: str) -> None:
    answer = Api().get("/health/live", headers={"X-WhatsApp-Protocol-Version": version})
    assert answer.status_code == 200
    assert answer.headers["X-WhatsApp-Protocol-Version"] == version


@pytest.mark.parametrize("version", ["2.9", "0.0", "1.99"])
def test_old_versions_are_told_to_upgrade(version: str) -> None:
    answer = sign_in().api.get("/me", headers={"X-WhatsApp-Protocol-Version": version})
    assert_problem(answer, "upgrade_required", 426)


@pytest.mark.parametrize("version", ["", "x", "3", "3.2.1", "-3.0", "3.2 ", "٣.٢"])
def test_a_version_that_is_none_is_a_bad_request(version: str) -> None:
    answer = Api().get("/me", headers={"X-WhatsApp-Protocol-Version": version})
    assert_problem(answer, "bad_request", 400)
    assert "X-WhatsApp-Protocol-Version" not in answer.headers


def test_what_nobody_expected_is_internal_and_shows_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    person = sign_in()

    def broken(**_: Any) -> Any:
        raise RuntimeError("the reason, with a secret")

    from accounts.apis import devices

    monkeypatch.setattr(devices, "linked_devices", broken)
    answer = person.api.get("/devices")
    problem = assert_problem(answer, "internal", 500)
    assert problem["retryable"] is True
    assert b"secret" not in answer.content


def test_outside_drf_too(monkeypatch: pytest.MonkeyPatch) -> None:
    from chats.apis import health

    def broken() -> bool:
        raise RuntimeError("secret")

    monkeypatch.setattr(health, "_hot", broken)
    answer = Api().get("/health/ready")
    assert_problem(answer, "internal", 500)
    assert b"secret" not in answer.content


@pytest.mark.django_db(transaction=True)
def test_without_postgresql_all_is_unavailable_and_comes_back(valkey_url: str) -> None:
    person = sign_in()
    connection = connections["default"]
    connection.close()
    port = connection.settings_dict["PORT"]
    connection.settings_dict["PORT"] = 1
    try:
        answer = person.api.get("/me")
        assert_problem(answer, "unavailable", 503)
        assert answer.headers["Retry-After"] == "1"
        # Limits fail closed: no code is sent uncounted, none is taken.
        sent = len(messages_to(person.phone))
        assert_problem(Api().post("/auth/register", {"phoneNumber": person.phone}), "unavailable", 503)
        assert len(messages_to(person.phone)) == sent
        code = {"phoneNumber": person.phone, "code": code_for(person.phone), "deviceName": "phone"}
        assert_problem(Api().post("/auth/verify", code), "unavailable", 503)
        ready = assert_problem(Api().get("/health/ready"), "unavailable", 503)
        assert ready["details"]["parts"] == {"database": False, "hot": True}
        assert Api().get("/health/live").status_code == 200
    finally:
        connection.close()
        connection.settings_dict["PORT"] = port
    assert person.api.get("/me").status_code == 200
    assert Api().get("/health/ready").status_code == 200


def test_every_code_has_a_status_and_the_sockets_retryable() -> None:
    assert set(problems.STATUS) == CODES
    for code in CODES:
        body, status, _ = problems.document(code, "text")
        assert status >= 400
        assert body["type"].endswith(code)
        assert body["retryable"] is (code in RETRYABLE)


def test_retry_after_is_whole_seconds_rounded_up() -> None:
    _, _, headers = problems.document("rate_limited", "text", retry_after_ms=1_001)
    assert headers["Retry-After"] == "2"
