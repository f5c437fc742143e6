"""What every HTTP answer of a gateway says to a browser, whoever made it."""

from __future__ import annotations

import re

import pytest

from tests.security.conftest import HOST, ORIGIN
from tests.security.test_http_bounds import UPGRADE
from tests.security.wire import Answer, Wire, request

pytestmark = pytest.mark.needs_system

HOST_LINE = f"Host: {HOST}"
JSON = "Content-Type: application/json"


def _upgrade(*more: str, path: str = "/ws") -> bytes:
    return request(path, headers=(HOST_LINE, *UPGRADE[1:], *more))


#: name → (what is sent, the status of the answer)
ANSWERS = {
    "health": (request("/health/live", headers=(HOST_LINE,)), 200),
    "no token": (request("/me", headers=(HOST_LINE,)), 401),
    "no address": (request("/nothing", headers=(HOST_LINE,)), 404),
    "root": (request("/", headers=(HOST_LINE,)), 404),
    "not yet": (request("/bots", "POST", headers=(HOST_LINE, "Content-Length: 0")), 501),
    "wrong method": (request("/auth/register", headers=(HOST_LINE,)), 405),
    "trace": (request("/me", "TRACE", headers=(HOST_LINE,)), 401),
    "bad body": (
        request("/auth/register", "POST", headers=(HOST_LINE, JSON, "Content-Length: 1"), body=b"{"),
        400,
    ),
    "no JSON": (request("/auth/register", "POST", headers=(HOST_LINE, "Content-Length: 1"), body=b"{"), 415),
    "huge body": (
        request("/auth/register", "POST", headers=(HOST_LINE, JSON, "Content-Length: 2000000")),
        413,
    ),
    "old version": (request("/me", headers=(HOST_LINE, "X-WhatsApp-Protocol-Version: 2.0")), 426),
    "schema": (request("/schema/openapi.json", headers=(HOST_LINE,)), 200),
    "docs": (request("/schema/docs", headers=(HOST_LINE,)), 200),
    "protobuf": (request("/schema/whatsapp.proto", headers=(HOST_LINE,)), 200),
    "admin": (request("/admin/", headers=(HOST_LINE,)), 302),
    "login": (request("/admin/login/", headers=(HOST_LINE,)), 200),
    "no slash": (request("/admin", headers=(HOST_LINE,)), 301),
    "static": (request("/static/admin/css/base.css", headers=(HOST_LINE,)), 200),
    "no static": (request("/static/nothing.css", headers=(HOST_LINE,)), 404),
    "a foreign host": (request("/me", headers=("Host: evil.example",)), 400),
    "no host": (request("/me", headers=()), 400),
    "nonsense": (b"nonsense\r\n\r\n", 400),
    "long head": (request("/", headers=(HOST_LINE, "X-A: " + "a" * 20_000)), 431),
    "long address": (request("/" + "a" * 5_000, headers=(HOST_LINE,)), 414),
    "foreign socket": (_upgrade("Origin: https://evil.example"), 403),
    "no socket": (_upgrade(path="/wss"), 404),
    "bad socket": (_upgrade("Sec-WebSocket-Key: x"), 400),
    "odd socket": (_upgrade("Sec-WebSocket-Protocol: ;"), 400),
    "socket as a page": (request("/ws", headers=(HOST_LINE,)), 404),
    "preflight": (
        request(
            "/me", "OPTIONS", headers=(HOST_LINE, f"Origin: {ORIGIN}", "Access-Control-Request-Method: GET")
        ),
        200,
    ),
}


async def ask(port: int, sent: bytes) -> Answer:
    async with await Wire.open(port) as wire:
        await wire.send(sent)
        return await wire.answer()


def assert_guarded(answer: Answer) -> None:
    """What holds for every answer. :meth:`Answer.header` also fails when one is there twice."""
    assert answer.header("x-content-type-options") == "nosniff"
    assert answer.header("x-frame-options") == "DENY"
    assert answer.header("referrer-policy") == "same-origin"
    assert answer.header("cross-origin-opener-policy") == "same-origin"
    assert answer.header("cross-origin-resource-policy") == "same-origin"
    assert "microphone=()" in (answer.header("permissions-policy") or "")
    for banner in ("server", "x-powered-by", "via"):
        assert answer.header(banner) is None
    policy = answer.header("content-security-policy") or ""
    assert "default-src 'none'" in policy
    assert "frame-ancestors 'none'" in policy
    assert "base-uri 'none'" in policy
    assert not re.search(r"https?:|\*", policy)  # no host of somebody else


