"""Hostile and clumsy requests at a running system: whatever is refused is refused by a problem document, and nothing breaks."""

from __future__ import annotations

import asyncio
import http.client
import json
from typing import Any
from urllib.parse import urlsplit

import pytest

from tests.api.people import SignedUp, Sms, sign_up

SOME_ID = "5f0c2c3e-7a55-4d43-9f3e-0b8f6f1f2a01"  # nobody's; the same in every process, as names of tests have to be
JSON = {"Content-Type": "application/json"}


@pytest.fixture(scope="module")
def person(stack: Any) -> SignedUp:
    return sign_up(stack.http, Sms(str(stack.data / "sms.jsonl")))


def ask(
    person: SignedUp, method: str, path: str, body: bytes | None = None, headers: dict[str, str] | None = None
) -> tuple[int, dict[str, str], bytes]:
    """Status, headers (lower case) and body; the path goes out as it is."""
    address = urlsplit(person.url)
    connection = http.client.HTTPConnection(address.hostname or "", address.port, timeout=30)
    try:
        connection._validate_path = lambda url: None  # type: ignore[attr-defined]
        sent = {"Authorization": f"Bearer {person.token}", **(headers or {})}
        connection.request(method, path, body, sent)
        answer = connection.getresponse()
        return answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read()
    finally:
        connection.close()


def assert_problem(found: tuple[int, dict[str, str], bytes], status: int, code: str) -> dict[str, Any]:
    got, headers, body = found
    assert (got, headers["content-type"]) == (status, "application/problem+json"), body[:300]
    problem: dict[str, Any] = json.loads(body)
    assert (problem["status"], problem["code"], problem["type"]) == (status, code, f"/problems/{code}")
    assert problem["title"]
    assert problem["detail"]
    return problem


@pytest.mark.parametrize(
    "path",
    [
        "/",
        "/nothing",
        "/me/",
        "//me",
        "/me//",
        "/ME",
        "/me;a=b",
        "/me%00",
        "/%ff%fe",
        "/me%2F",
        "/users/..%2f..%2fme",
        f"/users/{SOME_ID}/",
        f"/users/{SOME_ID.upper()}",
        f"/users/{{{SOME_ID}}}",
        "/users/1",
        "/users/null",
        f"/users/{SOME_ID}%0d%0aX-Injected:%201",
        f"/conversations/{SOME_ID}/events/7",
        "/metrics",
        "/ws",
        "/static/nothing.css",
        "/schema/",
        "/schema/docs/nothing",
        "/.git/config",
        "/" + "a" * 4_000,
    ],
)
def test_addresses_that_are_none(person: SignedUp, path: str) -> None:
    found = ask(person, "GET", path)
    assert_problem(found, 404, "not_found")
    assert "x-injected" not in found[1]


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("GET", "/auth/register", {"POST"}),
        ("PUT", "/me", {"GET", "HEAD", "PATCH", "DELETE"}),
        ("DELETE", "/contacts", {"GET", "HEAD", "POST"}),
        ("TRACE", "/me", {"GET", "HEAD", "PATCH", "DELETE"}),
        ("TRACE", "/health/live", {"GET", "HEAD"}),
        ("POST", "/health/ready", {"GET", "HEAD"}),
        ("POST", "/schema/openapi.json", {"GET", "HEAD"}),
        ("PATCH", "/schema/docs", {"GET", "HEAD"}),
        ("GET", "/groups", {"POST"}),
        ("FLY", "/me", {"GET", "HEAD", "PATCH", "DELETE"}),
        ("get", "/me", {"GET", "HEAD", "PATCH", "DELETE"}),
        ("PROPFIND", "/devices", {"GET", "HEAD"}),
    ],
)
def test_methods_that_an_address_has_not(person: SignedUp, method: str, path: str, allowed: set[str]) -> None:
    found = ask(person, method, path)
    if method in ("FLY", "get") and found[0] == 400:
        assert_problem(found, 400, "bad_request")  # the server's parser knows no such method
        return
    assert_problem(found, 405, "bad_request")
    assert set(found[1]["allow"].split(", ")) == allowed | {"OPTIONS"}


@pytest.mark.parametrize(
    "path", ["/me", "/contacts", "/conversations", "/health/live", "/schema/openapi.json"]
)
def test_head_is_get_without_the_body(person: SignedUp, path: str) -> None:
    status, headers, body = ask(person, "HEAD", path)
    assert (status, body) == (200, b"")
    assert headers["content-type"] == "application/json"


def test_options_names_the_methods(person: SignedUp) -> None:
    status, headers, _ = ask(person, "OPTIONS", "/me")
    assert status == 200
    assert set(headers["allow"].split(", ")) == {"GET", "HEAD", "PATCH", "DELETE", "OPTIONS"}


@pytest.mark.parametrize(
    "accept", ["text/xml", "image/png", "application/vnd.nothing+json", "nonsense", "a/b;q=x"]
)
def test_forms_that_there_are_not(person: SignedUp, accept: str) -> None:
    assert_problem(ask(person, "GET", "/me", headers={"Accept": accept}), 406, "bad_request")
    # Where there is one form only, Accept is not asked: a probe may say anything.
    assert ask(person, "GET", "/health/live", headers={"Accept": accept})[0] == 200


