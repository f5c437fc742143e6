"""A connection that one server has read the beginning of a request from, and another one serves; the client notices nothing."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import socket
import stat
import struct
from collections.abc import AsyncIterator, Callable, Coroutine
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import uvloop
from uvicorn.server import ServerState

from tests.security.wire import Wire, request
from tests.support.listening import listening
from tests.support.patience import until
from whatsapp.infra import faults, handover, metrics
from whatsapp.infra.handing import Giving, taking
from whatsapp.infra.http import Door, Http
from whatsapp.serve import _config

KIB = 1024
LOOPS = [asyncio.new_event_loop, uvloop.new_event_loop]


class Named:
    """An application that says who answers, what it was asked, and from where."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.read = 0

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        assert scope["type"] == "http", scope
        more, size = True, 0
        while more:
            message = await receive()
            size += len(message.get("body", b""))
            self.read += len(message.get("body", b""))
            more = message.get("more_body", False)
        told = {"by": self.name, "path": scope["path"], "size": size, "client": scope["client"]}
        told["server"] = scope["server"]
        body = json.dumps(told).encode()
        length = str(len(body)).encode()
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", length)]})
        await send({"type": "http.response.body", "body": body})


class Pair:
    """A gateway and an ``api`` process in one process; ``port`` is the gateway's."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.here, self.there = Named("gateway"), Named("api")
        self.gateway, self.api = ServerState(), ServerState()
        self.port = 0
        self.taker: handover.Taker | None = None

    def listen(self, name: str = "api-1") -> handover.Taker:
        config = _config(self.there, Http)
        config.load()
        server: Any = SimpleNamespace(
            config=config, server_state=self.api, lifespan=SimpleNamespace(state={})
        )
        self.taker = taking(server, self.folder, name)
        self.taker.open()
        return self.taker

    async def ask(self, wire: Wire, *data: bytes) -> dict[str, Any]:
        await wire.send(*data)
        answer = await wire.answer()
        assert answer.status == 200, answer
        return dict(json.loads(answer.body))


@contextlib.asynccontextmanager
async def pair(folder: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Pair]:
    found = Pair(folder / "api")
    monkeypatch.setattr(Giving, "giver", handover.Giver(found.folder), raising=False)
    monkeypatch.setattr(Http, "door", Door())
    async with listening(found.here, found.gateway, http=Giving) as found.port:
        try:
            yield found
        finally:
            if found.taker is not None:
                found.taker.close()
            for connection in list(found.api.connections):
                connection.transport.abort()  # type: ignore[union-attr]


@pytest.fixture(params=LOOPS, ids=["asyncio", "uvloop"])
def on(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[[Callable[[Pair], Coroutine[Any, Any, None]]], None]:
    """Runs a test with a pair on a loop of its own."""

    def run(test: Callable[[Pair], Coroutine[Any, Any, None]]) -> None:
        async def whole() -> None:
            async with pair(tmp_path, monkeypatch) as found:
                await test(found)

        with asyncio.Runner(loop_factory=request.param) as runner:
            runner.run(whole())

    return run


def upload(size: int, path: str = "/media/upload") -> bytes:
    return request(path, "POST", headers=("Host: test", f"Content-Length: {size}"))


def counted(kind: str) -> float:
    return metrics._counted["handed_over"].values.get((kind,), 0)


On = Callable[[Callable[[Pair], Coroutine[Any, Any, None]]], None]


def test_the_request_and_what_follows_it_are_served_there(on: On) -> None:
    async def test(pair: Pair) -> None:
        pair.listen()
        size = 3 * KIB * KIB
        async with await Wire.open(pair.port) as wire:
            told = await pair.ask(wire, upload(size), bytes(size))
            own = wire.writer.get_extra_info("sockname")
            assert told == {
                "by": "api", "path": "/media/upload", "size": size, "client": list(own), "server": ["127.0.0.1", pair.port],
            }  # fmt: skip
            assert not pair.gateway.connections
            assert Http.door.connections == 1
            # The connection has not ended, and whatever comes next is served where it is now.
            assert (await pair.ask(wire, request("/health/live")))["by"] == "api"
        assert pair.here.read == 0

        async def left() -> bool:
            return not pair.api.connections and not Http.door.connections

        await until(left, "the connection is closed on both sides")

    on(test)


@pytest.mark.parametrize("pieces", [1, 7, 64 * KIB, 700 * KIB])
def test_wherever_the_first_piece_ends(on: On, pieces: int) -> None:
    """Behind the head, in its middle, or in the middle of a body that is longer than what one side reads at once."""

    async def test(pair: Pair) -> None:
        pair.listen()
        whole = upload(1000 * KIB) + os.urandom(1000 * KIB)
        first = len(b"POST /media/") + pieces
        async with await Wire.open(pair.port) as wire:
            before = counted("taken")
            await wire.send(whole[:first])

            async def moved() -> bool:
                return counted("taken") > before

            await until(moved, "it was handed over")
            told = await pair.ask(wire, whole[first:])
            assert (told["by"], told["size"]) == ("api", 1000 * KIB)

    on(test)


def test_behind_an_answer_that_was_read(on: On) -> None:
    async def test(pair: Pair) -> None:
        pair.listen()
        async with await Wire.open(pair.port) as wire:
            for path, by in (("/me", "gateway"), ("/mediaX", "gateway"), ("/media/x/content", "api")):
                assert (await pair.ask(wire, request(path)))["by"] == by

    on(test)


def test_what_else_comes_stays(on: On) -> None:
    """Other addresses, a beginning in small pieces, and a request behind another one in one piece."""

    async def test(pair: Pair) -> None:
        pair.listen()
        for path in ("/me", "/medi", "/media", "/ws", "/admin/media/"):
            async with await Wire.open(pair.port) as wire:
                assert (await pair.ask(wire, request(path)))["by"] == "gateway"
        async with await Wire.open(pair.port) as wire:
            await wire.send(b"POST /me")

            async def begun() -> bool:
                return any(connection._head for connection in pair.gateway.connections)  # type: ignore[union-attr]

            await until(begun, "the gateway has read it")
            assert (await pair.ask(wire, upload(1)[8:], b"x"))["by"] == "gateway"
        async with await Wire.open(pair.port) as wire:
            assert (await pair.ask(wire, request("/me"), upload(1), b"x"))["path"] == "/me"
            assert await wire.ended() == b""
        assert pair.there.read == 0

    on(test)


def test_while_an_answer_is_not_read_nothing_is_handed_over(on: On, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the transport still has to write belongs before the next answer."""

    async def test(pair: Pair) -> None:
        pair.listen()
        async with await Wire.open(pair.port) as wire:
            assert (await pair.ask(wire, request("/me")))["by"] == "gateway"
            (connection,) = pair.gateway.connections
            size = 8 * KIB * KIB
            connection.transport.write(b" " * size)  # type: ignore[union-attr]
            assert connection.transport.get_write_buffer_size()  # type: ignore[union-attr]
            await wire.send(upload(1), b"x")

            async def served() -> bool:
                return pair.here.read == 1

            await until(served, "the gateway has served it itself")
            assert await wire.reader.readexactly(size) == b" " * size
            assert json.loads((await wire.answer()).body)["by"] == "gateway"

    on(test)


