"""The load generator's socket: a first frame that comes together with the 101 finds whoever waits for it."""

from __future__ import annotations

import asyncio

import pytest

from bench.wsclient import HandshakeError, WebSocket, connect

_FRAME = b"\x81\x05hello"
_ANSWER = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nSec-WebSocket-Protocol: spoken\r\n\r\n"


async def _open(*parts: bytes) -> list[tuple[bytes, bool]]:
    """Connect to a server that writes these parts; each frame, and whether ``connect`` had returned when it came."""
    got: list[tuple[bytes, bool]] = []
    mine: list[WebSocket] = []
    enough = asyncio.Event()

    def on_frame(data: bytes) -> None:
        got.append((data, bool(mine)))
        enough.set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        for part in parts:
            writer.write(part)
            await writer.drain()
            await asyncio.sleep(0)
        await enough.wait()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with server:
        socket = await connect(
            f"ws://127.0.0.1:{port}/ws", token="t", subprotocol="spoken", text=True,
            on_frame=on_frame, on_close=lambda code: None,
        )  # fmt: skip
        mine.append(socket)
        async with asyncio.timeout(10):
            await enough.wait()
        socket.close()
    return got


@pytest.mark.parametrize(
    "parts",
    [(_ANSWER + _FRAME,), (_ANSWER, _FRAME), (_ANSWER[:40], _ANSWER[40:] + _FRAME[:2], _FRAME[2:])],
    ids=["in one", "in two", "cut anywhere"],
)
async def test_the_first_frame_finds_whoever_connects(parts: tuple[bytes, ...]) -> None:
    assert await _open(*parts) == [(b"hello", True)]


async def test_another_answer_is_an_error() -> None:
    with pytest.raises(HandshakeError, match="503"):
        await _open(b"HTTP/1.1 503 Busy\r\n\r\n")
