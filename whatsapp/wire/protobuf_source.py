"""Functions between frames and protobuf messages, written from the field table and compiled once at import.

Straight-line code per frame is several times faster than walking descriptors. For each shape there are
``read_<name>(m, ref)``, protobuf message -> struct, which raises :class:`Bad`, and ``write_<name>(m, f)``,
struct -> protobuf message, which trusts its struct; for each frame also ``encode_<name>(f)`` -> bytes.
"""

from collections.abc import Callable
from typing import Any

import msgspec

from whatsapp.wire import ids
from whatsapp.wire import whatsapp_pb2 as pb
from whatsapp.wire.fields import FRAME_SHAPES, PART_SHAPES, Field, Shape, enum_numbers
from whatsapp.wire.frames import ENUMS, MAX_CONVERSATIONS, MAX_SAFE_INTEGER, Envelope

NOT_ID = "not 16 bytes"


class Bad(Exception):
    """A field of a well-formed protobuf message that the protocol does not allow. ``path`` is in JSON
    names."""

    def __init__(self, path: str, reason: str, too_large: bool = False) -> None:
        super().__init__(path, reason)
        self.path = path
        self.reason = reason
        self.too_large = too_large


# -- what the written code calls -----------------------------------------------------------------------------


def _read_ids(path: str, rows: Any) -> list[str]:
    for index, row in enumerate(rows):
        if len(row) != 16:
            raise Bad(f"{path}[{index}]", NOT_ID)
    return [ids.to_text(row) for row in rows]


def _read_positions(path: str, rows: Any) -> dict[str, int]:
    if len(rows) > MAX_CONVERSATIONS:
        raise Bad(path, f"more than {MAX_CONVERSATIONS} entries")
    positions = {}
    for row in rows:
        key, seq = row.conversation_id, row.seq
        if len(key) != 16:
            raise Bad(path, f"key: {NOT_ID}")
        if not 0 <= seq <= MAX_SAFE_INTEGER:
            raise Bad(f"{path}[...]", f"not between 0 and {MAX_SAFE_INTEGER}")
        positions[ids.to_text(key)] = seq
    return positions


def _write_positions(rows: Any, positions: dict[str, int]) -> None:
    for conversation_id, seq in positions.items():
        rows.add(conversation_id=ids.to_bytes(conversation_id), seq=seq)


def _read_part(path: str, read: Callable[[Any], Any], message: Any) -> Any:
    try:
        return read(message)
    except Bad as bad:
        bad.path = f"{path}.{bad.path}"
        raise


def _read_parts(path: str, read: Callable[[Any], Any], rows: Any) -> list[Any]:
    return [_read_part(f"{path}[{index}]", read, row) for index, row in enumerate(rows)]


_decode_object = msgspec.json.Decoder(dict[str, Any]).decode
_decode_payload = msgspec.json.Decoder(dict[str, Any] | str).decode
_encode_json = msgspec.json.encode


def _read_json(path: str, decode: Callable[[str], Any], text: str) -> Any:
    try:
        return decode(text)
    except (msgspec.MsgspecError, UnicodeError, RecursionError):
        raise Bad(path, "not the JSON text of an object") from None


def _read_item(item: Any) -> Any:
    kind = item.WhichOneof("item")
    if kind is None:
        raise Bad("type", "is missing")
    return _NAMES[f"read_{kind}"](getattr(item, kind))


def _write_item(item: Any, event: Any) -> None:
    kind = str(event.__struct_config__.tag)
    _NAMES[f"write_{kind}"](getattr(item, kind), event)


_NAMES: dict[str, Any] = {
    "Bad": Bad,
    "Frame": pb.Frame,  # type: ignore[attr-defined]
    "to_text": ids.to_text,
    "to_bytes": ids.to_bytes,
    "read_ids": _read_ids,
    "read_positions": _read_positions,
    "write_positions": _write_positions,
    "read_part": _read_part,
    "read_parts": _read_parts,
    "read_json": _read_json,
    "decode_object": _decode_object,
    "decode_payload": _decode_payload,
    "encode_json": _encode_json,
    "read_item": _read_item,
    "write_item": _write_item,
}
for _name in ENUMS:
    _NAMES[f"{_name}_number"] = enum_numbers(_name)
    _NAMES[f"{_name}_value"] = {number: value for value, number in enum_numbers(_name).items()}


# -- reading -------------------------------------------------------------------------------------------------


def _function(name: str) -> str:
    """What the functions of a shape are called after: SendMessage -> send_message, Envelope -> Envelope."""
    return _FUNCTIONS[name]


def _read_scalar(field: Field) -> list[str]:
    """Lines that check and convert ``v``, which holds a value that is present."""
    path, longest = repr(field.json), field.max_length
    if field.kind == "id":
        return [f"if len(v) != 16: raise Bad({path}, {NOT_ID!r})", "v = to_text(v)"]
    if field.kind in ("int64", "int32"):
        reason = f"not between {field.low} and {field.high}"
        return [f"if not {field.low} <= v <= {field.high}: raise Bad({path}, {reason!r})"]
    if field.kind == "json":
        decode = "decode_payload" if field.name == "payload" else "decode_object"
        return [f"v = read_json({path}, {decode}, v)"]
    if field.kind == "bytes" and longest is not None:
        return [f"if len(v) > {longest}: raise Bad({path}, 'longer than {longest} bytes', True)"]
    if field.kind == "string" and longest is not None:
        return [f"if len(v) > {longest}: raise Bad({path}, 'longer than {longest} characters')"]
    return []