def test_balancers_keep_their_connections(on: On) -> None:
    async def test(pair: Pair) -> None:
        pair.listen()
        Http.door.is_proxy = lambda address: address == "127.0.0.1"
        async with await Wire.open(pair.port) as wire:
            assert (await pair.ask(wire, upload(1), b"x"))["by"] == "gateway"

    on(test)


def test_without_anybody_and_behind_a_dead_one_it_is_served_here(on: On) -> None:
    async def test(pair: Pair) -> None:
        async with await Wire.open(pair.port) as wire:
            assert (await pair.ask(wire, upload(1), b"x"))["by"] == "gateway"
        pair.listen()
        dead = pair.folder / "api-0.dead"
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as killed:
            killed.bind(str(dead))
        for _ in range(20):
            async with await Wire.open(pair.port) as wire:
                assert (await pair.ask(wire, upload(1), b"x"))["by"] == "api"
        assert not dead.exists()
        assert pair.taker is not None
        pair.taker.close()
        assert list(pair.folder.iterdir()) == []
        async with await Wire.open(pair.port) as wire:
            assert (await pair.ask(wire, upload(1), b"x"))["by"] == "gateway"

    on(test)


def test_several_share_the_work(on: On) -> None:
    async def test(pair: Pair) -> None:
        first = pair.listen("api-1")
        pair.listen("api-2")
        taken = {"1": 0, "2": 0}
        for taker, number in ((first, "1"), (pair.taker, "2")):
            assert taker is not None
            take = taker._take

            def counting(connection: Any, read: bytes, take: Any = take, number: str = number) -> None:
                taken[number] += 1
                take(connection, read)

            taker._take = counting
        for _ in range(40):
            async with await Wire.open(pair.port) as wire:
                assert (await pair.ask(wire, upload(1), b"x"))["by"] == "api"
        first.close()
        assert sum(taken.values()) == 40
        assert min(taken.values()) > 0

    on(test)


