"""One reading of HTTP/1.1 (RFC 9112): what two servers could read differently is refused, so that nothing is smuggled."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from tests.security.test_http_bounds import Server, served
from tests.security.wire import Wire, request
from whatsapp.infra.http import Door, Http


@pytest.fixture
async def server(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Server]:
    monkeypatch.setattr(Http, "door", Door())
    async with served() as made:
        yield made


SMUGGLED = b"GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n"

AMBIGUOUS = {
    "two lengths": ("Host: a", "Content-Length: 5", "Content-Length: 6"),
    "two equal lengths": ("Host: a", "Content-Length: 5", "Content-Length: 5"),
    "a list of lengths": ("Host: a", "Content-Length: 5, 6"),
    "a signed length": ("Host: a", "Content-Length: +5"),
    "a negative length": ("Host: a", "Content-Length: -5"),
    "a hexadecimal length": ("Host: a", "Content-Length: 0x5"),
    "a huge length": ("Host: a", "Content-Length: 99999999999999999999999"),
    "length and chunks": ("Host: a", "Content-Length: 5", "Transfer-Encoding: chunked"),
    "chunks and length": ("Host: a", "Transfer-Encoding: chunked", "Content-Length: 5"),
    "another coding": ("Host: a", "Transfer-Encoding: identity"),
    "chunked is not last": ("Host: a", "Transfer-Encoding: chunked, identity"),
    "chunked twice": ("Host: a", "Transfer-Encoding: chunked", "Transfer-Encoding: identity"),
    "a coding in disguise": ("Host: a", "Transfer-Encoding: xchunked"),
    "a space before the colon": ("Host: a", "Transfer-Encoding : chunked"),
    "a folded header": ("Host: a", "X-A: b", " c: d"),
    "no colon": ("Host: a", "nonsense"),
    "a bare CR": ("Host: a", "X-A: b\rContent-Length: 5"),
    "a zero byte": ("Host: a", "X-A: b\0c"),
    "a space in a name": ("Host: a", "X A: b"),
    "no host": ("X-A: b",),
    "two hosts": ("Host: a", "Host: b"),
}


@pytest.mark.parametrize("kind", AMBIGUOUS)
async def test_what_can_be_read_in_two_ways_is_refused(server: Server, kind: str) -> None:
    async with await Wire.open(server.port) as wire:
        await wire.send(request("/first", "POST", headers=AMBIGUOUS[kind], body=b"0\r\n\r\n" + SMUGGLED))
        answer = await wire.answer()
        assert answer.status == 400
        assert answer.header("connection") == "close"
        answer.problem()
        assert await wire.ended() == b""
    assert server.paths == []


@pytest.mark.parametrize(
    "line",
    [
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"get / HTTP/1.1\r\nHost: a\r\n\r\n",
        b"NONSENSE / HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET /\xff HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET /\0 HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET nonsense HTTP/1.1\r\nHost: a\r\n\r\n",
        b"CONNECT a:443 HTTP/1.1\r\nHost: a\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",  # TLS
        b"*1\r\n$4\r\nPING\r\n",
    ],
)
async def test_what_is_no_request_is_a_bad_request(server: Server, line: bytes) -> None:
    async with await Wire.open(server.port) as wire:
        await wire.send(line)
        answer = await wire.answer()
        assert answer.status == 400
        answer.problem()
        assert await wire.ended() == b""
    assert server.paths == []


@pytest.mark.parametrize(
    "chunks",
    [b"g\r\n", b"-1\r\n", b"5;" + b"x" * 40_000, b"1\r\nab\r\n", b"1\nab", b"ffffffffffffffffff\r\n"],
)
async def test_bad_chunks_end_the_request(server: Server, chunks: bytes) -> None:
    async with await Wire.open(server.port) as wire:
        await wire.send(request("/chunks", "POST", headers=("Host: a", "Transfer-Encoding: chunked")), chunks)
        answer = await wire.answer()
        assert answer.status == 400
        answer.problem()
    assert server.gone == server.paths


@pytest.mark.parametrize("line", [b"GET /\r\n\r\n", b"GET / HTTP/2.0\r\nHost: a\r\n\r\n"])
async def test_other_versions_are_refused(server: Server, line: bytes) -> None:
    async with await Wire.open(server.port) as wire:
        await wire.send(line)
        assert (await wire.answer()).status == 505
    assert server.paths == []


async def test_trailers_are_no_headers(server: Server) -> None:
    """They come behind the body, past whatever a balancer takes out of the head."""
    head = ("Host: a", "Transfer-Encoding: chunked", "Trailer: X-Forwarded-Proto")
    async with await Wire.open(server.port) as wire:
        await wire.send(request("/headers", "POST", headers=head))
        await wire.send(b"5\r\nhello\r\n0\r\nX-Forwarded-Proto: https\r\nAuthorization: Bearer x\r\n\r\n")
        answer = await wire.answer()
        assert answer.status == 200
        assert b"transfer-encoding" in answer.body
        assert b"https" not in answer.body
        assert b"Bearer" not in answer.body


async def test_pipelined_requests_get_one_answer(server: Server) -> None:
    """And the connection ends: nobody can get the answer to a request that is not theirs."""
    async with await Wire.open(server.port) as wire:
        await wire.send(request("/wait"), SMUGGLED * 1_000)
        await asyncio.sleep(0.1)
        server.go.set()
        answer = await wire.answer()
        assert (answer.status, answer.body) == (200, b"waited")
        assert answer.header("connection") == "close"
        assert await wire.ended() == b""
    assert server.paths == ["/wait"]


async def test_nonsense_behind_a_request_does_not_take_its_answer(server: Server) -> None:
    async with await Wire.open(server.port) as wire:
        await wire.send(request("/wait"), b"\0nonsense\r\n\r\n")
        server.go.set()
        answer = await wire.answer()
        assert (answer.status, answer.body) == (200, b"waited")
        assert await wire.ended() == b""


async def test_a_body_of_nobodys_request_is_no_request(server: Server) -> None:
    """A GET with a body: it is read as the body it is."""
    async with await Wire.open(server.port) as wire:
        head = ("Host: a", f"Content-Length: {len(SMUGGLED)}")
        await wire.send(request("/first", headers=head), SMUGGLED)
        assert (await wire.answer()).body == SMUGGLED
    assert server.paths == ["/first"]


@pytest.mark.parametrize("upgrade", ["h2c", "TLS/1.2", "websocket2"])
async def test_other_upgrades_are_plain_requests(server: Server, upgrade: str) -> None:
    async with await Wire.open(server.port) as wire:
        head = ("Host: a", f"Upgrade: {upgrade}", "Connection: Upgrade", "HTTP2-Settings: AAMAAABkAAQAAP__")
        await wire.send(request("/h2c", headers=head), SMUGGLED)
        answer = await wire.answer()
        assert answer.status == 200
        assert answer.header("connection") == "close"
        assert await wire.ended() == b""
    assert server.paths == ["/h2c"]


async def test_http_1_0_needs_no_host_and_ends(server: Server) -> None:
    async with await Wire.open(server.port) as wire:
        await wire.send(b"GET /old HTTP/1.0\r\n\r\n")
        answer = await wire.answer()
        assert answer.status == 200
        assert await wire.ended() == b""
