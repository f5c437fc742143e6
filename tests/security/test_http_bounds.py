"""C7 before a request is understood: connections, heads, bodies and answers that never come to their end."""

from __future__ import annotations

import asyncio
import socket as sockets
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from tests.gateway.raw import CLOSE, RawSocket, frame
from tests.security.wire import Wire, request
from tests.support.listening import listening
from tests.support.patience import until
from whatsapp.infra import websocket
from whatsapp.infra.headers import with_headers
from whatsapp.infra.http import Door, Http
from whatsapp.infra.limits import LIMITS

Limit = Callable[..., None]


class Server:
    """The gateway's own server around a small application, and what reached that."""

    def __init__(self) -> None:
        self.port = 0
        self.paths: list[str] = []
        self.gone: list[str] = []
        self.ends: list[int] = []  # of sockets
        self.go = asyncio.Event()  # what /wait waits for
        self.attach = asyncio.Event()  # what a socket's application waits for
        self.door = Http.door

    async def application(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "websocket":
            await receive()
            await self.attach.wait()
            await send({"type": "websocket.accept"})
            if scope["path"] == "/turned-away":
                await send({"type": "websocket.close", "code": 4426})
                return
            if scope["path"] != "/plain":
                scope["whatsapp.socket"].attach(lambda data, text: None, text=True, on_end=self.ends.append)
                if scope["path"] == "/ended":
                    scope["whatsapp.socket"].close(4401)
                return
            while (await receive())["type"] != "websocket.disconnect":
                pass
            return
        path = scope["path"]
        self.paths.append(path)
        body = b""
        if path == "/early":
            body = b"early"
        elif path == "/big":
            body = b"x" * 8_000_000
        elif path == "/wait":
            await self.go.wait()
            body = b"waited"
        else:
            while True:
                message = await receive()
                if message["type"] == "http.disconnect":
                    self.gone.append(path)
                    return
                body += message["body"]
                if not message["more_body"]:
                    break
            if path == "/headers":
                body = repr(scope["headers"]).encode()
        headers = [(b"content-length", str(len(body)).encode())]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": body})


@asynccontextmanager
async def served() -> AsyncIterator[Server]:
    server = Server()
    async with listening(with_headers(server.application)) as server.port:
        yield server
    await until(lambda: not server.door.connections, "every connection is counted out", 5)
    assert not server.door.waiting
    assert not server.door.addresses


@pytest.fixture
async def server(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Server]:
    monkeypatch.setattr(Http, "door", Door())
    async with served() as made:
        yield made


@pytest.fixture
def limit(monkeypatch: pytest.MonkeyPatch) -> Limit:
    def lower(**values: int) -> None:
        for name, value in values.items():
            monkeypatch.setattr(LIMITS, name, value)

    return lower


# -- as it should be ------------------------------------------------------------------------------------------------------


async def test_requests_follow_each_other_on_one_connection(server: Server) -> None:
    async with await Wire.open(server.port) as wire:
        for number in range(3):
            body = b"x" * number
            await wire.send(request("/", "POST", headers=("Host: a", f"Content-Length: {number}"), body=body))
            answer = await wire.answer()
            assert (answer.status, answer.body) == (200, body)
        assert server.door.connections == 1


async def test_a_chunked_body_arrives_however_it_is_cut(server: Server) -> None:
    sent = request("/", "POST", headers=("Host: a", "Transfer-Encoding: chunked"))
    sent += b"5\r\nhello\r\n6\r\n world\r\n0\r\n\r\n"
    async with await Wire.open(server.port) as wire:
        for byte in sent:
            await wire.send(bytes([byte]))
            await asyncio.sleep(0)
        assert (await wire.answer()).body == b"hello world"


# -- time ------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "beginning",
    [b"", b"GET", b"GET / HTTP/1.1\r\nHost: a\r\nX-Slow: "],
    ids=["nothing", "a method", "half a header"],
)
async def test_a_head_that_does_not_end_is_cut(server: Server, limit: Limit, beginning: bytes) -> None:
    limit(http_head_ms=300)
    async with await Wire.open(server.port) as wire:
        await wire.send(beginning)
        if beginning:
            answer = await wire.answer()
            assert answer.status == 408
            assert answer.header("connection") == "close"
            answer.problem()
        assert await wire.ended() == b""
    assert server.paths == []


