"""Changes to an input that keep its form: a search that only turns bytes over seldom gets past the parser."""

from __future__ import annotations

import copy
import json
import random
from collections.abc import Callable, Iterator
from typing import Any

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import DecodeError, Message

from tests.wire.samples import GOLDEN
from whatsapp.wire import whatsapp_pb2 as pb

Mutate = Callable[[bytes, int], bytes]
_ID = "0190a1b2-c3d4-7e5f-8a6b-0c1d2e3f4a5b"
_NUMBERS = (0, 1, -1, 2, 100, 2**31 - 1, 2**31, 2**53 - 1, 2**53, 2**63 - 1)
_VALUES: tuple[Any, ...] = (
    *_NUMBERS, 2**64, -(2**63) - 1, 10**400, 0.5, 1e308, -0.0, None, True, False, "", "x", "é", "\0", "x" * 37, _ID, _ID.upper(),
    _ID + "\n", "aGk=", "aGk", [], [None], {}, {"a": 1}, {_ID: 1}, [_ID], [[[[]]]], "sync_offline",
)  # fmt: skip


def as_json(data: bytes, most: int, seed: int, mutate: Mutate) -> bytes:
    """One to three values of the object are changed, removed, moved or taken from another example."""
    try:
        return _as_json(data, most, seed, mutate)
    except (ValueError, RecursionError):  # no JSON, too deep, or a number of too many digits
        return mutate(data, most)


def _as_json(data: bytes, most: int, seed: int, mutate: Mutate) -> bytes:
    chance = random.Random(seed)
    value = json.loads(data)
    if not isinstance(value, dict) or chance.random() < 0.3:
        return mutate(data, most)
    for _ in range(chance.randint(1, 3)):
        places = list(_places(value))
        if not places:
            break
        holder, key = chance.choice(places)
        what = chance.randrange(6)
        if what == 0:
            del holder[key]
        elif what == 1 and isinstance(holder, dict):
            holder[chance.choice(_KEYS)] = holder.pop(key)
        elif what == 2:
            other, name = chance.choice(places)
            holder[key] = copy.deepcopy(other[name])
        elif what == 3 and isinstance(holder[key], str):
            holder[key] = mutate(holder[key].encode("utf-8", "surrogatepass"), 300).decode("utf-8", "replace")
        elif what == 4:
            value[chance.choice(_KEYS)] = copy.deepcopy(chance.choice(_EXAMPLES))
        else:
            holder[key] = copy.deepcopy(chance.choice(_VALUES))
    return json.dumps(value, ensure_ascii=chance.random() < 0.5).encode("utf-8", "surrogatepass")[:most]


def _places(value: Any) -> Iterator[tuple[Any, Any]]:
    """(dict or list, key) of everything below."""
    for key in list(value) if isinstance(value, dict) else range(len(value)):
        yield value, key
        if isinstance(value[key], dict | list):
            yield from _places(value[key])


def _examples() -> Iterator[tuple[str, Any]]:
    for golden in GOLDEN:
        yield from json.loads(golden.json).items()


_KEYS = sorted({key for key, _ in _examples()})
_EXAMPLES = [value for _, value in _examples()]


def as_protobuf(data: bytes, most: int, seed: int, mutate: Mutate) -> bytes:
    """One to three fields, at any depth, are set to another value, cleared or repeated."""
    chance = random.Random(seed)
    frame = pb.Frame()  # type: ignore[attr-defined]
    try:
        frame.ParseFromString(data)
    except DecodeError:
        return mutate(data, most)
    if chance.random() < 0.3:
        return mutate(data, most)
    for _ in range(chance.randint(1, 3)):
        message = frame
        while (inside := list(_messages(message))) and chance.random() < 0.8:
            message = chance.choice(inside)
        _change(message, chance, mutate)
    return frame.SerializeToString()[:most]


def _messages(message: Message) -> Iterator[Message]:
    for field, value in message.ListFields():
        if field.type == FieldDescriptor.TYPE_MESSAGE:
            yield from value if field.is_repeated else [value]


def _change(message: Any, chance: random.Random, mutate: Mutate) -> None:
    fields = list(message.DESCRIPTOR.fields)
    if not fields:
        return
    field = chance.choice(fields)
    if chance.random() < 0.2:
        message.ClearField(field.name)
        return
    if field.type == FieldDescriptor.TYPE_MESSAGE:
        if field.is_repeated:
            getattr(message, field.name).add()
        else:
            getattr(message, field.name).SetInParent()
        return
    old = b"" if field.is_repeated else getattr(message, field.name)
    value = _value(field, old, chance, mutate)
    if field.is_repeated:
        getattr(message, field.name).append(value)
    else:
        setattr(message, field.name, value)


def _value(field: FieldDescriptor, old: Any, chance: random.Random, mutate: Mutate) -> Any:
    if field.type in (FieldDescriptor.TYPE_INT64, FieldDescriptor.TYPE_INT32):
        wide = field.type == FieldDescriptor.TYPE_INT64
        return chance.choice([number for number in _NUMBERS if wide or number < 2**31])
    if field.type == FieldDescriptor.TYPE_ENUM:
        return chance.randint(0, 16)
    if field.type == FieldDescriptor.TYPE_BOOL:
        return chance.random() < 0.5
    if field.type == FieldDescriptor.TYPE_BYTES:
        return chance.choice([b"", b"\0" * 15, bytes(range(16)), b"\xff" * 16, mutate(old or b"?", 100)])
    if field.name in ("data", "payload", "details"):
        return as_json((old or "{}").encode(), 1_000, chance.randrange(2**32), mutate).decode(
            "utf-8", "replace"
        )
    return mutate((old or "?").encode(), 100).decode("utf-8", "replace")