def test_what_waited_when_it_ends_is_taken(on: On) -> None:
    async def test(pair: Pair) -> None:
        taker = pair.listen()
        asyncio.get_running_loop().remove_reader(taker._socket.fileno())  # type: ignore[union-attr]
        async with await Wire.open(pair.port) as wire:
            before = counted("given")
            await wire.send(upload(5))

            async def given() -> bool:
                return counted("given") > before

            await until(given, "it was sent")
            taker.close()
            assert (await pair.ask(wire, bytes(5)))["by"] == "api"

    on(test)


def test_who_is_full_gets_no_more(on: On) -> None:
    """The queue of a socket has an end; nobody waits for it."""

    async def test(pair: Pair) -> None:
        taker = pair.listen()
        loop = asyncio.get_running_loop()
        listener = taker._socket
        assert listener is not None
        loop.remove_reader(listener.fileno())
        wires, full = [], counted("full")
        for _ in range(2_000):
            wires.append(await Wire.open(pair.port))
            await wires[-1].send(upload(1))
            if counted("full") > full or len(wires) > 600:
                break
            await asyncio.sleep(0)

        async def some_stayed() -> bool:
            return counted("full") > full

        await until(some_stayed, "the gateway keeps the rest")
        loop.add_reader(listener.fileno(), taker._ready)
        by = set()
        for wire in wires:
            by.add((await pair.ask(wire, b"x"))["by"])
            wire.writer.transport.abort()
        assert by == {"api", "gateway"}

    on(test)


# -- what an api process takes ----------------------------------------------------------------------------------------------


def sent(pair: Pair, *descriptors: int, form: bytes = b"1") -> None:
    (name,) = [path.name for path in pair.folder.iterdir() if path.name.startswith("api-1.")]
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
        rights = struct.pack(f"{len(descriptors)}i", *descriptors)
        controls = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, rights)] if descriptors else []
        place = os.open(pair.folder, os.O_PATH)
        try:
            sender.sendmsg([form], controls, 0, f"/proc/self/fd/{place}/{name}")
        finally:
            os.close(place)


