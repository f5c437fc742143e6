"""What holds of the WebSocket parser for any bytes in any pieces: the same as in one piece, and the same as the parser of the
``websockets`` package makes of them, but for what :func:`_agree` names."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from uvicorn.config import Config
from uvicorn.server import ServerState
from websockets.frames import CloseCode, Frame, Opcode
from websockets.protocol import CLIENT, OPEN, SERVER, Protocol

from whatsapp.infra.limits import LIMITS
from whatsapp.infra.websocket import Socket

#: Bytes of a frame while this runs: too large is soon reached.
FRAME_BYTES = 1_000
#: A header with a mask.
HEAD = 14
MOST_PARTS = 1_024


class _Later:
    """What the loop of a :class:`Socket` is asked for: nothing comes later here."""

    def call_later(self, delay: float, callback: Callable[..., object]) -> Any:
        return self

    call_soon = call_later

    def cancel(self) -> None:
        pass

    def time(self) -> float:
        return 0.0


class _Transport:
    """A peer that reads at once."""

    def __init__(self) -> None:
        self.written = bytearray()
        self.closed = False

    def write(self, data: bytes) -> None:
        assert not self.closed, "written behind the end"
        self.written += data

    def close(self) -> None:
        self.closed = True

    abort = close

    def set_write_buffer_limits(self, high: int) -> None:
        pass

    def get_write_buffer_size(self) -> int:
        return 0


@dataclass
class Heard:
    """What a peer's bytes came to. ``close``: the code that was sent, 0 none. ``waits``: within a frame or a message."""

    messages: list[tuple[bytes, bool]] = field(default_factory=list)
    pongs: list[bytes] = field(default_factory=list)
    close: int = 0
    waits: bool = False


async def _nobody(scope: Any, receive: Any, send: Any) -> None:
    raise AssertionError("nobody is called")


_config = Config(_nobody, ws=Socket, lifespan="off", log_config=None)
_config.load()


def check(data: bytes) -> Iterator[str]:
    """The first byte: by its lowest four bits how many sizes of pieces follow, by its highest whether our side closes before
    the last piece. Then the sizes, each a byte, in turn; the rest is what the peer sends."""
    if not data:
        return
    count, closes = data[0] & 0x0F, bool(data[0] & 0x80)
    sizes, stream = [size + 1 for size in data[1 : 1 + count]], data[1 + count :]
    pieces, at, turn = [], 0, 0
    while at < len(stream):
        size = sizes[turn % len(sizes)] if sizes else len(stream)
        pieces.append(stream[at : at + size])
        at, turn = at + size, turn + 1
    with _small_frames():
        if closes:
            _is_deaf_behind_its_close(pieces)
            yield "closes"
            return
        ours = _ours(pieces)
        whole = _ours([stream])
        assert ours == whole, ("pieces matter", ours, whole)
        theirs = _theirs(stream)
        # One refuses at the header what the other refuses at the end of the frame: let it come.
        if theirs.close and not ours.close:
            assert ours.waits, ("refused by the reference alone", theirs)
            ours = _ours([stream, bytes(HEAD + FRAME_BYTES)])
        elif ours.close and not theirs.close:
            theirs = _theirs(stream + bytes(HEAD + FRAME_BYTES))
        _agree(ours, theirs, stream)
    kinds = sorted({(len(body) > 125, text) for body, text in ours.messages})
    yield f"{kinds} {len(ours.pongs) > 0} {ours.close} {theirs.close} {ours.waits} {min(len(ours.messages), 4)}"


@contextlib.contextmanager
def _small_frames() -> Iterator[None]:
    usual = LIMITS.frame_bytes
    object.__setattr__(LIMITS, "frame_bytes", FRAME_BYTES)
    try:
        yield
    finally:
        object.__setattr__(LIMITS, "frame_bytes", usual)