def _read_field(field: Field) -> list[str]:
    """Lines that leave the value of the field in ``v``."""
    name, path = field.name, repr(field.json)
    if field.kind == "part" or (field.kind == "positions" and field.optional):
        if field.kind == "part":
            value = f"read_part({path}, read_{_function(field.type)}, m.{name})"
        else:
            value = f"read_positions({path}, m.{name}.positions)"
        absent = "v = None" if field.optional else f"raise Bad({path}, 'is missing')"
        return [f"if m.HasField({name!r}): v = {value}", f"else: {absent}"]
    if field.kind == "positions":
        return [f"v = read_positions({path}, m.{name})"]
    if field.kind in ("ids", "parts", "items"):
        lines = [f"v = m.{name}"]
        if field.max_length is not None:
            reason = f"more than {field.max_length} entries"
            lines += [f"if len(v) > {field.max_length}: raise Bad({path}, {reason!r})"]
        if field.kind == "ids":
            call = f"read_ids({path}, v)"
        else:
            read = "read_item" if field.kind == "items" else f"read_{_function(field.type)}"
            call = f"read_parts({path}, {read}, v)"
        return [*lines, f"v = {call} if v else None" if field.optional else f"v = {call}"]
    if field.kind == "enum":
        default = None if field.default is msgspec.NODEFAULT else field.default
        zero = f"v = {default!r}" if default or field.optional else f"raise Bad({path}, 'is missing')"
        known = [
            f"    v = {field.type}_value.get(v)",
            f"    if v is None: raise Bad({path}, 'unknown value')",
        ]
        return [f"v = m.{name}", "if v:", *known, f"else: {zero}"]
    lines = _read_scalar(field)
    if field.optional:
        # A present zero is rare, an absent field common; both are falsy.
        present = f"if v or m.HasField({name!r}):"
        return [f"v = m.{name}", present, *(f"    {line}" for line in lines or ["pass"]), "else: v = None"]
    if field.default not in (msgspec.NODEFAULT, False, ""):
        return [f"v = m.{name} or {field.default!r}", *lines]
    return [f"v = m.{name}", *lines]


def _reader(shape: Shape) -> str:
    body: list[str] = []
    for index, field in enumerate(shape.fields):
        body += [*_read_field(field), f"v{index} = v"]
    arguments = [f"{field.name}=v{index}" for index, field in enumerate(shape.fields)]
    parameters = "m"
    if shape.type:
        parameters = "m, ref=''"
        arguments.append("ref=ref")
    result = f"return {shape.name}({', '.join(arguments)})"
    return _define(f"read_{_function(shape.name)}({parameters})", [*body, result])


def _define(signature: str, body: list[str]) -> str:
    return "\n".join([f"def {signature}:", *(f"    {line}" for line in body), ""])


# -- writing -------------------------------------------------------------------------------------------------


def _write_field(field: Field) -> list[str]:
    name = field.name
    if field.kind == "part":
        lines = [f"m.{name}.SetInParent()", f"write_{_function(field.type)}(m.{name}, v)"]
    elif field.kind == "positions":
        rows = f"m.{name}.positions" if field.optional else f"m.{name}"
        lines = [f"m.{name}.SetInParent()"] * field.optional + [f"write_positions({rows}, v)"]
    elif field.kind == "ids":
        lines = [f"m.{name}.extend([to_bytes(each) for each in v])"]
    elif field.kind == "parts":
        lines = [f"for each in v: write_{_function(field.type)}(m.{name}.add(), each)"]
    elif field.kind == "items":
        lines = [f"for each in v: write_item(m.{name}.add(), each)"]
    else:
        convert = {"id": "to_bytes(v)", "enum": f"{field.type}_number[v]", "json": "encode_json(v).decode()"}
        lines = [f"m.{name} = {convert.get(field.kind, 'v')}"]
    if field.optional:
        return [f"v = f.{name}", "if v is not None:", *(f"    {line}" for line in lines)]
    if field.kind == "bool":
        return [f"if f.{name}: m.{name} = True"]
    return [f"v = f.{name}", *lines]


def _writer(shape: Shape) -> str:
    lines = [line for field in shape.fields for line in _write_field(field)]
    write = _define(f"write_{_function(shape.name)}(m, f)", lines)
    if not shape.type:
        return write
    head = ["frame = Frame()", "if f.ref: frame.ref = f.ref", f"m = frame.{shape.type}"]
    if not any(field.kind == "id" and not field.optional for field in shape.fields):
        head.append("m.SetInParent()")  # a body whose fields are all zero must still be seen to be there
    encode = _define(f"encode_{shape.type}(f)", [*head, *lines, "return frame.SerializeToString()"])
    return write + encode


def source() -> str:
    """The code; print it to debug."""
    return "\n".join(text for shape in _SHAPES for text in (_reader(shape), _writer(shape)))


_SHAPES = (*PART_SHAPES, *FRAME_SHAPES)
_FUNCTIONS = {shape.name: shape.type or shape.name for shape in _SHAPES}
_NAMES.update({shape.name: shape.cls for shape in _SHAPES})
exec(compile(source(), "<whatsapp.wire.protobuf_source>", "exec"), _NAMES)

READERS: dict[str, Callable[[Any, str], Any]] = {
    shape.type: _NAMES[f"read_{shape.type}"] for shape in FRAME_SHAPES
}
ENCODERS: dict[type, Callable[[Any], bytes]] = {
    shape.cls: _NAMES[f"encode_{shape.type}"] for shape in FRAME_SHAPES
}
write_envelope: Callable[[Any, Envelope], None] = _NAMES["write_Envelope"]
