"""The ASGI application around Django: body bounds, and sockets that go nowhere."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import httpx
import pytest
from channels.testing import WebsocketCommunicator

from tests.accounts.conftest import assert_problem
from whatsapp import asgi
from whatsapp.infra.origins import Origins


@pytest.fixture
async def http() -> AsyncIterator[httpx.AsyncClient]:
    transport = httpx.ASGITransport(asgi.application)
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
        yield client


async def test_http_reaches_django(http: httpx.AsyncClient) -> None:
    answer = await http.get("/health/live")
    assert answer.json() == {"status": "ok"}
    assert_problem(await http.get("/nothing"), "not_found", 404)


async def test_a_declared_huge_body_is_refused_unread(http: httpx.AsyncClient) -> None:
    read = 0

    async def body() -> AsyncIterator[bytes]:
        nonlocal read
        read += 1
        yield b"x"

    answer = await http.post("/auth/register", content=body(), headers={"Content-Length": "2000000"})
    assert_problem(answer, "too_large", 413)
    assert read == 0


async def test_a_chunked_huge_body_is_refused_when_it_passes_the_bound(http: httpx.AsyncClient) -> None:
    read = 0

    async def body() -> AsyncIterator[bytes]:
        nonlocal read
        for _ in range(1_000):
            read += 65_536
            yield b"x" * 65_536

    answer = await http.post("/auth/register", content=body(), headers={"Content-Type": "application/json"})
    assert_problem(answer, "too_large", 413)
    assert read <= 1_048_576 + 2 * 65_536


async def test_a_body_within_the_bound_arrives_whole(http: httpx.AsyncClient) -> None:
    answer = await http.post("/auth/register", json={"phoneNumber": "1" * 1_000_000})
    problem = assert_problem(answer, "bad_request", 400)
    assert problem["details"] == {"field": "phoneNumber"}


@pytest.mark.parametrize("path", ["/", "/ws/", "/ws2", "/chat", "/admin/"])
async def test_other_sockets_are_refused(path: str) -> None:
    communicator = WebsocketCommunicator(asgi.application, path)
    accepted, code = await communicator.connect()
    assert (accepted, code) == (False, 1000)
    await asyncio.wait_for(communicator.future, 5)  # ended by itself, without an error


async def test_browsers_of_other_origins_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(asgi, "_origins", Origins(["https://chat.example"]))
    for headers, accepted in (([], True), ([(b"origin", b"https://evil.example")], False)):
        communicator = WebsocketCommunicator(asgi.application, "/ws", headers=headers)
        if accepted:
            assert asgi._origins.allow(communicator.scope)
        else:
            assert (await communicator.connect())[0] is False
