"""Pings, half-open sockets and readers that do not read, on gateways with short times and small buffers."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from tests.gateway.metrics import metric
from tests.gateway.peer import Peer, events_of, fill
from tests.gateway.phone import Phone, couple, sign_up
from tests.gateway.raw import BINARY, CLOSE, PING, PONG, TEXT, RawSocket, frame
from tests.support.patience import until
from tests.support.stack import System
from whatsapp.wire import frames
from whatsapp.wire.codec import CODECS

PIECE = 60_000  # bytes of a message
PIECES = 150  # more than the kernel keeps for a socket that is not read


@pytest.fixture(scope="module")
def stack() -> Iterator[Any]:
    limits = {
        "ping_ms": 400,
        "offline_debounce_ms": 200,
        "outbound_pause_bytes": 32_768,
        "outbound_close_bytes": 700_000,  # more than a page, which is written at once
        "slow_consumer_ms": 4_000,
        "session_check_ms": 1_000,
    }
    with System(worker=False, limits=limits) as system:
        yield system


async def next_ping(raw: RawSocket) -> None:
    while True:
        got = await raw.receive()
        assert got is not None
        if got.opcode == PING:
            return


async def test_a_client_that_pongs_stays(stack: Any, codec: str) -> None:
    async with await RawSocket.open(stack.ws, codec, (await sign_up(stack)).token) as raw:
        for _ in range(6):
            await next_ping(raw)
            raw.write(frame(PONG))
        raw.write(
            frame(TEXT if codec == "json" else BINARY, CODECS[codec].encode(frames.Auth("x", ref="mine")))
        )
        while True:
            got = await raw.receive()
            assert got is not None
            assert got.opcode != CLOSE
            if got.opcode != PING:
                assert CODECS[codec].decode_server(got.payload).ref in ("", "mine")
                if b"mine" in got.payload:
                    break


async def test_two_pings_without_a_pong_close_4408(stack: Any, codec: str) -> None:
    async with await RawSocket.open(stack.ws, codec, (await sign_up(stack)).token) as raw:
        code, before = await raw.until_closed()
        assert code == 4408
        assert [got.opcode for got in before if got.opcode == PING] == [PING, PING]


async def test_a_half_open_socket_is_found(stack: Any) -> None:
    """The peer is gone without a word: its user goes offline, and what was written into the void comes again."""
    ann, bob, conversation = await couple(stack)
    async with await Peer.open(stack.ws, ann) as a:
        await a.send(frames.PresenceSubscribe([bob.user]))
        raw = await RawSocket.open(stack.ws, "json", bob.token)
        async with raw:
            await raw.receive()
            raw.write(frame(TEXT, b'{"type":"sync"}'))
            await a.expect(frames.Presence, user_id=bob.user, status="online")
            raw.reader._transport.pause_reading()  # type: ignore[attr-defined]  # from here on nobody is there
            await a.say(conversation, "into the void")
            await a.expect(frames.Presence, user_id=bob.user, status="offline")
        assert not [f for f in a.log if isinstance(f, frames.StatusUpdate) and f.status == "delivered"]
    async with await Peer.open(stack.ws, bob, sync=False) as b:
        assert [event.seq for event in events_of(await b.sync())] == [1]


# -- slow readers ----------------------------------------------------------------------------------------------------------------


class Slow:
    """A client that reads only when asked to, and shows by pongs that it lives."""

    def __init__(self, raw: RawSocket, codec: str) -> None:
        self.raw = raw
        self.codec = CODECS[codec]
        self.kind = TEXT if self.codec.text else BINARY
        self.frames: list[Any] = []
        self.code = 0

    def send(self, sent: frames.Frame) -> None:
        self.raw.write(frame(self.kind, self.codec.encode(sent)))

    async def read(self) -> Any:
        """The next frame; None at the end, with ``code`` set."""
        while True:
            got = await self.raw.receive()
            if got is None or got.opcode == CLOSE:
                self.code = got.code if got else self.code or 1006
                return None
            if got.opcode == self.kind:
                self.frames.append(self.codec.decode_server(got.payload))
                return self.frames[-1]

    async def pong_for_ever(self) -> None:
        while True:
            self.raw.write(frame(PONG))
            await asyncio.sleep(0.1)


@asynccontextmanager
async def slow(url: str, phone: Phone, codec: str) -> AsyncIterator[Slow]:
    """A live session with a small receive buffer."""
    async with await RawSocket.open(url, codec, phone.token, receive_buffer=8_192) as raw:
        client = Slow(raw, codec)
        pongs = asyncio.create_task(client.pong_for_ever())
        try:
            assert isinstance(await client.read(), frames.Ready)
            client.send(frames.Sync())
            while not isinstance(got := await client.read(), frames.SyncComplete):
                assert got is not None
            yield client
        finally:
            pongs.cancel()


async def test_c7_a_reader_that_pauses_is_paused_and_loses_nothing(stack: Any, codec: str) -> None:
    ann, bob, conversation = await couple(stack)
    async with await Peer.open(stack.ws, ann, codec) as a, slow(stack.ws, bob, codec) as b:
        filling = asyncio.create_task(
            fill(a, conversation, PIECES, lambda n: n.to_bytes(2, "big") * (PIECE // 2), window=8)
        )
        # Reads again before ``slow_consumer_ms`` is over, however long the filling takes here.
        await asyncio.wait({filling}, timeout=2)
        got = []
        while len(got) < PIECES:
            message = await b.read()
            assert message is not None, b.code
            if isinstance(message, frames.Message):
                got.append(message)
        await filling
        assert [m.seq for m in got] == list(range(1, PIECES + 1))
        assert all(m.encrypted_content == m.seq.to_bytes(2, "big") * (PIECE // 2) for m in got)
        await a.say(conversation, "live again")
        assert (await b.read()).encrypted_content == b"live again"


async def test_c7_a_slow_consumer_is_closed_4430_and_resumes_without_loss(stack: Any, codec: str) -> None:
    ann, bob, conversation = await couple(stack)
    url = stack.gateways["gateway-1"]["ws"]
    name = 'whatsapp_closes_total{by="server",code="4430"}'
    before = await metric(stack, "gateway-1", name)
    seen = 0
    async with await Peer.open(stack.ws, ann, codec) as a, slow(url, bob, codec) as b:
        await fill(a, conversation, PIECES, lambda n: bytes(PIECE), window=8)

        async def closed() -> bool:
            return await metric(stack, "gateway-1", name) > before

        await until(closed, "the slow consumer is closed", 15)
        while (got := await b.read()) is not None:
            if isinstance(got, frames.Message):
                seen += 1
                assert got.seq == seen
        assert b.code == 4430
        assert 0 < seen < PIECES
    async with await Peer.open(stack.ws, bob, codec, resume={conversation: seen}) as again:
        assert [e.seq for e in events_of(await again.batches())] == list(range(seen + 1, PIECES + 1))


async def test_c7_answers_that_nobody_reads_close_4430(stack: Any, codec: str) -> None:
    """What cannot wait, such as answers, is bounded too."""
    url = stack.gateways["gateway-1"]["ws"]
    name = 'whatsapp_closes_total{by="server",code="4430"}'
    before = await metric(stack, "gateway-1", name)
    async with slow(url, await sign_up(stack), codec) as b:
        asks = frame(b.kind, b.codec.encode(frames.Auth("x", ref="r" * 36))) * 2_000

        async def closed() -> bool:
            b.raw.write(asks)
            with contextlib.suppress(TimeoutError, ConnectionError):
                async with asyncio.timeout(0.5):
                    await b.raw.writer.drain()
            return await metric(stack, "gateway-1", name) > before

        await until(closed, "who never reads its answers is closed", 20)
        while await b.read() is not None:
            pass
        assert b.code in (4430, 1006)  # 1006: what we wrote behind its close reset the connection
