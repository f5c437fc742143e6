"""The server side of RFC 6455: whatever the network does to the boundaries, messages come out whole and in order."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.gateway.raw import BINARY, CLOSE, CONT, PING, PONG, TEXT, RawSocket, frame
from tests.support.listening import listening
from tests.support.patience import until
from whatsapp.infra import websocket
from whatsapp.infra.limits import LIMITS
from whatsapp.infra.websocket import Socket

SIZES = st.one_of(
    st.integers(0, 200),
    st.sampled_from([125, 126, 127, 65_535, 65_536, LIMITS.frame_bytes]),
    st.integers(0, 70_000),
)


@asynccontextmanager
async def served() -> AsyncIterator[tuple[Socket, RawSocket, list[tuple[bytes, bool]]]]:
    """A socket of the gateway's own server, its client, and the messages that came through."""
    got: list[tuple[bytes, bool]] = []
    accepted: asyncio.Future[Socket] = asyncio.get_running_loop().create_future()

    async def application(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "websocket.accept"})
        socket = scope["whatsapp.socket"]
        socket.attach(lambda data, text: got.append((data, text)), text=True)
        accepted.set_result(socket)
        while (await receive())["type"] != "websocket.disconnect":
            pass

    async with listening(application) as port, await RawSocket.open(f"ws://127.0.0.1:{port}/ws") as raw:
        yield await accepted, raw, got
        if not (await accepted).disconnected:
            (await accepted).transport.abort()  # type: ignore[attr-defined]