def test_only_connections_are_taken(on: On) -> None:
    async def test(pair: Pair) -> None:
        pair.listen()
        with contextlib.ExitStack() as opened:

            def made(found: socket.socket) -> int:
                return opened.enter_context(found).fileno()

            first, second = socket.socketpair()
            memory = os.memfd_create("request")
            opened.callback(os.close, memory)
            os.write(memory, request("/media/x"))
            large = os.memfd_create("large")
            opened.callback(os.close, large)
            os.truncate(large, 64 * KIB * KIB)
            listener = socket.create_server(("127.0.0.1", 0))
            client = socket.create_connection(listener.getsockname())
            accepted, _ = listener.accept()
            reading, writing = os.pipe()
            opened.callback(os.close, reading)
            opened.callback(os.close, writing)
            udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            udp.connect(("127.0.0.1", 9))
            for one in (second, udp, listener, client, accepted):
                made(one)
            wrong: list[tuple[tuple[int, ...], bytes]] = [
                ((made(first), memory), b"1"),
                ((udp.fileno(), memory), b"1"),
                ((listener.fileno(), memory), b"1"),
                ((made(socket.socket()), memory), b"1"),  # not connected
                ((memory, memory), b"1"),
                ((reading, memory), b"1"),
                ((accepted.fileno(), reading), b"1"),
                ((accepted.fileno(), large), b"1"),
                ((accepted.fileno(), accepted.fileno()), b"1"),
                ((accepted.fileno(),), b"1"),
                ((), b"1"),
                ((accepted.fileno(), memory), b"2"),
            ]
            open_before = len(os.listdir("/proc/self/fd"))
            for number, (descriptors, form) in enumerate(wrong, 1):
                before = counted("refused")
                sent(pair, *descriptors, form=form)

                async def refused(before: float = before) -> bool:
                    return counted("refused") > before

                await until(refused, f"number {number} is refused")
            assert len(os.listdir("/proc/self/fd")) == open_before
            assert not pair.api.connections
            # The last one in its right form: it was alive all the time.
            sent(pair, accepted.fileno(), memory)
            client.setblocking(False)
            answer = await asyncio.get_running_loop().sock_recv(client, 4 * KIB)
            assert answer.startswith(b"HTTP/1.1 200 ")

    on(test)


def test_its_socket_is_for_its_user_alone(on: On) -> None:
    async def test(pair: Pair) -> None:
        old = os.umask(0)
        try:
            pair.listen()
        finally:
            os.umask(old)
        (path,) = pair.folder.iterdir()
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert stat.S_IMODE(pair.folder.stat().st_mode) == 0o700

    on(test)


@pytest.mark.parametrize("mode", [0o770, 0o707])
def test_a_folder_that_others_may_write_to_is_not_looked_at(on: On, mode: int) -> None:
    async def test(pair: Pair) -> None:
        pair.listen()
        pair.folder.chmod(mode)
        async with await Wire.open(pair.port) as wire:
            assert (await pair.ask(wire, upload(1), b"x"))["by"] == "gateway"
        pair.folder.chmod(0o700)
        async with await Wire.open(pair.port) as wire:
            assert (await pair.ask(wire, upload(1), b"x"))["by"] == "api"

    on(test)


def test_a_deep_data_folder_is_no_matter(tmp_path: Path, on: On, monkeypatch: pytest.MonkeyPatch) -> None:
    """The address of a Unix socket has room for 107 bytes."""

    async def test(pair: Pair) -> None:
        pair.folder = tmp_path / ("deep" * 30) / ("er" * 60) / "api"
        monkeypatch.setattr(Giving, "giver", handover.Giver(pair.folder))
        pair.listen()
        async with await Wire.open(pair.port) as wire:
            assert (await pair.ask(wire, upload(1), b"x"))["by"] == "api"

    on(test)


def test_a_client_that_is_gone_is_no_error(on: On, caplog: pytest.LogCaptureFixture) -> None:
    async def test(pair: Pair) -> None:
        taker = pair.listen()
        loop = asyncio.get_running_loop()
        assert taker._socket is not None
        loop.remove_reader(taker._socket.fileno())
        wire = await Wire.open(pair.port)
        before = counted("given")
        await wire.send(upload(5), b"x")

        async def given() -> bool:
            return counted("given") > before

        await until(given, "it was sent")
        # Reset, not just closed.
        wire.writer.get_extra_info("socket").setsockopt(
            socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0)
        )
        wire.writer.transport.abort()
        loop.add_reader(taker._socket.fileno(), taker._ready)
        async with await Wire.open(pair.port) as other:
            assert (await pair.ask(other, upload(1), b"x"))["by"] == "api"

        async def left() -> bool:
            return not Http.door.connections

        await until(left, "nothing of it is left")

    on(test)
    assert not [record for record in caplog.records if record.levelname in ("ERROR", "CRITICAL")]


def test_the_twin_without_the_protection(on: On, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(faults, "off", lambda name: name == "hand_over")

    async def test(pair: Pair) -> None:
        pair.listen()
        async with await Wire.open(pair.port) as wire:
            assert (await pair.ask(wire, upload(1), b"x"))["by"] == "gateway"

    on(test)