async def test_a_head_that_trickles_is_cut(server: Server, limit: Limit) -> None:
    """Slowloris: a byte now and then does not begin the time anew."""
    limit(http_head_ms=500)
    async with await Wire.open(server.port) as wire:
        await wire.send(b"GET / HTTP/1.1\r\nHost: a\r\n")

        async def trickle() -> None:
            while True:
                await wire.send(b"X-A: b\r\n")
                await asyncio.sleep(0.05)

        trickling = asyncio.create_task(trickle())
        assert (await wire.answer()).status == 408
        trickling.cancel()


@pytest.mark.parametrize("keepalive", [b"", b"\r\n"], ids=["silence", "empty lines"])
async def test_an_idle_connection_is_closed(server: Server, limit: Limit, keepalive: bytes) -> None:
    limit(http_idle_ms=300, http_head_ms=600)
    async with await Wire.open(server.port) as wire:
        await wire.send(request())
        assert (await wire.answer()).status == 200

        async def knock() -> None:
            while keepalive:
                await wire.send(keepalive)
                await asyncio.sleep(0.05)

        knocking = asyncio.create_task(knock())
        rest = await wire.ended()
        knocking.cancel()
        assert not rest or rest.startswith(b"HTTP/1.1 408")


@pytest.mark.parametrize("kind", ["Content-Length: 10", "Transfer-Encoding: chunked"])
async def test_a_body_that_does_not_end_is_cut(server: Server, limit: Limit, kind: str) -> None:
    limit(http_body_ms=300)
    async with await Wire.open(server.port) as wire:
        await wire.send(request("/slow", "POST", headers=("Host: a", kind)), b"1\r\n")
        answer = await wire.answer()
        assert answer.status == 408
        answer.problem()
        assert await wire.ended() == b""
    assert server.gone == ["/slow"]  # the application does not wait for ever either


async def test_a_body_that_nobody_waits_for_keeps_no_connection(server: Server, limit: Limit) -> None:
    """The answer came before the body: the rest of it may trickle, but not for ever."""
    limit(http_body_ms=400, http_idle_ms=200)
    async with await Wire.open(server.port) as wire:
        await wire.send(request("/early", "POST", headers=("Host: a", "Content-Length: 1000000")))
        assert (await wire.answer()).body == b"early"

        async def trickle() -> None:
            while True:
                await wire.send(b"x")
                await asyncio.sleep(0.02)

        trickling = asyncio.create_task(trickle())
        await wire.ended()
        trickling.cancel()
    assert server.paths == ["/early"]


async def test_an_answer_that_is_not_read_keeps_no_connection(server: Server, limit: Limit) -> None:
    limit(http_unread_ms=400)
    plain = sockets.socket()
    plain.setsockopt(sockets.SOL_SOCKET, sockets.SO_RCVBUF, 4_096)
    plain.setblocking(False)
    try:
        await asyncio.get_running_loop().sock_connect(plain, ("127.0.0.1", server.port))
        await asyncio.get_running_loop().sock_sendall(plain, request("/big"))
        await until(lambda: server.paths == ["/big"], "the request came", 5)
        await until(lambda: server.door.connections == 0, "the connection is cut", 10)
    finally:
        plain.close()


async def test_a_client_that_is_answered_owes_nothing(server: Server, limit: Limit) -> None:
    """No timer runs while the server is the slow one."""
    limit(http_head_ms=200, http_body_ms=200, http_idle_ms=200)
    async with await Wire.open(server.port) as wire:
        await wire.send(request("/wait"))
        await asyncio.sleep(0.6)
        server.go.set()
        assert (await wire.answer()).body == b"waited"


# -- sizes -----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("head", "status"),
    [
        (("Host: a", "X-A: " + "a" * 20_000), 431),
        (("Host: a", "X-A: " + "a" * 8_100), 431),  # one line
        (("Host: a", *(f"X-{number}: {'a' * 500}" for number in range(40))), 431),
        (("Host: a", *(f"X-{number}: a" for number in range(101))), 431),
        (("Host: a", *(f"X-{number}: a" for number in range(99))), 200),
        (("Host: a", "Authorization: Bearer " + "a" * 7_000), 200),
    ],
    ids=["a header", "a line", "all of them", "their number", "just as many", "a long token"],
)
async def test_heads_are_bounded(server: Server, head: tuple[str, ...], status: int) -> None:
    async with await Wire.open(server.port) as wire:
        await wire.send(request(headers=head))
        answer = await wire.answer()
        assert answer.status == status
        if status != 200:
            assert answer.problem()["code"] == "too_large"
            assert await wire.ended() == b""
    assert len(server.paths) == (status == 200)


