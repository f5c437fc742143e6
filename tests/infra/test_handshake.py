"""RFC 6455, section 4.2: a good opening handshake is answered as the library would, any other request by what it lacks."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from uvicorn.server import ServerState
from websockets.datastructures import Headers
from websockets.headers import parse_subprotocol
from websockets.http11 import Request
from websockets.server import ServerProtocol

from tests.gateway.raw import BINARY, CLOSE, PING, PONG, TEXT, RawSocket, frame
from tests.security.wire import Answer, Wire, request
from tests.support.listening import listening
from tests.support.patience import until
from whatsapp.infra import handshake

KEY = "dGhlIHNhbXBsZSBub25jZQ=="  # RFC 6455, section 1.3
ACCEPT = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
GOOD = {
    "Host": "a",
    "Upgrade": "websocket",
    "Connection": "Upgrade",
    "Sec-WebSocket-Key": KEY,
    "Sec-WebSocket-Version": "13",
}


class Server:
    """An application that does what the path says, without attaching."""

    def __init__(self) -> None:
        self.port = 0
        self.scopes: list[Any] = []
        self.heard: list[Any] = []
        self.state = ServerState()
        self.go = asyncio.Event()
        self.go.set()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http":
            await send({"type": "http.response.start", "status": 404, "headers": [(b"content-length", b"0")]})
            await send({"type": "http.response.body", "body": b""})
            return
        self.scopes.append(scope)
        self.heard.append(await receive())
        await self.go.wait()
        path = scope["path"]
        if path == "/fails":
            raise RuntimeError("nobody accepts")
        if path == "/silent":
            return
        if path == "/refused":
            await send({"type": "websocket.close", "code": 1000})
            return
        if path == "/own":
            head = {"type": "websocket.http.response.start", "status": 404, "headers": [(b"x-a", b"b")]}
            await send(head)
            await send({"type": "websocket.http.response.body", "body": b"nothing here"})
            return
        accept: dict[str, Any] = {"type": "websocket.accept"}
        if scope["subprotocols"]:
            accept["subprotocol"] = scope["subprotocols"][-1]
        if path == "/split":
            accept["headers"] = [(b"x-a", b"b\r\nx-c: d")]
        elif path == "/headers":
            accept["headers"] = [(b"x-a", b"b"), (b"x-a", b"c")]
        await send(accept)
        while (message := await receive())["type"] == "websocket.receive":
            self.heard.append(message)
            await send({**message, "type": "websocket.send"})
        self.heard.append(message)


@asynccontextmanager
async def served() -> AsyncIterator[Server]:
    server = Server()
    server.state.default_headers = [(b"date", b"today")]
    async with listening(server, server.state, {"a": 1}) as server.port:
        yield server
    await until(lambda: not server.state.connections, "every connection ended")


def lines(changes: dict[str, str | None] | None = None, *more: str) -> tuple[str, ...]:
    """The header lines of a good request; a change to None leaves one out."""
    head = {**GOOD, **(changes or {})}
    return (*(f"{name}: {value}" for name, value in head.items() if value is not None), *more)


async def asked(server: Server, head: tuple[str, ...], path: str = "/ws", method: str = "GET") -> Answer:
    async with await Wire.open(server.port) as wire:
        await wire.send(request(path, method, headers=head))
        answer = await wire.answer()
        if answer.status != 101:
            assert await wire.ended() == b""
        return answer


# -- accepted --------------------------------------------------------------------------------------------------------------


async def test_the_answer_is_the_one_of_the_rfc() -> None:
    async with served() as server:
        answer = await asked(server, lines(None, "Sec-WebSocket-Protocol: one, two"), "/headers")
        assert (answer.status, answer.headers) == (
            101,
            [
                ("upgrade", "websocket"),
                ("connection", "Upgrade"),
                ("sec-websocket-accept", ACCEPT),
                ("date", "today"),
                ("x-a", "b"),
                ("x-a", "c"),
                ("sec-websocket-protocol", "two"),
            ],
        )


async def test_no_extension_and_no_subprotocol_that_was_not_asked_for() -> None:
    async with served() as server:
        answer = await asked(server, lines(None, "Sec-WebSocket-Extensions: permessage-deflate"))
        assert answer.status == 101
        assert answer.header("sec-websocket-extensions") is None
        assert answer.header("sec-websocket-protocol") is None


async def test_what_the_application_is_told() -> None:
    head = lines(
        None, "X-A: b \t", "X-B: \xff", "Sec-WebSocket-Protocol: one,, two", "Sec-WebSocket-Protocol: three"
    )
    async with served() as server:
        assert (await asked(server, head, "/a%20b?c=%20&d")).status == 101
        (scope,) = server.scopes
        assert server.heard[0] == {"type": "websocket.connect"}
        assert (scope["type"], scope["scheme"], scope["http_version"]) == ("websocket", "ws", "1.1")
        assert (scope["path"], scope["raw_path"], scope["query_string"]) == ("/a b", b"/a%20b", b"c=%20&d")
        assert scope["subprotocols"] == ["one", "two", "three"]
        assert scope["server"] == ("127.0.0.1", server.port)
        assert scope["client"][0] == "127.0.0.1"
        assert scope["state"] == {"a": 1}
        assert scope["asgi"]["spec_version"] == "2.4"
        assert "websocket.http.response" in scope["extensions"]
        assert scope["headers"] == [
            *((name.lower().encode(), value.encode()) for name, value in GOOD.items()),
            (b"x-a", b"b"),
            (b"x-b", b"\xff"),
            (b"sec-websocket-protocol", b"one,, two"),
            (b"sec-websocket-protocol", b"three"),
        ]


async def test_a_consumer_that_does_not_attach_is_served() -> None:
    async with served() as server, await RawSocket.open(f"ws://127.0.0.1:{server.port}/ws") as raw:
        raw.write(frame(TEXT, b"one") + frame(PING, b"two") + frame(BINARY, b"three"))
        assert {await raw.receive(), await raw.receive(), await raw.receive()} == {
            (TEXT, b"one"),
            (PONG, b"two"),
            (BINARY, b"three"),
        }
        raw.write(frame(CLOSE, b"\x03\xe8bye"))
        assert (await raw.until_closed())[0] == 1000
        await until(lambda: len(server.heard) == 4, "the application heard the end")
        assert server.heard[-1] == {"type": "websocket.disconnect", "code": 1000, "reason": "bye"}


async def test_a_client_that_does_not_wait_for_the_answer_is_heard() -> None:
    async with served() as server, await Wire.open(server.port) as wire:
        server.go.clear()
        await wire.send(request("/ws", headers=lines()))
        await until(lambda: bool(server.heard), "the application is asked")
        await wire.send(frame(TEXT, b"early"))
        await asyncio.sleep(0.1)
        server.go.set()
        assert (await wire.answer(head_only=True)).status == 101
        assert await wire.reader.readexactly(7) == b"\x81\x05early"


async def test_what_comes_together_with_the_handshake_is_refused() -> None:
    """RFC 6455, section 4.1: a client waits for the answer. It was lost, and what came behind half a frame taken for another."""
    async with served() as server, await Wire.open(server.port) as wire:
        await wire.send(request("/ws", headers=lines()) + frame(TEXT, b"early")[:4])
        answer = await wire.answer()
        assert answer.status == 400
        assert answer.problem()["code"] == "bad_request"
        assert await wire.ended() == b""
        assert server.scopes == []


async def test_who_is_gone_before_the_answer_is_told_to_the_application() -> None:
    async with served() as server:
        server.go.clear()
        async with await Wire.open(server.port) as wire:
            await wire.send(request("/ws", headers=lines()))
            await until(lambda: bool(server.heard), "the application is asked")
        await until(lambda: not server.state.connections, "the connection is gone")
        server.go.set()
        await until(lambda: not server.state.tasks, "the application ended")


# -- refused ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("head", "status"),
    [
        (lines({"Sec-WebSocket-Key": None}), 400),
        (lines({"Sec-WebSocket-Key": ""}), 400),
        (lines({"Sec-WebSocket-Key": "short"}), 400),
        (lines({"Sec-WebSocket-Key": KEY[:-1]}), 400),
        (lines({"Sec-WebSocket-Key": "A" * 23 + "="}), 400),
        (lines({"Sec-WebSocket-Key": "A" * 24}), 400),
        (lines({"Sec-WebSocket-Key": "_" + KEY[1:]}), 400),
        (lines(None, f"Sec-WebSocket-Key: {KEY}"), 400),
        (lines(None, "Content-Length: 0"), 400),
        (lines(None, "Transfer-Encoding: chunked"), 400),
        (lines(None, "Origin: https://a", "Origin: https://b"), 400),
        (lines(None, "Authorization: Bearer a", "Authorization: Bearer b"), 400),
        (lines({"Connection": "Upgrade, @"}), 400),
        (lines({"Connection": "Upgrade, a b"}), 400),
        (lines(None, "Sec-WebSocket-Protocol: a b"), 400),
        (lines(None, "Sec-WebSocket-Protocol:"), 400),
        (lines(None, "Sec-WebSocket-Protocol: ,"), 400),
        (lines(None, "Sec-WebSocket-Protocol: \xe9"), 400),
        (lines(None, "Sec-WebSocket-Protocol: " + "a," * 40), 400),
        (lines({"Connection": "Upgrade" + ",a" * 40}), 400),
        (lines({"Sec-WebSocket-Version": None}), 426),
        (lines({"Sec-WebSocket-Version": "8"}), 426),
        (lines({"Sec-WebSocket-Version": "013"}), 426),
        (lines({"Sec-WebSocket-Version": "13, 8"}), 426),
        (lines(None, "Sec-WebSocket-Version: 13"), 426),
        (lines({"Upgrade": "h2c"}, "Upgrade: websocket"), 426),
    ],
)
async def test_what_is_no_handshake_is_told_so(head: tuple[str, ...], status: int) -> None:
    async with served() as server:
        answer = await asked(server, head)
        assert answer.status == status
        assert answer.problem()["code"] == "bad_request"
        assert answer.header("connection") == "close"
        assert answer.header("x-content-type-options") == "nosniff"
        if status == 426:
            # RFC 6455, section 4.4; RFC 9110, section 15.5.22
            version, upgrade = answer.header("sec-websocket-version"), answer.header("upgrade")
            assert (version, upgrade) in (("13", None), (None, "websocket"))
        assert server.scopes == []


@pytest.mark.parametrize("start", ["POST /ws HTTP/1.1", "HEAD /ws HTTP/1.1", "GET /ws HTTP/1.0"])
async def test_a_handshake_is_a_get_of_http_1_1(start: str) -> None:
    async with served() as server, await Wire.open(server.port) as wire:
        await wire.send("\r\n".join([start, *lines(), "", ""]).encode())
        assert (await wire.answer(head_only=True)).status == 400
        assert server.scopes == []


@pytest.mark.parametrize(
    "changes",
    [
        {"Upgrade": None},
        {"Upgrade": "h2c"},
        {"Upgrade": "websocket, h2c"},
        {"Connection": None},
        {"Connection": "keep-alive"},
        {"Connection": "Upgraded"},
    ],
)
async def test_what_asks_for_no_socket_is_a_request(changes: dict[str, str | None]) -> None:
    async with served() as server, await Wire.open(server.port) as wire:
        await wire.send(request("/ws", headers=lines(changes)))
        assert (await wire.answer()).status == 404
        assert server.scopes == []


@pytest.mark.parametrize(
    ("path", "status", "body"),
    [
        ("/refused", 403, b""),
        ("/own", 404, b"nothing here"),
        ("/fails", 500, b"Internal Server Error"),
        ("/silent", 500, b"Internal Server Error"),
        ("/split", 500, b"Internal Server Error"),
    ],
)
async def test_what_the_application_does_not_accept(path: str, status: int, body: bytes) -> None:
    async with served() as server:
        answer = await asked(server, lines(), path)
        assert (answer.status, answer.body) == (status, body)
        assert answer.header("x-c") is None
        if path != "/own":
            assert answer.header("x-content-type-options") == "nosniff"


async def test_a_server_that_shuts_down_refuses_who_is_not_accepted_yet() -> None:
    async with served() as server, await Wire.open(server.port) as wire:
        server.go.clear()
        await wire.send(request("/ws", headers=lines()))
        await until(lambda: bool(server.heard), "the application is asked")
        for connection in list(server.state.connections):
            connection.shutdown()
        assert (await wire.answer()).status == 500
        assert await wire.ended() == b""
        server.go.set()
        await until(lambda: not server.state.tasks, "the application ended")


# -- the library is the oracle ---------------------------------------------------------------------------------------------

_SPACE = st.sampled_from(["", " ", "\t", " \t "])
_TOKEN = st.sampled_from(
    ["upgrade", "Upgrade", "UPGRADE", "keep-alive", "close", "x", "a b", "@", "", "é", "upgrade;q=1"]
)
_LISTS = st.lists(st.tuples(_SPACE, _TOKEN, _SPACE).map("".join), min_size=1, max_size=4).map(",".join)
_UPGRADES = st.sampled_from(
    ["websocket", "WebSocket", " websocket\t", "h2c", "websocket, h2c", "websocket/1", ""]
)
_KEYS = st.one_of(
    st.just(KEY),
    st.sampled_from(["", "A" * 24, "A" * 21 + "B==", KEY + "=", "A" * 22, " " + KEY + " "]),
    st.text("AZaz09+/=-_ ", min_size=22, max_size=25),
)
_VERSIONS = st.sampled_from(["13", " 13 ", "8", "", "13, 8", "013"])
_HEADERS = st.fixed_dictionaries(
    {
        "connection": st.one_of(st.just(["Upgrade"]), st.lists(_LISTS, max_size=3)),
        "upgrade": st.one_of(st.just(["websocket"]), st.lists(_UPGRADES, max_size=2)),
        "sec-websocket-key": st.one_of(st.just([KEY]), st.lists(_KEYS, max_size=2)),
        "sec-websocket-version": st.one_of(st.just(["13"]), st.lists(_VERSIONS, max_size=2)),
        "sec-websocket-protocol": st.one_of(st.just([]), st.lists(_LISTS, max_size=2)),
        "origin": st.lists(st.just("https://a"), max_size=2),
        "sec-websocket-extensions": st.lists(st.sampled_from(["permessage-deflate", "@"]), max_size=1),
    }
)
_PLAIN = {
    "connection": ["Upgrade"],
    "upgrade": ["websocket"],
    "sec-websocket-key": [KEY],
    "sec-websocket-version": ["13"],
}


@settings(max_examples=1_000, deadline=None)
@given(
    method=st.sampled_from(["GET", "GET", "GET", "POST"]),
    version=st.sampled_from(["1.1", "1.1", "1.1", "1.0"]),
    head=_HEADERS,
)
@example("GET", "1.1", {**_PLAIN, "connection": ["Upgrade", "keep-alive"]})
@example("GET", "1.1", {**_PLAIN, "connection": [",\t, keep-alive,,UPGRADE ,"]})
@example("GET", "1.1", {**_PLAIN, "sec-websocket-key": ["A" * 21 + "B=="]})
@example("GET", "1.1", {**_PLAIN, "sec-websocket-protocol": ["a,,b", "c"]})
def test_what_the_library_accepts_is_accepted_and_nothing_else(
    method: str, version: str, head: dict[str, list[str]]
) -> None:
    """But a list of one protocol in ``Upgrade``, with an empty place beside it: none are that polite."""
    pairs = [(name, value) for name, values in head.items() for value in values]
    raw = [(name.encode(), value.encode("latin-1")) for name, value in pairs]
    stripped = [(name, value.strip(" \t")) for name, value in pairs]
    theirs = ServerProtocol().accept(Request("/ws", Headers(stripped), method, f"HTTP/{version}"))
    ours = handshake.read(method, version, raw) if handshake.asks(raw) else None
    assert isinstance(ours, handshake.Offer) == (theirs.status_code == 101), (ours, theirs)
    if isinstance(ours, handshake.Offer):
        offered = [values for name, values in stripped if name == "sec-websocket-protocol"]
        assert ours.subprotocols == [each for value in offered for each in parse_subprotocol(value)]
        del theirs.headers["Date"]
        assert handshake.answer(ours.key, None, []) == theirs.serialize()