@pytest.mark.parametrize(
    ("headers", "body"),
    [
        ({"Content-Type": "text/plain"}, b'{"name": "x"}'),
        ({"Content-Type": "application/x-www-form-urlencoded"}, b"name=x"),
        ({"Content-Type": "multipart/form-data"}, b"x"),
        ({"Content-Type": "multipart/form-data; boundary=" + "b" * 300}, b"x"),
        ({"Content-Type": "application/xml"}, b"<name/>"),
        ({"Content-Type": "nonsense"}, b'{"name": "x"}'),
        ({**JSON, "Content-Encoding": "gzip"}, b"\x1f\x8b\x08\x00"),
        ({**JSON, "Content-Encoding": "br"}, b'{"name": "x"}'),
    ],
)
def test_bodies_of_other_kinds(person: SignedUp, headers: dict[str, str], body: bytes) -> None:
    assert_problem(ask(person, "PATCH", "/me", body, headers), 415, "unsupported_media")


@pytest.mark.parametrize(
    "body",
    [
        b"\xef\xbb\xbf{}",
        '{"name": "x"}'.encode("utf-16"),
        b'{"name": "\xe9"}',  # Latin-1, whatever the charset says
        b'{"name": "\\u0000"}',
        b'{"name": "\\ud800"}',
        b'{"name": 7}',
        b'{"name": true}',
        b'{"name": ["x"]}',
        b'{"name": {"x": "x"}}',
        b'{"name": null}',
        b'{"name": "' + b"x" * 101 + b'"}',
        b'{"about": "' + b"x" * 501 + b'"}',
        b'{"language": "../../etc"}',
        b'{"name": 1' + b"0" * 5_000 + b"}",
        b'{"name": 1e999}',
        b"[" * 100_000,
        b'{"a":' * 50_000,
        b"\x00" * 100,
    ],
)
def test_bodies_that_are_not_what_they_should_be(person: SignedUp, body: bytes) -> None:
    headers = {"Content-Type": "application/json; charset=iso-8859-1"}
    assert_problem(ask(person, "PATCH", "/me", body, headers), 400, "bad_request")


@pytest.mark.parametrize(
    "query",
    [
        "limit=0",
        "limit=-1",
        "limit=",
        "limit=1.5",
        "limit=1e3",
        "limit=007",
        "limit=%00",
        "limit=%2b5",
        "limit=%D9%A3",
        "limit=9007199254740992",
        "limit=" + "9" * 2_000,
        "limit=1&limit=2",
        "since=x",
        "since=99999999999999999999",
        "after=x",
        "after=%00",
        f"after={SOME_ID}&after={SOME_ID}",
        f"after=urn:uuid:{SOME_ID}",
        f"after={SOME_ID.replace('-', '')}",
    ],
)
@pytest.mark.parametrize("path", ["/contacts", "/conversations"])
def test_query_strings_that_are_wrong(person: SignedUp, path: str, query: str) -> None:
    problem = assert_problem(ask(person, "GET", f"{path}?{query}"), 400, "bad_request")
    assert problem["details"]["field"] == query.split("=")[0]


@pytest.mark.parametrize("name", ["X-WhatsApp-Protocol-Version", "X-Idempotency-Key"])
@pytest.mark.parametrize("value", ["", "\x01", "a b", "\xe9", "1.2.3, 4", "x" * 4_000])
def test_headers_that_are_wrong(person: SignedUp, name: str, value: str) -> None:
    body = json.dumps({"phoneNumber": person.phone}).encode()
    found = ask(person, "POST", "/contacts", body, {**JSON, name: value})
    assert_problem(found, 400, "bad_request")
    assert name.lower() not in found[1]


@pytest.mark.parametrize(
    "header", ["", "Bearer", "Bearer ", "Basic eDp5", "Bearer \xe9", "Bearer a.b.c", "Bearer " + "x" * 4_000]
)
def test_tokens_that_are_none(person: SignedUp, header: str) -> None:
    found = ask(person, "GET", "/me", headers={"Authorization": header})
    assert_problem(found, 401, "unauthenticated")
    assert found[1]["www-authenticate"].startswith("Bearer")


def test_a_form_of_staff_without_its_token(person: SignedUp) -> None:
    form = {"Content-Type": "application/x-www-form-urlencoded"}
    found = ask(person, "POST", "/admin/login/", b"username=x", {**form, "Accept": "application/json"})
    assert_problem(found, 403, "forbidden")
    status, headers, _ = ask(person, "POST", "/admin/login/", b"username=x", {**form, "Accept": "text/html"})
    assert status == 403
    assert headers["content-type"].startswith("text/html")


def test_a_body_above_the_bound(person: SignedUp) -> None:
    found = ask(person, "PATCH", "/me", b"{}", {**JSON, "Content-Length": "1048577"})
    assert_problem(found, 413, "too_large")


@pytest.mark.parametrize("path", ["/me\x7f", "/m e", "/" + "a" * 100_000])
def test_addresses_that_no_parser_takes(person: SignedUp, path: str) -> None:
    status, headers, body = ask(person, "GET", path)
    assert status in (400, 414, 431)
    assert headers["content-type"] == "application/problem+json"
    assert json.loads(body)["status"] == status


def test_a_body_of_which_nothing_is_required_may_be_left_out(person: SignedUp) -> None:
    assert ask(person, "PATCH", "/me", b"", JSON)[0] == 200
    assert ask(person, "PATCH", "/me")[0] == 200
    assert_problem(ask(person, "POST", "/contacts"), 400, "bad_request")


async def test_the_system_still_lives(person: SignedUp) -> None:
    answers = await asyncio.gather(*(asyncio.to_thread(ask, person, "GET", "/health/live") for _ in range(8)))
    assert {status for status, _, _ in answers} == {200}