async def test_the_address_is_bounded(server: Server) -> None:
    async with await Wire.open(server.port) as wire:
        await wire.send(request("/" + "a" * 4_095))
        assert (await wire.answer()).status == 200
        await wire.send(request("/" + "a" * 4_096))
        assert (await wire.answer()).status == 414


@pytest.mark.parametrize(
    "endless", [b"GET /", b"GET / HTTP/1.1\r\nHost: a\r\nX-A: "], ids=["address", "header"]
)
async def test_what_has_no_end_is_not_collected(server: Server, endless: bytes) -> None:
    """It is refused while it comes, not when 100 MB are there."""
    async with await Wire.open(server.port) as wire:
        await wire.send(endless)
        answer = asyncio.create_task(wire.answer())
        sent = 0
        while sent < 100_000_000 and not answer.done():
            await wire.send(b"a" * 65_536)
            sent += 65_536
            await asyncio.sleep(0)
        assert (await answer).status == 431
        assert sent < 50_000_000
    assert server.paths == []


# -- numbers ---------------------------------------------------------------------------------------------------------------


async def test_one_address_has_so_many_connections(server: Server, limit: Limit) -> None:
    limit(http_connections_per_address=3)
    wires = [await Wire.open(server.port) for _ in range(3)]
    await until(lambda: server.door.connections == 3, "they are counted", 5)
    async with await Wire.open(server.port) as fourth:
        answer = await fourth.answer()
        assert answer.status == 503
        assert answer.header("retry-after") == "1"
        assert answer.problem()["retryable"] is True
        assert await fourth.ended() == b""
    wires.pop().writer.transport.abort()
    await until(lambda: server.door.connections == 2, "there is room", 5)
    async with await Wire.open(server.port) as another:
        await another.send(request())
        assert (await another.answer()).status == 200
    for wire in wires:
        await wire.send(request())
        assert (await wire.answer()).status == 200
        wire.writer.transport.abort()


async def test_who_does_not_hear_that_it_has_too_many_is_cut(server: Server, limit: Limit) -> None:
    """The answer takes a connection too, until it is read: an address that goes on has no more than twice its number."""
    limit(http_connections_per_address=3)
    wires = [await Wire.open(server.port) for _ in range(20)]
    answers = [await wire.ended() for wire in wires[3:]]
    assert [answer[:12] for answer in answers] == [b"HTTP/1.1 503"] * 3 + [b""] * 14
    for wire in wires:
        wire.writer.transport.abort()


async def test_everybody_comes_from_a_proxy(server: Server, limit: Limit) -> None:
    limit(http_connections_per_address=1)
    server.door.is_proxy = lambda address: address == "127.0.0.1"
    async with await Wire.open(server.port) as one, await Wire.open(server.port) as two:
        for wire in (one, two):
            await wire.send(request())
            assert (await wire.answer()).status == 200


async def test_in_a_full_house_who_waits_longest_makes_room(server: Server, limit: Limit) -> None:
    """Connections that say nothing do not keep out those that do."""
    limit(http_connections=3)
    silent = [await Wire.open(server.port) for _ in range(3)]
    await until(lambda: server.door.connections == 3, "the house is full", 5)
    async with await Wire.open(server.port) as wire:
        await wire.send(request())
        assert (await wire.answer()).status == 200
        assert await silent[0].ended() == b""
        await silent[2].send(request())
        assert (await silent[2].answer()).status == 200
    for other in silent:
        other.writer.transport.abort()


async def test_a_house_full_of_running_requests_refuses(server: Server, limit: Limit) -> None:
    limit(http_connections=2)
    running = [await Wire.open(server.port) for _ in range(2)]
    for wire in running:
        await wire.send(request("/wait"))
    await until(lambda: len(server.paths) == 2, "both run", 5)
    async with await Wire.open(server.port) as third:
        assert (await third.answer()).status == 503
    server.go.set()
    for wire in running:
        assert (await wire.answer()).body == b"waited"
        wire.writer.transport.abort()


# -- upgrades --------------------------------------------------------------------------------------------------------------

UPGRADE = (
    "Host: a",
    "Upgrade: websocket",
    "Connection: Upgrade",
    "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==",
    "Sec-WebSocket-Version: 13",
)


