"""What people agree to: at registration, later, and taken back; in the export, and gone with the account."""

from __future__ import annotations

import uuid
from typing import Any

import pytest

from accounts.models import Account, Consent, Device
from accounts.own_stores import AccountStore
from accounts.services import consents
from accounts.stores import Person as Whose
from tests.accounts.conftest import assert_problem, code_for, give, new_number, register, sign_in, verify

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("valkey_server")]


@pytest.fixture
def terms(settings: Any) -> Any:
    settings.TERMS_VERSION, settings.CONSENT_PURPOSES = "2026-11", ("diagnostics",)
    return settings


def test_without_terms_nobody_is_asked(settings: Any) -> None:
    settings.TERMS_VERSION, settings.CONSENT_PURPOSES = "", ()
    ann = sign_in(termsVersion="whatever")
    said = ann.api.get("/me/consents").json()
    assert (said["documents"], said["termsVersion"], said["items"]) == ([], "", [])


def test_who_registers_agrees_to_the_terms_of_now(terms: Any) -> None:
    phone = new_number()
    for wrong in ({}, {"termsVersion": ""}, {"termsVersion": "2025-01"}):
        if register(phone).status_code == 202:
            details = assert_problem(give(phone, code_for(phone), **wrong), "forbidden", 403)["details"]
            assert details == {"termsRequired": "2026-11"}
            assert not Account.objects.filter(phone=phone).exists(), "nothing was made of it"
    answer = give(phone, code_for(phone), termsVersion="2026-11")
    assert answer.status_code == 200, "the code is good still"
    row = Consent.objects.get(account=answer.json()["userId"])
    assert (row.document, row.version, str(row.device)) == ("terms", "2026-11", answer.json()["deviceId"])
    # Who has agreed to them is not asked again, until there are others.
    assert verify(phone).status_code == 200
    terms.TERMS_VERSION = "2027-01"
    assert_problem(verify(phone), "forbidden", 403)
    assert verify(phone, termsVersion="2027-01").status_code == 200
    assert [row.version for row in Consent.objects.filter(account__phone=phone).order_by("given_at")] == [
        "2026-11",
        "2027-01",
    ]
    assert Device.objects.filter(user__phone=phone).count() == 3


def test_a_purpose_is_agreed_to_and_taken_back_and_both_stay(terms: Any) -> None:
    ann, eve = sign_in(termsVersion="2026-11"), sign_in(termsVersion="2026-11")
    yes = {"document": "diagnostics", "given": "yes", "version": "1"}
    for _ in range(2):
        answer = ann.api.post("/me/consents", yes)
        assert answer.status_code == 200, answer.content
    first = answer.json()["items"][0]
    assert (first["document"], first["version"], first["withdrawnAt"]) == ("diagnostics", "1", None)
    assert first["deviceId"] == ann.device_id
    user = uuid.UUID(ann.user_id)
    assert consents.agrees([user, uuid.UUID(eve.user_id)], "diagnostics") == {user}
    for _ in range(2):
        answer = ann.api.post("/me/consents", {"document": "diagnostics", "given": "no"})
    assert answer.json()["items"][0]["withdrawnAt"] >= first["givenAt"]
    assert consents.agrees([user], "diagnostics") == set()
    ann.api.post("/me/consents", yes)
    items = ann.api.get("/me/consents").json()["items"]
    assert [(item["document"], item["withdrawnAt"] is None) for item in items] == [
        ("diagnostics", True),
        ("diagnostics", False),
        ("terms", True),
    ]
    assert len(eve.api.get("/me/consents").json()["items"]) == 1


@pytest.mark.parametrize(
    ("body", "code", "details"),
    [
        ({"document": "nothing", "given": "yes", "version": "1"}, "bad_request", {"field": "document"}),
        ({"document": "diagnostics", "given": "yes"}, "bad_request", {"field": "version"}),
        ({"document": "diagnostics", "given": "yes", "version": "a b"}, "bad_request", {"field": "version"}),
        ({"document": "terms", "given": "yes", "version": "1"}, "forbidden", {"termsRequired": "2026-11"}),
        ({"document": "terms", "given": "no"}, "forbidden", {"deleteAccount": True}),
    ],
)
def test_what_cannot_be_agreed_to_is_refused(terms: Any, body: Any, code: str, details: Any) -> None:
    ann = sign_in(termsVersion="2026-11")
    refusal = assert_problem(ann.api.post("/me/consents", body), code, 400 if code == "bad_request" else 403)
    assert refusal["details"] == details
    assert Consent.objects.filter(account=ann.user_id).count() == 1


@pytest.mark.parametrize(
    "body", [{}, {"document": "terms"}, {"document": 1, "given": "yes"}, {"given": True}]
)
def test_what_is_no_consent_is_a_bad_request(terms: Any, body: Any) -> None:
    ann = sign_in(termsVersion="2026-11")
    assert_problem(ann.api.post("/me/consents", body), "bad_request", 400)


def test_a_history_does_not_grow_without_end(terms: Any, limits: Any) -> None:
    limits(consents_per_hour=3)
    ann = sign_in(termsVersion="2026-11")
    yes = {"document": "diagnostics", "given": "yes", "version": "1"}
    for body in (yes, {"document": "diagnostics", "given": "no"}, yes):
        assert ann.api.post("/me/consents", body).status_code == 200
    refusal = assert_problem(
        ann.api.post("/me/consents", {"document": "diagnostics", "given": "no"}), "rate_limited", 429
    )
    assert refusal["retryAfterMs"] > 0
    assert ann.api.post("/me/consents", yes).status_code == 200, "what is so already costs nothing"


def test_the_export_has_them_and_erasure_takes_them(terms: Any) -> None:
    ann = sign_in(termsVersion="2026-11")
    parts = {part.path: b"".join(part.data) for part in AccountStore().export(Whose(ann.user_id))}
    assert b'"version": "2026-11"' in parts["accounts/consents.jsonl"]
    Account.objects.filter(pk=ann.user_id).update(retired_at=1)
    while AccountStore().erase(Whose(ann.user_id), now=1):
        pass
    assert not Consent.objects.filter(account=ann.user_id).exists()
