"""Where a search begins: every example of the wire format, streams of WebSocket frames, and what earlier searches found."""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Iterator
from pathlib import Path

from tests.gateway.raw import BINARY, CLOSE, CONT, PING, PONG, TEXT, frame
from tests.wire.samples import GOLDEN
from whatsapp.wire.codec import JSON, PROTOBUF

FOUND = Path(__file__).with_name("found")
_MASK = b"abcd"


def seeds(target: str) -> list[bytes]:
    return [*_made(target), *found(target).values()]


def found(target: str) -> dict[str, bytes]:
    """name → input, of ``found/TARGET``: each broke something once."""
    return {path.name: path.read_bytes() for path in sorted((FOUND / target).glob("*"))}


def _made(target: str) -> Iterator[bytes]:
    if target == "websocket":
        yield from _streams()
    for golden in GOLDEN:
        if target in ("json", "protobuf"):
            yield golden.encoded(JSON if target == "json" else PROTOBUF)


def _streams() -> Iterator[bytes]:
    for pieces in (b"\0", b"\x01\0", b"\x03\x01\x05\x40", b"\x81\x09"):
        yield pieces + _frame(TEXT, b"hello") + _frame(BINARY, b"\0" * 200)
        yield pieces + _frame(TEXT, b"he", final=False) + _frame(PING, b"?") + _frame(CONT, b"llo")
        yield pieces + _frame(PONG, b"!") + _frame(CLOSE, b"\x03\xe8bye") + _frame(TEXT, b"late")
        yield pieces + _frame(TEXT, b"x", size=1_001) + _frame(BINARY, b"x", size=70_000)
        yield pieces + _frame(TEXT, b"a" * 600, final=False) + _frame(CONT, b"b" * 600)
        yield pieces + _frame(TEXT, b"x", masked=False)
        yield pieces + _frame(TEXT, b"x", reserved=4)
        yield pieces + _frame(3) + _frame(11)
        yield pieces + _frame(CLOSE) + _frame(CLOSE, b"\x03") + _frame(CLOSE, b"\x03\xed")
    yield b"\0" + _frame(TEXT, final=False) + _frame(CONT, final=False) * 1_100


def _frame(opcode: int, payload: bytes = b"", **parts: object) -> bytes:
    return frame(opcode, payload, mask=_MASK, **parts)  # type: ignore[arg-type]


def main() -> None:
    """``python -m tests.fuzz.seeds TARGET FOLDER``: a file for each."""
    target, folder = sys.argv[1:]
    for data in seeds(target):
        (Path(folder) / hashlib.sha256(data).hexdigest()[:16]).write_bytes(data)


if __name__ == "__main__":
    main()
