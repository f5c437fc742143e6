"""A socket that goes on without its ASGI task: what an idle connection keeps, and how its end is told."""

from __future__ import annotations

import asyncio
import gc
import weakref
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from uvicorn.server import ServerState

from tests.gateway.raw import CLOSE, TEXT, RawSocket, frame
from tests.support.listening import listening
from tests.support.patience import until
from whatsapp.infra.websocket import Socket


class Alone:
    """What became of one socket, seen from the application."""

    def __init__(self) -> None:
        self.socket: Socket | None = None
        self.got: list[bytes] = []
        self.ends: list[int] = []
        self.ended = asyncio.Event()
        self.scope: weakref.ref[Any] | None = None
        self.state = ServerState()

    def end(self, code: int) -> None:
        self.ends.append(code)
        self.ended.set()


class _Marked(dict[str, Any]):
    """A dict that can be followed to its end."""


@asynccontextmanager
async def served(fail: bool = False) -> AsyncIterator[tuple[Alone, RawSocket]]:
    alone = Alone()

    async def application(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "websocket.accept"})
        alone.socket = scope["whatsapp.socket"]
        mark = scope["mark"] = _Marked()
        alone.scope = weakref.ref(mark)
        alone.socket.attach(lambda data, text: alone.got.append(data), text=True, on_end=alone.end)
        if fail:
            raise RuntimeError("the application cannot go on")

    async with (
        listening(application, alone.state) as port,
        await RawSocket.open(f"ws://127.0.0.1:{port}/ws") as raw,
    ):
        yield alone, raw
        if alone.socket is not None and not alone.socket.disconnected:
            alone.socket.transport.abort()  # type: ignore[attr-defined]


async def alone_of(alone: Alone) -> Socket:
    """Its socket, once the application has returned."""
    await until(lambda: alone.socket is not None and alone.socket.conn is None, "the application returned")
    assert alone.socket is not None
    return alone.socket


async def test_it_reads_and_writes_without_its_task_and_keeps_nothing_of_the_handshake() -> None:
    async with served() as (alone, raw):
        socket = await alone_of(alone)
        assert not alone.state.tasks
        gc.collect()
        assert alone.scope is not None
        assert alone.scope() is None
        raw.write(frame(TEXT, b"one"))
        await until(lambda: alone.got == [b"one"], "it arrived")
        socket.write(b"two")
        assert await raw.receive() == (TEXT, b"two")
        assert alone.ends == []


@pytest.mark.parametrize(("code", "payload"), [(1000, b"\x03\xe8"), (4000, b"\x0f\xa0"), (1005, b"")])
async def test_the_end_has_the_code_that_the_client_gave(code: int, payload: bytes) -> None:
    async with served() as (alone, raw):
        socket = await alone_of(alone)
        raw.write(frame(CLOSE, payload))
        await asyncio.wait_for(alone.ended.wait(), 10)
        await until(lambda: socket.disconnected, "the connection is gone")
        assert alone.ends == [code]


async def test_a_lost_connection_is_an_end() -> None:
    async with served() as (alone, raw):
        await alone_of(alone)
        raw.writer.transport.abort()
        await asyncio.wait_for(alone.ended.wait(), 10)
        assert alone.ends == [1006]
        assert not alone.state.connections


async def test_our_own_close_is_an_end_once() -> None:
    async with served() as (alone, raw):
        socket = await alone_of(alone)
        socket.close(4430, "slow consumer")
        got = await raw.receive()
        assert got is not None
        assert got.opcode == CLOSE
        raw.write(frame(CLOSE, b"\x11\x4e"))
        await until(lambda: socket.disconnected, "the connection is gone")
        assert alone.ends == [4430]
        assert not alone.state.connections


async def test_a_server_that_shuts_down_closes_it() -> None:
    async with served() as (alone, raw):
        (await alone_of(alone)).shutdown()
        got = await raw.receive()
        assert got is not None
        assert (got.opcode, got.code) == (CLOSE, 1012)
        await asyncio.wait_for(alone.ended.wait(), 10)


async def test_an_application_that_fails_takes_its_socket_with_it() -> None:
    async with served(fail=True) as (alone, raw):
        assert await raw.receive() is None
        await asyncio.wait_for(alone.ended.wait(), 10)
        assert len(alone.ends) == 1
