"""The field table as data: what :mod:`whatsapp.wire.frames` says, read once for the proto file and the
protobuf codec."""

import types
import typing
from typing import Annotated, Any, Literal, NamedTuple

import msgspec
from msgspec import Meta

from whatsapp.wire.frames import ENUMS, FRAMES, PARTS, Frame, Part

#: Kinds that a single protobuf scalar holds.
SCALARS = {
    "id": "bytes", "int64": "int64", "int32": "int32", "bytes": "bytes", "string": "string", "bool": "bool",
    "json": "string",
}  # fmt: skip
_UNIONS = (typing.Union, types.UnionType)
_ENUM_NAMES = {values: name for name, values in ENUMS.items()}


class Field(NamedTuple):
    name: str  # attribute and protobuf name
    json: str
    tag: int
    kind: str  # a key of SCALARS, or: ids positions enum part parts items
    type: str  # name of the enum or part, else ""
    optional: bool  # None when absent
    default: Any  # msgspec.NODEFAULT when required
    low: int  # numbers
    high: int
    max_length: int | None  # text, bytes, lists, maps


class Shape(NamedTuple):
    """A frame or a part."""

    cls: type[Frame] | type[Part]
    name: str
    type: str  # the tag of a frame in JSON and its name in ``Frame.body``; "" for a part
    body: int
    reserved: tuple[int, ...]
    fields: tuple[Field, ...]  # by tag


def enum_numbers(name: str) -> dict[str, int]:
    """value -> number. 0 is ``_UNSPECIFIED``."""
    return {value: number for number, value in enumerate(typing.get_args(ENUMS[name]), start=1)}


def _unwrap(hint: Any) -> tuple[Any, list[Any], bool]:
    """(bare type, all annotations inside out, whether None is allowed)."""
    notes: list[Any] = []
    optional = False
    while True:
        if typing.get_origin(hint) is Annotated:
            hint, *outer = typing.get_args(hint)
            notes = outer + notes
        elif typing.get_origin(hint) in _UNIONS and type(None) in typing.get_args(hint):
            optional = True
            (hint,) = (each for each in typing.get_args(hint) if each is not type(None))
        else:
            return hint, notes, optional


def _field(info: msgspec.structs.FieldInfo, hint: Any) -> Field:
    bare, notes, optional = _unwrap(hint)
    (tag,) = (note for note in notes if isinstance(note, int))
    kind = next((note for note in notes if isinstance(note, str)), "")
    meta = next((note for note in notes if isinstance(note, Meta)), Meta())
    type_name = ""
    if typing.get_origin(bare) is Literal:
        kind, type_name = "enum", _ENUM_NAMES[bare]
    elif isinstance(bare, type) and issubclass(bare, Part):
        kind, type_name = "part", bare.__name__
    elif kind == "parts":
        type_name = typing.get_args(bare)[0].__name__
    low, high = meta.ge, meta.le
    return Field(
        info.name, info.encode_name, tag, kind, type_name, optional, info.default,
        0 if low is None else int(low), 0 if high is None else int(high), meta.max_length,
    )  # fmt: skip


def _shape(cls: type[Frame] | type[Part]) -> Shape:
    hints = typing.get_type_hints(cls, include_extras=True)
    fields = [_field(info, hints[info.name]) for info in msgspec.structs.fields(cls) if info.name != "ref"]
    tags = [field.tag for field in fields]
    if len(set(tags)) != len(tags) or set(tags) & set(cls.RESERVED):
        raise TypeError(f"{cls.__name__}: a protobuf tag is used twice or reserved")
    body, kind = (cls.BODY, str(cls.__struct_config__.tag)) if issubclass(cls, Frame) else (0, "")
    return Shape(
        cls, cls.__name__, kind, body, cls.RESERVED, tuple(sorted(fields, key=lambda field: field.tag))
    )


PART_SHAPES: tuple[Shape, ...] = tuple(_shape(cls) for cls in PARTS)
FRAME_SHAPES: tuple[Shape, ...] = tuple(_shape(cls) for cls in FRAMES)
