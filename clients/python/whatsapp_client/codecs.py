"""Frames on the wire. A frame is a dict of the JSON names, whichever encoding the socket speaks."""

from __future__ import annotations

import json
from typing import Any, Protocol

Frame = dict[str, Any]

VERSION = "3.2"


class Codec(Protocol):
    """One encoding of the socket."""

    name: str

    def encode(self, frame: Frame) -> str | bytes:
        """Text is sent as a text frame, bytes as a binary one."""

    def decode(self, data: str | bytes) -> Frame:
        """Raises ValueError for what is not a frame."""


class JsonCodec:
    """One JSON object a text frame; bytes are base64 inside."""

    name = "json"

    def encode(self, frame: Frame) -> str:
        return json.dumps(frame, separators=(",", ":"), ensure_ascii=False)

    def decode(self, data: str | bytes) -> Frame:
        frame = json.loads(data)
        if not isinstance(frame, dict) or not isinstance(frame.get("type"), str):
            raise ValueError("not a frame")
        return frame


class ProtobufCodec:
    """The binary encoding by way of the server's own codec, where ``whatsapp.wire`` can be imported.

    It goes over JSON on both sides: meant for tests and for measuring, not for speed.
    """

    name = "protobuf"

    def __init__(self) -> None:
        from whatsapp.wire import codec as wire  # optional: only a checkout of the server has it

        self._json, self._protobuf = wire.JSON, wire.PROTOBUF

    def encode(self, frame: Frame) -> bytes:
        text = json.dumps(frame, separators=(",", ":")).encode()
        return bytes(self._protobuf.encode(self._json.decode(text)))

    def decode(self, data: str | bytes) -> Frame:
        raw = data.encode() if isinstance(data, str) else data
        return JSON.decode(bytes(self._json.encode(self._protobuf.decode_server(raw))))


JSON = JsonCodec()


def by_name(name: str) -> Codec:
    """``json`` or ``protobuf``. Raises ImportError for protobuf without ``whatsapp.wire``."""
    return ProtobufCodec() if name == "protobuf" else JSON


def subprotocol(codec: Codec) -> str:
    return f"whatsapp.v{VERSION}.{codec.name}"
