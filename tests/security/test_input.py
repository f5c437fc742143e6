"""What clients write, and what it must not become: another reading of JSON, SQL, a header, a path, somebody else's screen."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import quote

import pytest
from django.test import Client

from accounts.models import Account, Contact
from devtools.paths import REPO
from tests.accounts.conftest import Api, _memory_layer, assert_problem, limits, sign_in  # noqa: F401

pytestmark = pytest.mark.django_db

# -- names -----------------------------------------------------------------------------------------------------------------

HIDDEN = {
    "a terminal's escape": "Ann\x1b[2J",
    "a bell": "Ann\a",
    "a C1 control": "Ann\x9b2J",
    "a new line": "Ann\nBob: hello",
    "a carriage return": "Ann\rBob",
    "a line separator": "Ann\u2028Bob",
    "right to left": "gpj\u202eexe",
    "an isolate": "\u2067nnA\u2069",
    "a zero-width space": "An\u200bn",
    "a word joiner": "An\u2060n",
    "a byte order mark": "\ufeffAnn",
    "a control at the end": "Ann\x1f",
}


@pytest.mark.parametrize("kind", HIDDEN)
def test_names_hold_nothing_that_is_not_shown(kind: str) -> None:
    person, other = sign_in(), sign_in()
    text = HIDDEN[kind]
    answers = {
        "name": person.api.patch("/me", {"name": text}),
        "nickname": person.api.put(f"/contacts/{other.user_id}", {"nickname": text}),
        "deviceName": Api().post(
            "/auth/verify", {"phoneNumber": "+15551234", "code": "1", "deviceName": text}
        ),
    }
    if kind != "a new line":
        answers["about"] = person.api.patch("/me", {"about": text})
    for field, answer in answers.items():
        assert assert_problem(answer, "bad_request", 400)["details"] == {"field": field}
    assert Account.objects.get(pk=person.user_id).name == ""
    assert not Contact.objects.filter(owner=person.user_id).exists()


@pytest.mark.parametrize(
    "name", ["Zoë", "محمد", "נעמי", "می‌خواهم", "👩‍👩‍👧", "🏴󠁧󠁢󠁥󠁮󠁧󠁿", "O'Neil", "Ann <b>", "李小龙", "Ann Lee"]
)
def test_names_of_people_stay_as_they_are(name: str) -> None:
    person = sign_in()
    assert person.api.patch("/me", {"name": name, "about": f"{name}\n\tand more"}).status_code == 200
    seen = sign_in().api.get(f"/users/{person.user_id}").json()
    assert (seen["name"], seen["about"]) == (name, f"{name}\n\tand more")


def test_text_is_data_wherever_it_is_shown() -> None:
    """JSON is never HTML: a browser that is sent to the API shows text, and runs nothing."""
    person = sign_in()
    person.api.patch("/me", {"name": "<script>alert(1)</script>"})
    answer = person.api.get("/me")
    assert answer.headers["Content-Type"] == "application/json"
    assert answer.headers["X-Content-Type-Options"] == "nosniff"


# -- JSON ------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "body",
    [
        b'{"name": ' + b"[" * 100_000,
        b'{"name": ' + b'{"a":' * 100_000,
        b'{"name": 1e999999999}',
        b'{"name": -1e400}',
        b'{"name": ' + b"9" * 100_000 + b"}",
        b'{"name": NaN}',
        b'{"name": "\\ud83d"}',
        b'{"name": "\xed\xa0\xbd"}',
        b'{"name": "\xc0\xaf"}',
        b'{"name": "x"}{"name": "y"}',
        b'\xef\xbb\xbf{"name": "x"}',
        '{"name": "x"}'.encode("utf-16"),
        b"{'name': 'x'}",
        b'{"name": "x" /* */}',
    ],
    ids=lambda body: repr(body[:24]),
)
def test_a_body_that_hurts_is_a_bad_request(body: bytes) -> None:
    assert_problem(sign_in().api.patch("/me", body), "bad_request", 400)


def test_a_name_that_occurs_twice_counts_once_everywhere() -> None:
    """There is one parser: no check sees another value than the one that is stored."""
    person = sign_in()
    assert person.api.patch("/me", b'{"name": "first", "name": "last"}').json()["name"] == "last"
    assert Account.objects.get(pk=person.user_id).name == "last"


@pytest.mark.parametrize("value", [2**31, -1, 2**63, 10**400, 1.5, True, "7", [1], {"a": 1}])
def test_numbers_stay_within_their_columns(value: Any) -> None:
    body = {"phoneNumber": "+15551234", "code": "123456", "deviceName": "x", "registrationId": value}
    answer = Api().post("/auth/verify", body)
    assert_problem(answer, "bad_request", 400)


@pytest.mark.parametrize(
    "content_type",
    [
        "",
        "text/plain",
        "text/json",
        "application/json5",
        "application/x-www-form-urlencoded",
        "multipart/form-data; boundary=x",
        "application/xml",
        "application/x-python-pickle",
        "application/json, text/plain",
    ],
)
def test_only_json_is_json(content_type: str) -> None:
    """A form of another page's can send the first kinds without asking (no preflight): none of them is taken."""
    person = sign_in()
    headers = {"Authorization": f"Bearer {person.token}"}
    answer = Client().generic("PATCH", "/me", b'{"name": "x"}', content_type=content_type, headers=headers)
    assert answer.status_code in (400, 415), answer.content
    assert Account.objects.get(pk=person.user_id).name == ""