@st.composite
def streams(draw: st.DrawFn) -> tuple[bytes, list[tuple[bytes, bool]], list[bytes]]:
    """Bytes of a client, the messages in them, and the pings."""
    stream, messages, pings = b"", [], []
    for _ in range(draw(st.integers(1, 8))):
        text = draw(st.booleans())
        size = draw(SIZES)
        body = bytes((size + i) & 0xFF for i in range(min(size, 251))) * (size // 251 + 1)
        body = body[:size]
        pieces = draw(st.integers(1, 4))
        step = -(-size // pieces) or 1
        parts = [body[i : i + step] for i in range(0, size, step)] or [b""]
        if draw(st.booleans()):
            parts.insert(draw(st.integers(0, len(parts))), b"")
        for index, part in enumerate(parts):
            opcode = (TEXT if text else BINARY) if index == 0 else CONT
            stream += frame(
                opcode, part, final=index == len(parts) - 1, mask=draw(st.binary(min_size=4, max_size=4))
            )
            if draw(st.integers(0, 5)) == 0:
                ping = draw(st.binary(max_size=20))
                stream += frame(PING, ping)
                pings.append(ping)
            if draw(st.integers(0, 9)) == 0:
                stream += frame(PONG, b"nobody asked")
        messages.append((body, text))
    return stream, messages, pings


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(made=streams(), cuts=st.lists(st.integers(0, 2**20), max_size=30))
async def test_messages_survive_any_chunking(
    made: tuple[bytes, list[tuple[bytes, bool]], list[bytes]], cuts: list[int]
) -> None:
    stream, messages, pings = made
    async with served() as (socket, raw, got):
        places = sorted({0, len(stream), *[cut % (len(stream) + 1) for cut in cuts]})
        for start, end in itertools.pairwise(places):
            socket.data_received(stream[start:end])
        assert got == messages
        for ping in pings:
            assert await raw.receive() == (PONG, ping)


async def test_byte_by_byte() -> None:
    stream = (
        frame(TEXT, b"x" * 300) + frame(BINARY, b"") + frame(TEXT, b"ab", final=False) + frame(CONT, b"c")
    )
    async with served() as (socket, _raw, got):
        for byte in stream:
            socket.data_received(bytes((byte,)))
        assert got == [(b"x" * 300, True), (b"", False), (b"abc", True)]


@pytest.mark.parametrize("size", [0, 1, 125, 126, 65_535, 65_536, 600_000])
async def test_what_is_written_arrives(size: int) -> None:
    async with served() as (socket, raw, _got):
        socket.write(b"z" * size)
        assert await raw.receive() == (TEXT, b"z" * size)


async def test_what_is_written_in_one_go_arrives_as_messages() -> None:
    sizes = [0, 1, 125, 126, 65_535, 65_536]
    async with served() as (socket, raw, _got):
        socket.write_joined(socket.join([b"j" * size for size in sizes]))
        assert [await raw.receive() for _ in sizes] == [(TEXT, b"j" * size) for size in sizes]


async def test_nothing_is_written_behind_a_close() -> None:
    async with served() as (socket, raw, got):
        socket.write(b"before")
        socket.close(4409, "replaced")
        socket.close(1000, "again")
        socket.write(b"behind")
        socket.write_joined(socket.join([b"joined"]))
        socket.ping()
        socket.data_received(frame(TEXT, b"late"))
        code, before = await raw.until_closed()
        assert code == 4409
        assert before == [(TEXT, b"before")]
        assert got == []


async def test_a_full_buffer_pauses_and_resumes() -> None:
    async with served() as (socket, raw, _got):
        resumed = asyncio.Event()
        socket.on_resume = resumed.set
        written = 0
        while not socket.paused:
            socket.write(b"y" * 60_000)
            written += 1
            assert written < 1_000
        assert not socket.close_sent
        for _ in range(written):
            assert await raw.receive() == (TEXT, b"y" * 60_000)
        async with asyncio.timeout(5):
            await resumed.wait()
        assert not socket.paused


async def test_the_buffer_is_bounded() -> None:
    """C7: who writes on although nobody reads closes with 4430, near the limit."""
    async with served() as (socket, _raw, _got):
        for _ in range(1_000):
            socket.write(b"y" * 60_000)
            if socket.close_sent:
                break
        assert socket.close_sent
        assert socket.transport.get_write_buffer_size() <= LIMITS.outbound_close_bytes + 2 * 60_000


async def test_pings_of_a_peer_that_does_not_read_cost_no_memory() -> None:
    """C7: while the buffer is full nothing is answered; then the latest ping is (RFC 6455, section 5.5.3)."""
    async with served() as (socket, raw, _got):
        while not socket.paused:
            socket.write(b"y" * 60_000)
        full = socket.transport.get_write_buffer_size()
        for number in range(20_000):
            socket.data_received(frame(PING, b"%d" % number, mask=b"\0\0\0\0"))
        assert socket.transport.get_write_buffer_size() <= full
        while (got := await raw.receive()) is not None and got.opcode != PONG:
            pass
        assert got == (PONG, b"19999")


async def test_a_control_frame_that_is_not_allowed_is_not_answered() -> None:
    async with served() as (socket, raw, _got):
        allowed = iter([True, False, False, True])
        socket._on_control = lambda: next(allowed)
        for opcode, payload in ((PING, b"1"), (PING, b"2"), (PONG, b"3"), (PING, b"4")):
            socket.data_received(frame(opcode, payload))
        assert await raw.receive() == (PONG, b"1")
        assert await raw.receive() == (PONG, b"4")


@pytest.mark.parametrize(
    ("sent", "answer"),
    [
        (frame(CLOSE), b""),
        (frame(CLOSE, b"\x03\xe8bye"), b"\x03\xe8"),
        (frame(CLOSE, b"\x11\x39"), b"\x11\x39"),
        (frame(CLOSE, b"\x03"), 1002),
        (frame(CLOSE, b"\x03\xed"), 1002),
        (frame(CLOSE, b"\x03\xe7"), 1002),
        (frame(CLOSE, b"\x03\xe8\xff"), 1007),
        (frame(CLOSE, b"\x03\xe8", final=False), 1002),
        (frame(CLOSE, b"\x03\xe8" + b"x" * 124), 1002),
    ],
    ids=["empty", "1000", "4409", "half a code", "1005", "999", "no UTF-8", "in fragments", "too long"],
)
async def test_what_no_close_frame_may_be_is_not_answered_with_itself(
    sent: bytes, answer: bytes | int
) -> None:
    """RFC 6455, sections 5.5, 7.4 and 8.1; found by ``./dev fuzz websocket``."""
    async with served() as (socket, raw, _got):
        socket.data_received(sent)
        closed = await raw.receive()
        assert closed is not None
        assert closed.opcode == CLOSE
        assert (closed.payload if isinstance(answer, bytes) else closed.code) == answer
        await until(lambda: socket.disconnected, "the connection is gone", 5)


@pytest.mark.parametrize("way", ["its close frame", "nonsense"])
async def test_a_peer_that_closes_and_does_not_read_is_cut(way: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """C7: what it does not read keeps no connection for ever."""
    monkeypatch.setattr(websocket, "CLOSE_WAIT_S", 0.5)
    async with served() as (socket, raw, _got):
        raw.reader._transport.pause_reading()  # type: ignore[attr-defined]
        while not socket.paused:
            socket.write(b"y" * 60_000)
        socket.data_received(
            frame(CLOSE, b"\x03\xe8") if way == "its close frame" else b"\x81\x00"
        )  # unmasked
        await until(lambda: socket.disconnected, "the connection is gone", 5)


async def test_a_peer_that_closes_and_reads_gets_everything() -> None:
    async with served() as (socket, raw, _got):
        written = 0
        while not socket.paused:
            socket.write(b"y" * 60_000)
            written += 1
        socket.data_received(frame(CLOSE, b"\x03\xe8"))
        code, before = await raw.until_closed()
        assert (code, len(before)) == (1000, written)
        await until(lambda: socket.disconnected, "the connection is gone", 2)
