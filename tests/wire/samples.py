"""Golden frames, building blocks and hypothesis strategies. Strategies are made from the field table, so a
new field is tested with the first run after it was added."""

import json
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
from hypothesis import strategies as st

from whatsapp.wire.codec import JSON, PROTOBUF, Codec
from whatsapp.wire.errors import FrameError
from whatsapp.wire.fields import FRAME_SHAPES, PART_SHAPES, Field, Shape, enum_numbers
from whatsapp.wire.frames import (
    CLIENT_FRAMES,
    MAX_PAYLOAD_DEPTH,
    SERVER_FRAMES,
    Call,
    Presence,
    StatusUpdate,
    Typing,
)

USER = "0190a1b2-c3d4-7e5f-8a6b-0c1d2e3f4a5b"
CONVERSATION = "0190a1b2-c3d4-8e5f-8a6b-0c1d2e3f4a5c"
MESSAGE = "6f9619ff-8b86-4011-b42d-00cf4fc964ff"
CODECS = [JSON, PROTOBUF]


class Golden(NamedTuple):
    direction: str
    name: str
    json: str
    protobuf: str  # hexadecimal

    def encoded(self, codec: Codec) -> bytes:
        return self.json.encode() if codec is JSON else bytes.fromhex(self.protobuf)

    def decode(self, codec: Codec) -> Any:
        decode = codec.decode if self.direction == "client" else codec.decode_server
        return decode(self.encoded(codec))


GOLDEN = [Golden(**row) for row in json.loads(Path(__file__).with_name("golden.json").read_text())]


def refusal(codec: Codec, data: bytes) -> FrameError:
    """The error that decoding a client's ``data`` raises; fails when it is taken."""
    try:
        frame = codec.decode(data)
    except FrameError as error:
        return error
    raise AssertionError(f"{data[:80]!r} was taken: {frame}")


def send_message(**changes: Any) -> dict[str, Any]:
    """A good send_message as a JSON object, changed; ``...`` removes a field."""
    value = {
        "type": "send_message", "ref": "r1", "messageId": MESSAGE, "conversationId": CONVERSATION, "encryptedContent": "aGk=",
        "timestamp": 1,
    }  # fmt: skip
    return {key: each for key, each in (value | changes).items() if each is not ...}


# -- strategies ----------------------------------------------------------------------------------------------

ids = st.uuids().map(str)
_text = st.text(st.characters(exclude_categories=["Cs"]), max_size=36)
_json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.floats(allow_nan=False, allow_infinity=False)
    | _text,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_text, inner, max_size=3),
    max_leaves=8,
)
_objects = st.dictionaries(_text, _json_values, max_size=3)


def _value(field: Field) -> st.SearchStrategy[Any]:
    if field.kind == "id":
        return ids
    if field.kind in ("int64", "int32"):
        return st.integers(field.low, field.high)
    if field.kind == "bytes":
        return st.binary(max_size=100)
    if field.kind == "string":
        return _text
    if field.kind == "bool":
        return st.booleans()
    if field.kind == "json":
        return _objects | _text if field.name == "payload" else _objects
    if field.kind == "positions":
        return st.dictionaries(ids, st.integers(0, 2**53 - 1), max_size=4)
    if field.kind == "enum":
        return st.sampled_from(sorted(enum_numbers(field.type)))
    if field.kind == "part":
        return structs(next(shape for shape in PART_SHAPES if shape.name == field.type))
    # An empty repeated field is an absent one in protobuf.
    least = 1 if field.optional else 0
    if field.kind == "ids":
        return st.lists(ids, min_size=least, max_size=3)
    if field.kind == "parts":
        return st.lists(
            structs(next(shape for shape in PART_SHAPES if shape.name == field.type)),
            min_size=least,
            max_size=2,
        )
    assert field.kind == "items"
    return st.lists(
        st.one_of(*(structs(shape) for shape in FRAME_SHAPES if shape.type in ("message", "event"))),
        max_size=3,
    )


def structs(shape: Shape, with_ref: bool = False) -> st.SearchStrategy[Any]:
    required = {field.name: _value(field) for field in shape.fields if field.default is msgspec.NODEFAULT}
    optional = {
        field.name: _value(field) | st.none() if field.optional else _value(field)
        for field in shape.fields
        if field.default is not msgspec.NODEFAULT
    }
    if with_ref:
        optional["ref"] = _text
    return st.fixed_dictionaries(required, optional=optional).map(lambda values: shape.cls(**values))


def _as_client(frame: Any) -> Any:
    """What a client may say of a frame that goes both ways."""
    if isinstance(frame, StatusUpdate):
        up_to = None if frame.message_id else frame.up_to or 0
        status = "read" if frame.status in ("sent", "read") else "delivered"
        return StatusUpdate(frame.conversation_id, status, frame.message_id, up_to, ref=frame.ref)
    if isinstance(frame, Presence):
        return Presence("away" if frame.status == "unknown" else frame.status, ref=frame.ref)
    if isinstance(frame, Typing):
        return Typing(frame.conversation_id, frame.active, frame.kind, ref=frame.ref)
    if isinstance(frame, Call):
        return Call(
            frame.call_id, frame.kind, frame.payload, frame.to_user_id or frame.call_id, ref=frame.ref
        )
    return frame


def _frames(classes: tuple[type, ...]) -> st.SearchStrategy[Any]:
    return st.one_of(*(structs(shape, with_ref=True) for shape in FRAME_SHAPES if shape.cls in classes))


client_frames = _frames(CLIENT_FRAMES).map(_as_client)
server_frames = _frames(SERVER_FRAMES)
messages = structs(next(shape for shape in FRAME_SHAPES if shape.type == "message"))
events = structs(next(shape for shape in FRAME_SHAPES if shape.type == "event"))
envelopes = structs(next(shape for shape in PART_SHAPES if shape.name == "Envelope"))

assert MAX_PAYLOAD_DEPTH > 8  # of what _objects makes
