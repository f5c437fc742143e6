"""Health, schemas, the admin, housekeeping, and logs without personal data."""

from __future__ import annotations

import io
import logging
from typing import Any

import pytest
from django.db import IntegrityError, transaction

from accounts.models import Account, LimitHit, RefreshToken, VerificationCode
from accounts.tasks import prune
from delivery.store import chosen
from delivery.store.background import Background
from tests.accounts.conftest import Api, assert_problem, code_for, new_number, sign_in
from whatsapp.infra.clock import now_ms
from whatsapp.settings.scrub import ScrubbingFormatter, scrub

pytestmark = pytest.mark.django_db


# -- health ---------------------------------------------------------------------------------------------------------------


def test_health(valkey_url: str) -> None:
    assert Api().get("/health/live").json() == {"status": "ok"}
    body = Api().get("/health/ready").json()
    assert body == {"status": "ok", "parts": {"database": True, "hot": True}}


def test_not_ready_without_the_hot_state(settings: Any) -> None:
    from chats.apis import health

    settings.HOT_URL = "redis://127.0.0.1:1/0"
    health._client.cache_clear()
    try:
        problem = assert_problem(Api().get("/health/ready"), "unavailable", 503)
    finally:
        health._client.cache_clear()
    assert problem["details"]["parts"] == {"database": True, "hot": False}
    assert Api().get("/health/live").status_code == 200


def test_a_log_elsewhere_that_does_not_answer_is_shown_and_keeps_nobody_away(
    settings: Any, valkey_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.LOG_STORE, settings.CASSANDRA_CONTACT_POINTS = "cassandra", ["127.0.0.1"]
    settings.CASSANDRA_PORT = 1
    elsewhere = Background(chosen._open)
    monkeypatch.setattr(chosen, "background", elsewhere)
    try:
        answer = Api().get("/health/ready")
    finally:
        elsewhere.close()
    assert answer.status_code == 200
    assert answer.json() == {"status": "degraded", "parts": {"database": True, "hot": True, "log": False}}


# -- schemas --------------------------------------------------------------------------------------------------------------


def test_the_protobuf_definition_is_served() -> None:
    answer = Api().get("/schema/whatsapp.proto")
    assert answer.status_code == 200
    assert b"message Frame" in answer.content


# -- headers --------------------------------------------------------------------------------------------------------------


def test_security_headers() -> None:
    headers = Api().get("/health/live").headers
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["X-Frame-Options"] == "DENY"
    assert headers["Referrer-Policy"] == "same-origin"
    assert headers["Cache-Control"] == "no-store"


# -- housekeeping ---------------------------------------------------------------------------------------------------------


def test_prune_deletes_only_what_has_no_effect_any_more(clock: Any) -> None:
    old = sign_in()
    Api().post("/auth/register", {"phoneNumber": new_number()})
    clock(90 * 86_400_000)
    fresh = sign_in()
    phone = new_number()
    Api().post("/auth/register", {"phoneNumber": phone})
    prune()
    assert not RefreshToken.objects.filter(device_id=old.device_id).exists()
    assert RefreshToken.objects.filter(device_id=fresh.device_id).exists()
    assert [row.phone for row in VerificationCode.objects.all()] == [phone]
    assert not LimitHit.objects.filter(at__lt=now_ms() + 89 * 86_400_000).exists()
    assert LimitHit.objects.exists()
    prune()  # again does no harm


# -- logs -----------------------------------------------------------------------------------------------------------------


def test_counters_hold_no_numbers_and_no_addresses() -> None:
    phone = new_number()
    Api().post("/auth/register", {"phoneNumber": phone}, REMOTE_ADDR="192.0.2.99")
    stored = b"".join(bytes(hit.subject) for hit in LimitHit.objects.all())
    assert LimitHit.objects.exists()
    assert phone.encode() not in stored
    assert b"192.0.2.99" not in stored


def test_logs_hold_no_personal_data() -> None:
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(ScrubbingFormatter("%(name)s %(levelname)s %(message)s"))
    root = logging.getLogger()
    levels = {name: logging.getLogger(name).level for name in ("", "accounts", "chats", "django.request")}
    root.addHandler(handler)
    for name in levels:
        logging.getLogger(name).setLevel(logging.DEBUG)
    try:
        person, other = sign_in(), sign_in()
        code = code_for(person.phone)
        person.api.patch("/me", {"name": "Annabella"})
        person.api.post("/contacts", {"phoneNumber": other.phone, "nickname": "Bobsleigh"})
        person.api.post("/contacts", {"phoneNumber": "+1555000"})
        Api().post("/auth/verify", {"phoneNumber": person.phone, "code": code, "deviceName": "x"})
        Api().post("/auth/refresh", {"refreshToken": person.refresh_token})
        Api().post("/auth/refresh", {"refreshToken": person.refresh_token})
        try:
            with transaction.atomic():
                Account.objects.create(phone=person.phone)
        except IntegrityError:
            logging.getLogger("accounts").exception("a failure of %s", person.phone)
        logging.getLogger("accounts").warning("headers: Authorization: Bearer %s", person.token)
    finally:
        root.removeHandler(handler)
        for name, level in levels.items():
            logging.getLogger(name).setLevel(level)
    logged = stream.getvalue()
    assert "already exists" in logged  # the test saw the worst line
    for secret in (person.phone, other.phone, person.token, person.refresh_token, "Annabella", "Bobsleigh"):
        assert secret not in logged
    assert f" {code}" not in logged


def test_scrubbing_leaves_the_rest() -> None:
    assert scrub("Key (phone)=(+15550001) already exists at +02:00, took +5 ms") == (
        "Key (phone)=([phone]) already exists at +02:00, took +5 ms"
    )
    assert scrub("Bearer abc.def-g_h= next") == "[token] next"