# -- SQL -------------------------------------------------------------------------------------------------------------------

SQL = [
    "' OR 1=1 --",
    "'; DROP TABLE accounts_account; --",
    "1) OR (1=1",
    "x' AND pg_sleep(3) --",
    "%' ESCAPE '",
    "\\",
    "%s",
]


@pytest.mark.parametrize("text", SQL)
def test_sql_is_text(text: str) -> None:
    person, other = sign_in(), sign_in()
    assert person.api.patch("/me", {"name": text, "about": text}).json()["name"] == text
    assert person.api.put(f"/contacts/{other.user_id}", {"nickname": text}).json()["nickname"] == text
    for path in ("/contacts", "/conversations"):
        for name in ("since", "after", "limit"):
            answer = person.api.get(f"{path}?{name}={quote(text)}")
            assert answer.status_code == 400, (path, name, answer.content)
    for path in ("/users/", "/devices/", "/conversations/"):
        assert person.api.get(path + quote(text, safe="")).status_code in (404, 405, 501)
    assert Api().post("/auth/register", {"phoneNumber": text}).status_code == 400
    assert Api().post("/auth/refresh", {"refreshToken": text}).status_code in (400, 401)
    assert Account.objects.filter(pk=person.user_id, name=text).exists()


# -- headers, paths ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("value", ["3.2\r\nSet-Cookie: x=y", "3.2\nX: y", "3.2\0", "3.2\x0b"])
def test_what_is_echoed_makes_no_header(value: str) -> None:
    answer = Api().get("/health/live", headers={"X-WhatsApp-Protocol-Version": value})
    assert_problem(answer, "bad_request", 400)
    assert "Set-Cookie" not in answer.headers


@pytest.mark.parametrize(
    "path",
    [
        "/static/../manage.py",
        "/static/%2e%2e/manage.py",
        "/static/..%2fmanage.py",
        "/static/..%5cmanage.py",
        "/static//etc/passwd",
        "/static/%00",
        "/static/admin/css/",
        "/static/admin/../../manage.py",
        "/schema/../manage.py",
        "/schema/%2e%2e%2fsecrets.json",
        "/.env",
        "/.git/config",
        "/sms.jsonl",
        "/secrets.json",
        "/metrics",
        "/__debug__/",
    ],
)
def test_no_path_leads_to_files(path: str) -> None:
    answer = Client().get(path)
    assert answer.status_code == 404
    assert b"django" not in b"".join(answer) if answer.streaming else b"manage" not in answer.content


def test_a_method_in_a_header_is_not_one() -> None:
    person = sign_in()
    for header in ("X-HTTP-Method-Override", "X-Method-Override", "X-HTTP-Method"):
        assert (
            person.api.post("/auth/refresh", {"refreshToken": "x"}, headers={header: "DELETE"}).status_code
            == 401
        )
        assert person.api.get(f"/devices/{person.device_id}", headers={header: "DELETE"}).status_code == 405
    assert person.api.get("/me").status_code == 200


def test_errors_show_nothing_of_the_inside() -> None:
    person = sign_in()
    for answer in (
        person.api.get("/conversations?after=x"),
        person.api.patch("/me", b"{"),
        Api().post("/auth/verify", {}),
        person.api.get("/nothing"),
        Api("x").get("/me"),
    ):
        text = json.dumps(answer.json())
        for inside in ("Traceback", "File ", "django", "psycopg", "accounts.", "SELECT", str(REPO), "line "):
            assert inside not in text
