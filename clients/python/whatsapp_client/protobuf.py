"""The binary encoding of the socket. Needs the package ``protobuf`` (the extra ``protobuf``).

Frames stay dicts of the JSON names. What protobuf says with other types is turned by a table that is made once for each
message type: ids are 16 bytes here and UUID text there, contents bytes and base64, enumerations numbers and text.
"""

from __future__ import annotations

import base64
import json
import uuid
from collections.abc import Callable
from typing import Any

from google.protobuf.descriptor import Descriptor, EnumDescriptor, FieldDescriptor
from google.protobuf.message import DecodeError

from . import whatsapp_pb2 as pb
from .codecs import Frame

#: Fields of bytes that are no ids.
_CONTENTS = frozenset({"encrypted_content", "content", "franking", "franking_tag"})
#: Fields of text that hold JSON.
_JSON = frozenset({"data", "details", "payload"})
_Turn = Callable[[Any], Any]


class _Field:
    """One field: its names, and how to read and to write its value."""

    def __init__(self, descriptor: FieldDescriptor) -> None:
        self.name = descriptor.name
        self.json = descriptor.json_name
        self.repeated = bool(descriptor.is_repeated)
        self.presence = descriptor.has_presence
        self.message = descriptor.message_type
        self.read, self.write = _turns(descriptor)
        #: Left out when it is empty: there an empty value means none.
        self.omitted = (
            descriptor.type in (FieldDescriptor.TYPE_BYTES, FieldDescriptor.TYPE_ENUM) or self.name in _JSON
        )


def _turns(descriptor: FieldDescriptor) -> tuple[_Turn, _Turn]:
    if descriptor.type == FieldDescriptor.TYPE_BYTES:
        if descriptor.name in _CONTENTS:
            return (lambda raw: base64.b64encode(raw).decode()), base64.b64decode
        return _uuid_text, lambda text: uuid.UUID(text).bytes
    if descriptor.enum_type is not None:
        values = _enumeration(descriptor.enum_type)
        return values.get, {text: number for number, text in values.items()}.__getitem__
    if descriptor.type == FieldDescriptor.TYPE_STRING and descriptor.name in _JSON:
        return json.loads, lambda value: json.dumps(value, separators=(",", ":"))
    return (lambda value: value), (lambda value: value)


def _enumeration(descriptor: EnumDescriptor) -> dict[int, str]:
    prefix = len(descriptor.values_by_number[0].name) - len("UNSPECIFIED")
    return {value.number: value.name[prefix:].lower() for value in descriptor.values if value.number}


def _uuid_text(raw: bytes) -> str:
    return str(uuid.UUID(bytes=raw))


_tables: dict[str, list[_Field]] = {}


def _fields(descriptor: Descriptor) -> list[_Field]:
    fields = _tables.get(descriptor.full_name)
    if fields is None:
        fields = _tables[descriptor.full_name] = [_Field(field) for field in descriptor.fields]
    return fields


def _is_positions(descriptor: Descriptor | None) -> bool:
    return descriptor is not None and descriptor.name == "Position"


def _read(message: Any) -> Frame:
    frame: Frame = {}
    for field in _fields(message.DESCRIPTOR):
        if field.repeated:
            rows = getattr(message, field.name)
            if _is_positions(field.message):
                frame[field.json] = {_uuid_text(row.conversation_id): row.seq for row in rows}
            elif field.message is not None:
                frame[field.json] = [_read_item(row) for row in rows]
            elif rows:  # of ids: none of them is the same as no list
                frame[field.json] = [field.read(row) for row in rows]
        elif field.presence:
            if message.HasField(field.name):
                value = getattr(message, field.name)
                frame[field.json] = field.read(value) if field.message is None else _read_part(value)
        elif (value := getattr(message, field.name)) or not field.omitted:
            frame[field.json] = field.read(value)
    return frame


def _read_item(message: Any) -> Frame:
    """A row of a batch, which is a frame of its own; any other part."""
    if message.DESCRIPTOR.name != "Item":
        return _read(message)
    kind = message.WhichOneof("item")
    if kind is None:
        raise ValueError("an item of a newer kind")
    return {"type": kind, **_read(getattr(message, kind))}


def _read_part(message: Any) -> Any:
    if message.DESCRIPTOR.name == "Positions":
        return {_uuid_text(row.conversation_id): row.seq for row in message.positions}
    return _read(message)


def _write(frame: Frame, message: Any) -> None:
    """Names that this version of the protocol does not know are left out, as the server would ignore them."""
    for field in _fields(message.DESCRIPTOR):
        value = frame.get(field.json)
        if value is None:
            continue
        if _is_positions(field.message):
            _write_positions(value, getattr(message, field.name))
        elif field.message is not None and field.message.name == "Positions":
            part = getattr(message, field.name)
            part.SetInParent()
            _write_positions(value, part.positions)
        elif field.message is not None and field.repeated:
            for row in value:
                _write(row, getattr(message, field.name).add())
        elif field.message is not None:
            part = getattr(message, field.name)
            part.SetInParent()
            _write(value, part)
        elif field.repeated:
            getattr(message, field.name).extend(field.write(row) for row in value)
        else:
            setattr(message, field.name, field.write(value))


def _write_positions(positions: dict[str, int], rows: Any) -> None:
    for conversation_id, seq in positions.items():
        rows.add(conversation_id=uuid.UUID(conversation_id).bytes, seq=seq)


class ProtobufCodec:
    """One ``Frame`` a binary message."""

    name = "protobuf"

    def encode(self, frame: Frame) -> bytes:
        """Raises ValueError for what the protocol has no place for."""
        message = pb.Frame()  # type: ignore[attr-defined]
        kind = frame["type"]
        try:
            body = getattr(message, kind)
            body.SetInParent()
            _write(frame, body)
            message.ref = frame.get("ref") or ""
        except (AttributeError, KeyError, TypeError) as error:
            raise ValueError(f"{kind} cannot be encoded: {error}") from error
        return bytes(message.SerializeToString())

    def decode(self, data: str | bytes) -> Frame:
        """Raises ValueError for what is not a frame. A body of a newer version is ``{"type": "unknown"}``."""
        try:
            message = pb.Frame.FromString(data.encode() if isinstance(data, str) else data)  # type: ignore[attr-defined]
        except (DecodeError, UnicodeError) as error:
            raise ValueError(f"not a frame: {error}") from None
        kind = message.WhichOneof("body")
        if kind is None:
            return {"type": "unknown"}
        frame = {"type": kind, **_read(getattr(message, kind))}
        if message.ref:
            frame["ref"] = message.ref
        return frame
