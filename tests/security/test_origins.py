"""Pages of other origins: sockets by an allow-list, REST by CORS, never with cookies, never the admin."""

from __future__ import annotations

from typing import Any

import pytest
from django.core.exceptions import ImproperlyConfigured

from tests.security.conftest import HOST, ORIGIN
from tests.security.test_headers import HOST_LINE, ask
from tests.security.test_http_bounds import UPGRADE
from tests.security.wire import Answer, Wire, request
from whatsapp.infra.origins import Origins, same_origin
from whatsapp.settings import env

system = pytest.mark.needs_system


async def _open(port: int, *origins: str) -> Answer:
    lines = (HOST_LINE, *UPGRADE[1:], *(f"Origin: {origin}" for origin in origins))
    async with await Wire.open(port) as wire:
        await wire.send(request("/ws", headers=lines))
        return await wire.answer(head_only=True)


@system
@pytest.mark.parametrize("origins", [(), (ORIGIN,), ("http://localhost:5173",)])
async def test_a_socket_opens_for_known_pages_and_for_programs(port: int, origins: tuple[str, ...]) -> None:
    assert (await _open(port, *origins)).status == 101


@system
@pytest.mark.parametrize(
    "origins",
    [
        ("null",),
        ("",),
        ("*",),
        ("https://evil.example",),
        ("http://chat.example",),  # another scheme
        ("https://chat.example:444",),
        ("https://chat.example.evil.example",),
        ("https://evil.example/https://chat.example",),
        ("https://chat.example/",),
        ("https://sub.chat.example",),
    ],
)
async def test_a_socket_does_not_open_for_other_pages(port: int, origins: tuple[str, ...]) -> None:
    answer = await _open(port, *origins)
    assert answer.status == 403
    assert answer.header("content-type") == "application/problem+json"


@system
@pytest.mark.parametrize("second", [ORIGIN, "https://evil.example"])
async def test_a_page_has_one_origin(port: int, second: str) -> None:
    assert (await _open(port, ORIGIN, second)).status == 400
    assert not Origins([ORIGIN]).allow(_scope((b"origin", ORIGIN.encode()), (b"origin", second.encode())))


def _scope(*headers: tuple[bytes, bytes]) -> dict[str, Any]:
    return {"type": "websocket", "path": "/", "headers": list(headers)}


def test_a_wildcard_allows_every_page() -> None:
    every = Origins(["*"])
    assert every.allow(_scope((b"origin", b"null")))
    assert every.allow(_scope((b"origin", b"https://any.example")))
    nobody = Origins([])
    assert nobody.allow(_scope())
    assert not nobody.allow(_scope((b"origin", b"null")))


@pytest.mark.parametrize(
    ("origin", "host", "same"),
    [
        (b"https://chat.example", b"chat.example", True),
        (b"http://127.0.0.1:8000", b"127.0.0.1:8000", True),
        (b"https://CHAT.example", b"chat.EXAMPLE", True),
        (b"https://evil.example", b"chat.example", False),
        (b"https://chat.example:444", b"chat.example", False),
        (b"null", b"chat.example", False),
        (b"null", b"", False),
        (b"", b"", False),
        (b"https://[", b"[", False),
        (b"\xff", b"\xff", False),
        (b"file://chat.example", b"chat.example", False),
    ],
)
def test_the_admins_sockets_are_of_the_same_origin(origin: bytes, host: bytes, same: bool) -> None:
    assert same_origin(_scope((b"origin", origin), (b"host", host))) is same
    assert not same_origin(_scope((b"host", host)))
    assert not same_origin(_scope((b"origin", origin), (b"origin", origin), (b"host", host)))


@pytest.mark.parametrize(
    "value",
    ["chat.example", "https://chat.example/", "https://Chat.example", "null", "https://", "https://a b", "wss://a",
     "https://*.example", "https://chat.example,null"],
)  # fmt: skip
def test_origins_that_no_browser_sends_are_refused_at_the_start(
    value: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WEB_ORIGINS", value)
    with pytest.raises(ImproperlyConfigured, match="WEB_ORIGINS has"):
        env.origins("WEB_ORIGINS")


# -- CORS ------------------------------------------------------------------------------------------------------------------


def _preflight(
    path: str, origin: str, method: str = "PATCH", headers: str = "authorization, content-type"
) -> bytes:
    lines = (
        HOST_LINE,
        f"Origin: {origin}",
        f"Access-Control-Request-Method: {method}",
        f"Access-Control-Request-Headers: {headers}",
    )
    return request(path, "OPTIONS", headers=lines)


@system
@pytest.mark.parametrize("path", ["/me", "/auth/register", "/conversations", "/schema/openapi.json"])
async def test_a_web_client_of_a_known_origin_may_call(port: int, path: str) -> None:
    answer = await ask(
        port,
        _preflight(
            path,
            ORIGIN,
            headers="authorization, x-idempotency-key, x-link-secret, x-whatsapp-protocol-version",
        ),
    )
    assert answer.status == 200
    assert answer.header("access-control-allow-origin") == ORIGIN
    assert answer.header("access-control-allow-credentials") is None
    allowed = (answer.header("access-control-allow-headers") or "").split(", ")
    assert {
        "authorization",
        "content-type",
        "x-idempotency-key",
        "x-link-secret",
        "x-whatsapp-protocol-version",
    } <= set(allowed)
    methods = (answer.header("access-control-allow-methods") or "").split(", ")
    assert {"GET", "POST", "PUT", "PATCH", "DELETE"} <= set(methods)
    assert "origin" in (answer.header("vary") or "").lower()


@system
async def test_its_answers_are_shown_to_it_errors_too(port: int) -> None:
    lines = (HOST_LINE, f"Origin: {ORIGIN}")
    for path, status in (("/me", 401), ("/nothing", 404), ("/health/live", 200)):
        answer = await ask(port, request(path, headers=lines))
        assert answer.status == status
        assert answer.header("access-control-allow-origin") == ORIGIN
        exposed = answer.header("access-control-expose-headers") or ""
        assert {"Retry-After", "X-WhatsApp-Protocol-Version"} <= set(exposed.split(", "))


@system
@pytest.mark.parametrize("origin", ["https://evil.example", "null", "https://chat.example.evil.example", ""])
async def test_others_are_told_nothing(port: int, origin: str) -> None:
    answers = [await ask(port, _preflight("/me", origin))]
    answers.append(await ask(port, request("/health/live", headers=(HOST_LINE, f"Origin: {origin}"))))
    for answer in answers:
        assert not [name for name, _ in answer.headers if name.startswith("access-control-")]


@system
@pytest.mark.parametrize("path", ["/admin/", "/admin/login/", "/admin", "/static/admin/css/base.css"])
async def test_the_admin_is_for_no_other_origin(port: int, path: str) -> None:
    for sent in (_preflight(path, ORIGIN), request(path, headers=(HOST_LINE, f"Origin: {ORIGIN}"))):
        answer = await ask(port, sent)
        assert answer.header("access-control-allow-origin") is None


@system
async def test_the_admins_forms_need_a_token_and_the_same_origin(port: int) -> None:
    body = b"username=staff&password=x"
    base = (f"Host: {HOST}", "X-Forwarded-Proto: https", f"Content-Length: {len(body)}",
            "Content-Type: application/x-www-form-urlencoded")  # fmt: skip
    for more in (
        (),
        ("Cookie: __Host-csrftoken=" + "a" * 32,),
        (f"Origin: {ORIGIN}.evil",),
        ("Origin: null",),
    ):
        answer = await ask(port, request("/admin/login/", "POST", headers=(*base, *more), body=body))
        assert answer.status == 403
