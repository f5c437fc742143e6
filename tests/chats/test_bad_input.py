"""Addresses of the staff side that anybody reaches: what no client sends is answered by a problem, and changes nothing."""

from __future__ import annotations

import json
import uuid
from typing import Any

import pytest

from accounts import appeals
from accounts.models import Account, Consent, Erasure, Export, Report, Sanction
from accounts.services import sanctions
from tests.accounts.conftest import Api, Person, new_number
from tests.chats.conftest import open_direct
from tests.chats.reporting import say
from tests.groups.conftest import sign_in
from whatsapp.infra.clock import now_ms

pytestmark = pytest.mark.django_db(transaction=True)

DEEP = 20_000
#: In place of any value.
VALUES: tuple[Any, ...] = (
    None, True, -1, 2**63, 1e308, "", "\0", "a\0b", "\ud800", "\u202e", "x" * 100_000, [], {}, [[]], [None], {"a": {}},
)  # fmt: skip
RAW = (
    b"", b"\xff\xfe", b"null", b"[]", b'"x"', b"{", b'{"kind": NaN}', b'{"a": 1e999}', b"9" * 5_000,
    b"[" * DEEP, b'{"a":' * DEEP, b'{"kind": "\\ud800"}', b'{"kind": "user", "kind": "group"}',
)  # fmt: skip


def refused(answer: Any, what: Any) -> None:
    assert 400 <= answer.status_code < 500, (str(what)[:200], answer.status_code, answer.content[:300])
    assert answer.headers["Content-Type"] == "application/problem+json", str(what)[:200]
    assert "Traceback" not in answer.content.decode()


def test_no_report_is_made_of_nonsense(ann: Person, limits: Any) -> None:
    limits(reports_per_hour=100_000, reports_per_day=100_000)
    bob = sign_in()
    chat = open_direct(bob, ann)
    good = {
        "kind": "message", "category": "spam", "conversationId": chat, "userId": bob.user_id, "note": "n",
        "messages": [say(bob, chat).copy()], "block": False, "leave": False,
    }  # fmt: skip
    for raw in RAW:
        refused(ann.api.post("/reports", raw), raw)
    harmless = {("note", ""), ("note", "\u202e"), ("userId", None)}
    for name in good:
        for value in VALUES:
            if (name, repr(value)) in {(one, repr(other)) for one, other in harmless}:
                continue
            answer = ann.api.post("/reports", {**good, name: value})
            if answer.status_code == 201:  # nothing was said by it
                assert name in ("note", "messages", "block", "leave"), (name, value)
                continue
            refused(answer, (name, value))
    copy = good["messages"][0]  # type: ignore[index]
    for name in copy:
        for value in VALUES[6:12]:
            answer = ann.api.post("/reports", {**good, "messages": [{**copy, name: value}]})
            assert answer.status_code in (201, 400, 404, 413), (name, str(value)[:99], answer.content[:200])


@pytest.mark.parametrize("key", ["", "x" * 129, "a b", "\t", "é"])
def test_a_key_that_is_none_is_refused(ann: Person, key: str) -> None:
    chat = open_direct(bob := sign_in(), ann)
    body = {"kind": "user", "category": "spam", "conversationId": chat, "userId": bob.user_id}
    refused(ann.api.post("/reports", body, headers={"X-Idempotency-Key": key}), key)
    assert not Report.objects.filter(reporter=ann.user_id).exists()


def test_a_key_is_its_owners_alone(ann: Person) -> None:
    bob, eve = sign_in(), sign_in()
    chats = {person.user_id: open_direct(bob, person) for person in (ann, eve)}
    headers = {"X-Idempotency-Key": str(uuid.uuid4())}
    answers = []
    for person in (ann, eve):
        body = {
            "kind": "user", "category": "spam", "conversationId": chats[person.user_id], "userId": bob.user_id
        }  # fmt: skip
        answers.append(person.api.post("/reports", body, headers=headers))
    assert [answer.status_code for answer in answers] == [201, 201]
    assert answers[0].json()["reportId"] != answers[1].json()["reportId"]


def test_no_account_ends_by_nonsense(ann: Person) -> None:
    for raw in RAW:
        refused(ann.api.delete("/me", body=raw), raw)
    for name in ("pin", "code"):
        for value in VALUES:
            refused(ann.api.delete("/me", body={name: value}), (name, value))
    assert Account.objects.get(pk=ann.user_id).retired_at is None
    assert not Erasure.objects.filter(user=ann.user_id).exists()


def test_nothing_is_agreed_to_by_nonsense(ann: Person, settings: Any, limits: Any) -> None:
    settings.TERMS_VERSION, settings.CONSENT_PURPOSES = "1", ["news"]
    for raw in RAW:
        refused(ann.api.post("/me/consents", raw), raw)
    good = {"document": "news", "given": "yes", "version": "1"}
    for name in good:
        for value in VALUES:
            refused(ann.api.post("/me/consents", {**good, name: value}), (name, value))
    assert not Consent.objects.filter(account=ann.user_id).exists()


def test_of_an_export_only_its_owner_knows(ann: Person) -> None:
    eve = sign_in()
    export = ann.api.post("/me/export").json()["exportId"]
    unknown = eve.api.get(f"/me/export/{uuid.uuid4()}")
    assert eve.api.get(f"/me/export/{export}").content == unknown.content
    for name in ("x", "%00", "-1", "../me", "0" * 300, str(uuid.UUID(export).int)):
        assert eve.api.get(f"/me/export/{name}").status_code == 404
    assert Export.objects.filter(account=eve.user_id).count() == 0


def test_registration_takes_no_nonsense(limits: Any) -> None:
    limits(registration_tries_per_ip_day=100_000, registration_tries_per_network_day=100_000)
    for value in VALUES:
        phone = new_number()
        answer = Api().post("/auth/register", {"phoneNumber": phone, "challengeAnswer": value})
        assert answer.status_code in (202, 400, 403), (str(value)[:99], answer.content[:200])
        answer = Api().post(
            "/auth/verify", {"phoneNumber": phone, "code": "000000", "deviceName": "x", "termsVersion": value}
        )
        refused(answer, value)


def test_an_appeal_is_of_text_and_of_its_own_address(ann: Person) -> None:
    made = sanctions.impose(
        account_id=uuid.UUID(ann.user_id), kind="suspension", reason="spam", evidence={}, until=now_ms() + 86_400_000,
        by="staff",
    )  # fmt: skip
    token = appeals.token(str(made.pk))
    for name in ("x", token[:-1], token.upper(), "%00", "é", "x" * 300, f"{token}:{token}"):
        assert Api().get(f"/appeals/{name}").status_code == 404, name
    path = f"/appeals/{token}"
    for body in (
        "",
        "text=",
        "text=%00",
        "text=a%00b",
        "text=" + "x" * 2_001,
        json.dumps({"text": "x"}),
    ):
        answer = Api()(
            "POST", path, body.encode(), headers={"Content-Type": "application/x-www-form-urlencoded"}
        )
        assert answer.status_code in (400, 415, 422), (body[:50], answer.status_code)
    assert Sanction.objects.get(pk=made.pk).appeal == Sanction.Appeal.NONE
