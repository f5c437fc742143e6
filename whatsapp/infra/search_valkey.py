"""Byte-wise search of Valkey: every key of every node, its name and all that it holds, whatever its type."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Any, Final, TypeVar

from whatsapp.infra import hot_sync
from whatsapp.infra.needles import Label, Needles

T = TypeVar("T")

_PIECE: Final = 1 << 20
_MANY: Final = 500


def search(needles: Needles[Label], url: str) -> Iterator[tuple[str, Label]]:
    """(place, label) of what is found on a server or a cluster; the place names the type and the part of the key's name that says
    what it is for, without ids. Raises ``redis.RedisError``."""
    with hot_sync.client(url) as hot:
        for key, label, of in _found(needles, hot):
            yield f"{of} {shown(key)}", label


def keys_found(needles: Needles[Label], hot: Any) -> Iterator[tuple[bytes, bool]]:
    """Keys in which something is found, and whether it is in the name."""
    for key, _, of in _found(needles, hot):
        yield key, of == "key"


def _found(needles: Needles[Label], hot: Any) -> Iterator[tuple[bytes, Label, str]]:
    for node in hot_sync.each_node(hot):
        for keys in _batched(node.scan_iter(count=_MANY)):
            types = _types(node, keys)
            for key, of in zip(keys, types, strict=True):
                named = needles.every(key)
                for label in named:
                    yield key, label, "key"
                for label in needles.every_in(pieces(node, key, of)) - named:
                    yield key, label, of


def _batched(items: Iterable[T]) -> Iterator[list[T]]:
    left = iter(items)
    while found := list(islice(left, _MANY)):
        yield found


def _types(node: Any, keys: list[bytes]) -> list[str]:
    pipeline = node.pipeline(transaction=False)
    for key in keys:
        pipeline.execute_command("TYPE", key)
    return [answer.decode() if isinstance(answer, bytes) else str(answer) for answer in pipeline.execute()]


def pieces(node: Any, key: bytes, of: str) -> Iterator[bytes]:
    """What a key holds, a piece at a time; a key that is gone meanwhile holds nothing."""
    if of == "string":
        at = 0
        while piece := node.getrange(key, at, at + _PIECE - 1):
            yield piece
            at += len(piece)
    elif of == "list":
        at = 0
        while items := node.lrange(key, at, at + _MANY - 1):
            yield b"\0".join(items)
            at += len(items)
    elif of == "set":
        for items in _batched(node.sscan_iter(key, count=_MANY)):
            yield b"\0".join(items)
    elif of == "zset":
        for scored in _batched(node.zscan_iter(key, count=_MANY)):
            yield b"\0".join(member for member, _ in scored)
    elif of == "hash":
        for pairs in _batched(node.hscan_iter(key, count=_MANY)):
            yield b"\0".join(part for pair in pairs for part in pair)
    elif of == "stream":
        after = "-"
        while entries := node.xrange(key, after, "+", _MANY):
            for name, fields in entries:
                yield b"\0".join(part for pair in (fields or {}).items() for part in pair)
                after = f"({name.decode()}"


def shown(key: bytes) -> str:
    """The name of a key without what stands for a person: only letters outside of braces and short words stay."""
    text = key.decode("utf-8", "replace")
    parts = [part for part in text.replace("}", "}:").split(":") if part]
    return ":".join(part if part.isalpha() and len(part) <= 16 else "…" for part in parts)