def _agree(ours: Heard, theirs: Heard, stream: bytes) -> None:
    """Where we are not the reference:

    - a message of more than 1,024 parts is too large, whatever its bytes;
    - of a frame that is too large and not allowed besides, either may be said;
    - a close in the middle of a message is allowed (RFC 6455, section 5.4), the reference refuses it.
    """
    if (
        ours.close == CloseCode.MESSAGE_TOO_BIG
        and theirs.close != ours.close
        and len(stream) > 6 * MOST_PARTS
    ):
        assert theirs.messages[: len(ours.messages)] == ours.messages
        return
    assert ours.messages == theirs.messages, (ours, theirs)
    assert ours.pongs == theirs.pongs, (ours, theirs)
    if ours.close == theirs.close or {ours.close, theirs.close} == {1002, 1009}:
        return
    assert theirs.close == CloseCode.PROTOCOL_ERROR, (ours, theirs)
    assert theirs.waits, (ours, theirs)


def _socket(heard: Heard) -> tuple[Socket, _Transport]:
    transport = _Transport()
    socket = Socket(_config, ServerState(), {}, _loop=_Later())  # type: ignore[arg-type]
    socket.transport = transport  # type: ignore[assignment]
    socket.attach(lambda data, text: heard.messages.append((data, text)), text=False)
    return socket, transport


def _ours(pieces: list[bytes]) -> Heard:
    heard = Heard()
    socket, transport = _socket(heard)
    for piece in pieces:
        if transport.closed:
            break
        socket.data_received(piece)
        kept = len(socket._rest) + sum(map(len, socket._parts))
        assert kept <= HEAD + 2 * FRAME_BYTES, kept
    heard.waits = bool(socket._rest or socket._parts)
    for said in _frames(bytes(transport.written)):
        if said.opcode is Opcode.PONG:
            assert not heard.close, "a pong behind the close"
            heard.pongs.append(bytes(said.data))
        else:
            assert said.opcode is Opcode.CLOSE
            assert not heard.close, "closed twice"
            heard.close = int.from_bytes(said.data[:2], "big") or 1005
    return heard


def _frames(written: bytes) -> list[Frame]:
    """What a client reads of it. A close ends what it reads, so nothing may follow one."""
    reader = Protocol(CLIENT, state=OPEN, max_size=None)
    reader.receive_data(written)
    assert reader.parser_exc is None, reader.parser_exc
    read = [event for event in reader.events_received() if isinstance(event, Frame)]
    assert sum(len(one.data) + 2 for one in read) == len(written)
    return read


def _theirs(stream: bytes) -> Heard:
    heard = Heard()
    reference = Protocol(SERVER, state=OPEN, max_size=FRAME_BYTES)
    reference.receive_data(stream)
    parts: list[bytes] = []
    text = False
    for event in reference.events_received():
        assert isinstance(event, Frame)
        if event.opcode in (Opcode.TEXT, Opcode.BINARY, Opcode.CONT):
            if event.opcode is not Opcode.CONT:
                text = event.opcode is Opcode.TEXT
            parts.append(bytes(event.data))
            if event.fin:
                heard.messages.append((b"".join(parts), text))
                parts.clear()
        elif event.opcode is Opcode.PING:
            heard.pongs.append(bytes(event.data))
    heard.waits = bool(parts)
    if reference.close_sent is not None:
        heard.close = reference.close_sent.code
    return heard


def _is_deaf_behind_its_close(pieces: list[bytes]) -> None:
    """Past our own close nothing is heard and nothing said, and the peer's close ends the connection."""
    heard = Heard()
    socket, transport = _socket(heard)
    for piece in pieces[:-1]:
        if not transport.closed:
            socket.data_received(piece)
    if transport.closed:
        return
    socket.close(1000)
    known, said = len(heard.messages), len(transport.written)
    for piece in pieces[-1:]:
        socket.data_received(piece)
    socket.write(b"late")
    socket.ping()
    assert (len(heard.messages), len(transport.written)) == (known, said)