@pytest.mark.parametrize("path", ["/ws", "/plain"])
async def test_a_socket_leaves_the_door(server: Server, limit: Limit, path: str) -> None:
    """From then on it is counted by the gateway, and has no timer here. Other consumers' sockets (the admin's) too."""
    limit(http_head_ms=300, http_connections_per_address=1)
    server.attach.set()
    async with await RawSocket.open(f"ws://127.0.0.1:{server.port}{path}") as first:
        await until(lambda: server.door.connections == 0, "it is counted elsewhere", 5)
        assert not server.door.waiting
        await asyncio.sleep(0.6)
        async with await RawSocket.open(f"ws://127.0.0.1:{server.port}/ws") as second:
            assert second.head.startswith("HTTP/1.1 101")
        first.write(frame(CLOSE, b"\x03\xe8"))
        assert (await first.until_closed())[0] == 1000  # it was alive all the time


async def test_a_socket_that_is_only_turned_away_stays_counted(server: Server, limit: Limit) -> None:
    """Accepted, so that a browser sees the code, but never among the gateway's sockets: a bound holds for it all the same."""
    limit(http_head_ms=500)
    server.attach.set()
    async with await RawSocket.open(f"ws://127.0.0.1:{server.port}/turned-away") as raw:
        assert server.door.connections == 1
        received = await raw.receive()
        assert received is not None
        assert received.code == 4426
        await until(lambda: server.door.connections == 0, "it does not stay", 5)


async def test_sockets_that_were_closed_and_do_not_go_are_bounded(
    server: Server, limit: Limit, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They are among nobody's sockets any more, but each is a descriptor until its peer goes. Who has had most time to read its
    code makes room."""
    limit(closing_sockets=3)
    monkeypatch.setattr(websocket, "CLOSE_WAIT_S", 3_600.0)
    monkeypatch.setattr(websocket, "QUIET_S", 0.0)
    server.attach.set()
    raws = [await RawSocket.open(f"ws://127.0.0.1:{server.port}/ended") for _ in range(8)]
    for raw in raws:
        received = await raw.receive()
        assert received is not None
        assert (received.opcode, received.code) == (CLOSE, 4401)
    for raw in raws[:5]:
        assert await raw.receive() is None
    assert not any(raw.reader.at_eof() for raw in raws[5:])
    for raw in raws[5:]:
        raw.write(frame(CLOSE, b"\x11\x31"))
        assert await raw.receive() is None
    assert server.ends == [4401] * 8


async def test_sockets_that_are_closed_all_at_once_are_given_the_time_to_read_it(
    server: Server, limit: Limit, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As by a drain."""
    limit(closing_sockets=1)
    monkeypatch.setattr(websocket, "QUIET_S", 3_600.0)
    server.attach.set()
    raws = [await RawSocket.open(f"ws://127.0.0.1:{server.port}/ended") for _ in range(3)]
    for raw in raws:
        assert (await raw.until_closed())[0] == 4401
    assert len(websocket.Socket._closing) == 3
    for raw in raws:
        raw.write(frame(CLOSE, b"\x11\x31"))
        assert await raw.receive() is None


async def test_an_upgrade_that_nobody_takes_is_cut(server: Server, limit: Limit) -> None:
    limit(http_head_ms=300)
    async with await Wire.open(server.port) as wire:
        await wire.send(request("/ws", headers=UPGRADE))
        await until(lambda: server.door.connections == 1, "it is counted", 5)
        assert await wire.ended() == b""
        await until(lambda: server.door.connections == 0, "and counted out", 5)


@pytest.mark.parametrize("body", ["Content-Length: 5", "Transfer-Encoding: chunked"])
async def test_an_upgrade_has_no_body(server: Server, body: str) -> None:
    async with await Wire.open(server.port) as wire:
        await wire.send(request("/ws", headers=(*UPGRADE, body)))
        assert (await wire.answer()).status == 400


@pytest.mark.parametrize(
    ("change", "status"),
    [
        ({3: "X: y"}, 400),
        ({3: "Sec-WebSocket-Key: short"}, 400),
        ({4: "X: y"}, 426),
        ({4: "Sec-WebSocket-Version: 8"}, 426),
    ],
)
async def test_what_is_no_handshake_is_answered(server: Server, change: dict[int, str], status: int) -> None:
    head = tuple(change.get(place, line) for place, line in enumerate(UPGRADE))
    async with await Wire.open(server.port) as wire:
        await wire.send(request("/ws", headers=head))
        answer = await wire.answer()
        assert answer.status == status
        assert answer.header("x-content-type-options") == "nosniff"
        assert answer.header("sec-websocket-version") == ("13" if status == 426 else None)
        assert await wire.ended() == b""


async def test_a_post_is_no_handshake(server: Server) -> None:
    async with await Wire.open(server.port) as wire:
        await wire.send(request("/ws", "POST", headers=UPGRADE))
        assert (await wire.answer()).status == 400
