"""``python -m tests.fuzz.fuzzer TARGET CORPUS… [-options of libFuzzer]``: atheris looks for an input that breaks a property.

What steers it is the coverage of our Python code and, because the parsers below it are C, which outcome an input had: a new
frame, set of fields or refusal counts as new code does.
"""

from __future__ import annotations

import shlex
import sys
import zlib
from collections.abc import Callable, Iterator
from functools import partial
from types import FunctionType
from typing import Any

import atheris

with atheris.instrument_imports(
    include=["whatsapp.wire", "whatsapp.infra.websocket"], exclude=["whatsapp.wire.whatsapp_pb2"]
):
    from tests.fuzz import broken, frames, mutate, stream
    from whatsapp.wire import codec, protobuf_source

#: Outcomes that are told apart.
_MARKS = 1_024

CHECKS: dict[str, Callable[[bytes], Iterator[str]]] = {
    "json": partial(frames.check, codec.JSON),
    "protobuf": partial(frames.check, codec.PROTOBUF),
    "websocket": stream.check,
}
MUTATORS = {"json": mutate.as_json, "protobuf": mutate.as_protobuf}


def _marks() -> list[Callable[[], None]]:
    """Functions that do nothing but be covered."""
    made: list[Callable[[], None]] = []
    for _ in range(_MARKS):
        names: dict[str, Any] = {}
        exec("def mark(): pass", names)
        made.append(atheris.instrument_func(names["mark"]))
    return made


def main() -> None:
    target, *options = sys.argv[1:]
    again = [sys.executable, "-m", "tests.fuzz.fuzzer", target]
    if options[:1] == ["--broken"]:
        broken.BROKEN[options[1]].switch_on()
        again += options[:2]
        options = options[2:]
    for function in vars(protobuf_source)["_NAMES"].values():
        if isinstance(function, FunctionType) and function.__module__ is None:
            atheris.instrument_func(function)
    marks, check = _marks(), CHECKS[target]

    def one(data: bytes) -> None:
        for outcome in check(data):
            marks[zlib.crc32(f"{target} {outcome}".encode()) % _MARKS]()

    changed: dict[str, Any] = {}
    if target in MUTATORS:
        change = MUTATORS[target]
        changed["custom_mutator"] = lambda data, most, seed: change(data, most, seed, atheris.Mutate)
    # The first word is what libFuzzer starts again, by a shell, when it makes an input smaller.
    atheris.Setup([shlex.join(again), *options], one, **changed)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
