"""Builds with a fault, for who wants to see that a search finds one (tests/fuzz/test_fuzz.py)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from whatsapp.infra.websocket import Socket
from whatsapp.wire.codec import JSON, PROTOBUF
from whatsapp.wire.frames import Typing


class Broken(NamedTuple):
    target: str
    switch_on: Callable[[], None]


def _another_error() -> None:
    """A decoder that forgets a case."""
    decode = JSON.decode

    def without_case(data: bytes) -> Any:
        frame = decode(data)
        return frame if frame.ref.isascii() else {}[frame.ref]

    JSON.decode = without_case  # type: ignore[method-assign]


def _a_field_is_lost() -> None:
    encode = PROTOBUF.encode

    def forgetful(frame: Any) -> bytes:
        if isinstance(frame, Typing) and frame.kind == "audio" and not frame.active:
            frame = Typing(frame.conversation_id, frame.active, None, frame.user_id, ref=frame.ref)
        return encode(frame)

    PROTOBUF.encode = forgetful  # type: ignore[method-assign]


def _pieces_matter() -> None:
    received = Socket.data_received

    def hasty(self: Any, data: bytes) -> None:
        received(self, data)
        if len(self._rest) == 7:  # of a header with a size of 16 bits
            self._rest.clear()

    Socket.data_received = hasty  # type: ignore[method-assign]


BROKEN = {
    "another-error": Broken("json", _another_error),
    "a-field-is-lost": Broken("protobuf", _a_field_is_lost),
    "pieces-matter": Broken("websocket", _pieces_matter),
}