@pytest.mark.parametrize("kind", ANSWERS)
async def test_every_answer_has_them(port: int, kind: str) -> None:
    sent, status = ANSWERS[kind]
    answer = await ask(port, sent)
    assert answer.status == status, answer
    assert_guarded(answer)
    html = (answer.header("content-type") or "").startswith("text/html")
    policy = answer.header("content-security-policy") or ""
    assert "script-src" not in policy or html, "only pages run anything"
    if kind not in ("static", "preflight", "odd socket"):
        assert "no-store" in (answer.header("cache-control") or "no-store" * (status in (301, 302)) or ""), (
            answer
        )
    if status >= 400 and kind != "odd socket":
        assert answer.problem()["detail"]


async def test_the_private_port_has_them_too(private_port: int) -> None:
    for path in ("/metrics", "/health/live"):
        answer = await ask(private_port, request(path, headers=("Host: 127.0.0.1",)))
        assert answer.status == 200
        assert_guarded(answer)


async def test_metrics_are_not_public(port: int) -> None:
    assert (await ask(port, request("/metrics", headers=(HOST_LINE,)))).status == 404


@pytest.mark.parametrize("kind", ["health", "no token", "huge body", "static", "login"])
async def test_hsts_is_told_over_tls_only(port: int, kind: str) -> None:
    sent, _ = ANSWERS[kind]
    assert (await ask(port, sent)).header("strict-transport-security") is None
    over_tls = sent.replace(b"\r\n\r\n", b"\r\nX-Forwarded-Proto: https\r\n\r\n", 1)
    assert (await ask(port, over_tls)).header("strict-transport-security") == (
        "max-age=31536000; includeSubDomains"
    )


@pytest.mark.parametrize("page", ["login", "docs"])
async def test_a_page_runs_only_its_own_scripts(port: int, page: str) -> None:
    answer = await ask(port, ANSWERS[page][0])
    policy = dict(
        part.strip().partition(" ")[::2]
        for part in (answer.header("content-security-policy") or "").split(";")
    )
    assert "'self'" in policy["script-src"]
    assert "'unsafe-inline'" not in policy["script-src"]
    assert policy["object-src"] == "'none'"
    assert policy["form-action"] == "'self'"
    html = answer.body.decode()
    assert not re.findall(r'(?:src|href|action)="(?:https?:)?//', html)
    inline = [tag for tag in re.findall(r"<script[^>]*>", html) if "src=" not in tag and "json" not in tag]
    assert all("nonce=" in tag for tag in inline)
    assert not re.findall(r'\son[a-z]+="', html)


async def test_cookies_of_staff(port: int) -> None:
    secure = request("/admin/login/", headers=(HOST_LINE, "X-Forwarded-Proto: https"))
    answer = await ask(port, secure)
    cookies = [value for name, value in answer.headers if name == "set-cookie"]
    assert any(cookie.startswith("__Host-csrftoken=") for cookie in cookies)
    for cookie in cookies:
        assert {"secure", "httponly", "path=/"} <= {part.strip().lower() for part in cookie.split(";")}
        assert "samesite=lax" in cookie.lower()
        assert "domain" not in cookie.lower()


async def test_the_api_sets_no_cookie(port: int) -> None:
    for kind in ("health", "no token", "bad body", "schema", "no address"):
        answer = await ask(port, ANSWERS[kind][0])
        assert answer.header("set-cookie") is None


@pytest.mark.parametrize(
    "host",
    ["evil.example", "chat.example.evil.example", "chat.example@evil.example", "chat.example:x", "", "é"],
)
async def test_other_hosts_are_refused(port: int, host: str) -> None:
    answer = await ask(
        port, request("/auth/register", "POST", headers=(f"Host: {host}", "Content-Length: 0"))
    )
    assert answer.status == 400
    assert b"evil" not in answer.body


async def test_a_forwarded_host_is_not_believed(port: int) -> None:
    head = (HOST_LINE, "X-Forwarded-Host: evil.example")
    answer = await ask(port, request("/admin/", headers=head))
    assert answer.status == 302
    assert "evil" not in (answer.header("location") or "")
