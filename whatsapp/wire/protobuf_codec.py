"""Frames as protobuf: one ``Frame`` a binary WebSocket message."""

from typing import Any, NoReturn

from google.protobuf.message import DecodeError

from whatsapp.wire import ids
from whatsapp.wire import whatsapp_pb2 as pb
from whatsapp.wire.errors import Code, FrameError
from whatsapp.wire.fields import FRAME_SHAPES
from whatsapp.wire.frames import (
    CLIENT_FRAMES,
    MAX_REF,
    SERVER_FRAMES,
    Envelope,
    Frame,
    Item,
    Message,
    SyncBatch,
)
from whatsapp.wire.protobuf_source import ENCODERS, READERS, Bad, write_envelope
from whatsapp.wire.rules import CLIENT_RULES

_parse = pb.Frame.FromString  # type: ignore[attr-defined]
_BYTES = 2  # the wire type of what has a length
_FIRST_BODY = 10
#: Fields of a frame that are looked at for its body: beside it there are a ref and what a newer peer may add.
_LOOKED_AT = 16

_shapes = {shape.cls: shape for shape in FRAME_SHAPES}


def _key(tag: int, wire_type: int) -> bytes:
    return _varint(tag << 3 | wire_type)


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def _field_key(frame: type[Frame], name: str) -> bytes:
    field = next(field for field in _shapes[frame].fields if field.name == name)
    return _key(field.tag, 0 if field.kind == "int64" else _BYTES)


_MESSAGE_KEY = _key(Message.BODY, _BYTES)
_ENVELOPE_KEY = _field_key(Message, "envelope")
_BATCH_KEY = _key(SyncBatch.BODY, _BYTES)
_BATCH_CONVERSATION = _field_key(SyncBatch, "conversation_id") + _varint(16)
_BATCH_EVENT = _field_key(SyncBatch, "events")
_BATCH_NUMBERS = tuple(_field_key(SyncBatch, name) for name in ("through", "head", "remaining"))


class ProtobufCodec:
    """See :class:`whatsapp.wire.codec.Codec`."""

    name = id = "protobuf"
    text = False

    def __init__(self) -> None:
        names = {shape.cls: shape.type for shape in FRAME_SHAPES}
        self._client = {names[cls]: (READERS[names[cls]], CLIENT_RULES.get(cls)) for cls in CLIENT_FRAMES}
        self._server = {names[cls]: (READERS[names[cls]], None) for cls in SERVER_FRAMES}

    def decode(self, data: bytes) -> Any:
        return self._decode(data, self._client)

    def decode_server(self, data: bytes) -> Any:
        return self._decode(data, self._server)

    def _decode(self, data: bytes, table: dict[str, Any]) -> Any:
        try:
            frame = _parse(data)
        except (DecodeError, TypeError):
            raise FrameError(Code.BAD_REQUEST, "not a frame: no valid protobuf", malformed=True) from None
        kind = frame.WhichOneof("body")
        try:
            read, rule = table[kind]
        except KeyError:
            _explain_type(frame, kind, data)
        ref = frame.ref
        body = getattr(frame, kind)
        try:
            if len(ref) > MAX_REF:
                ref = ""
                raise Bad("ref", f"longer than {MAX_REF} characters")
            result = read(body, ref)
        except Bad as bad:
            code = Code.TOO_LARGE if bad.too_large else Code.BAD_REQUEST
            text = f"{bad.path}: {bad.reason}"
            raise FrameError(code, text, ref, field=bad.path, message_id=_message_id(body)) from None
        if rule is not None:
            rule(result)
        return result

    def encode(self, frame: Frame) -> bytes:
        return ENCODERS[type(frame)](frame)

    def encode_item(self, event: Item) -> bytes:
        return ENCODERS[type(event)](event)

    def encode_batch(
        self, conversation_id: str, encoded_events: list[bytes], through: int, head: int, remaining: int
    ) -> bytes:
        pieces = [_BATCH_CONVERSATION, ids.to_bytes(conversation_id)]
        for event in encoded_events:
            pieces += (_BATCH_EVENT, _varint(len(event)), event)
        for key, number in zip(_BATCH_NUMBERS, (through, head, remaining), strict=True):
            if number:
                pieces += (key, _varint(number))
        body = b"".join(pieces)
        return b"".join((_BATCH_KEY, _varint(len(body)), body))

    def with_envelope(self, encoded_message: bytes, envelope: Envelope) -> bytes:
        start = len(_MESSAGE_KEY)
        while encoded_message[start] & 0x80:  # skip the length
            start += 1
        part = pb.Envelope()  # type: ignore[attr-defined]
        write_envelope(part, envelope)
        blob = part.SerializeToString()
        body = b"".join((encoded_message[start + 1 :], _ENVELOPE_KEY, _varint(len(blob)), blob))
        return b"".join((_MESSAGE_KEY, _varint(len(body)), body))


def _message_id(body: Any) -> str | None:
    data = getattr(body, "message_id", b"")
    return ids.to_text(data) if len(data) == 16 else None


def _newer_body(data: bytes) -> int:
    """The number of a body that only a newer peer knows, 0 for none, among the first fields of what was parsed. protobuf's own
    view of unknown fields makes an object of each before it says how many there are: 0.1 s for a frame full of them."""
    at = 0
    for _ in range(_LOOKED_AT):
        if at >= len(data):
            break
        key, at = _read_varint(data, at)
        number, wire_type = key >> 3, key & 7
        if wire_type != _BYTES:
            if wire_type != 0:
                break
            _, at = _read_varint(data, at)
        elif number >= _FIRST_BODY:
            return number
        else:
            size, at = _read_varint(data, at)
            at += size
    return 0


def _read_varint(data: bytes, at: int) -> tuple[int, int]:
    """The number at a place, and the place behind it."""
    value = shift = 0
    while True:
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
        shift += 7


def _explain_type(frame: Any, kind: str | None, data: bytes) -> NoReturn:
    """A body that is not for this direction, one that a newer peer knows, or none at all."""
    ref = frame.ref if len(frame.ref) <= MAX_REF else ""
    if kind is not None:
        message_id = _message_id(getattr(frame, kind))
        raise _unknown_type(kind, ref, message_id) from None
    newer = _newer_body(data)
    if newer:
        raise _unknown_type(str(newer), ref, None) from None
    raise FrameError(Code.BAD_REQUEST, "not a frame: no body", ref, malformed=True) from None


def _unknown_type(kind: str, ref: str, message_id: str | None) -> FrameError:
    text = f"unknown type {kind!r}"
    return FrameError(Code.UNKNOWN_TYPE, text, ref, details={"type": kind}, message_id=message_id)
