"""Frames on the wire. A frame is a dict of the JSON names, whichever encoding the socket speaks."""

from __future__ import annotations

import importlib
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


JSON = JsonCodec()


def by_name(name: str) -> Codec:
    """``json`` or ``protobuf``. Raises ImportError for protobuf without the package of that name."""
    if name != "protobuf":
        return JSON
    module = importlib.import_module(".protobuf", __package__)  # only who asks for it needs the package
    codec: Codec = module.ProtobufCodec()
    return codec


def subprotocol(codec: Codec) -> str:
    return f"whatsapp.v{VERSION}.{codec.name}"
