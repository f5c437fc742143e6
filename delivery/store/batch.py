"""A list of sends as the parameters of ``delivery_append``. Everything here runs once a message: it is the hot path."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import lru_cache
from itertools import accumulate, chain
from typing import Any

from msgspec.structs import astuple

from delivery.store.interface import Send
from delivery.store.operation import numbers, uuids

_HASH_BYTES = 16


def split(sends: Sequence[Send]) -> Iterator[Sequence[Send]]:
    """Cut a list into runs that one statement can judge: no (sender, message_id) twice, and the counted sends of one device
    in one conversation ascend. A well-behaved list is one run."""
    start = 0
    seen: set[tuple[str, str]] = set()
    last: dict[tuple[str, str], int] = {}
    for i, send in enumerate(sends):
        key = (send.message_id, send.sender)
        if key in seen or (send.seq_num and send.seq_num <= last.get((send.device, send.conversation), 0)):
            yield sends[start:i]
            start = i
            seen.clear()
            last.clear()
        seen.add(key)
        if send.seq_num:
            last[send.device, send.conversation] = send.seq_num
    yield sends[start:] if start else sends


@lru_cache(maxsize=256)
def _quoted(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _lengths(values: tuple[bytes | None, ...]) -> str | None:
    """Lengths of an optional column; None when no row has it."""
    if not any(value is not None for value in values):
        return None
    return "{" + ",".join("NULL" if value is None else str(len(value)) for value in values) + "}"


def parameters(writer: str, sends: Sequence[Send], now: int, lock_ms: int, skip: bool) -> tuple[Any, ...]:
    """The parameters of :data:`APPEND`: arrays as text, all bytes as one value."""
    conversation, sender, device, message_id, kind, content, body_hash, sent_at, seq_num, extra, envelopes = (
        zip(*map(astuple, sends), strict=True)
    )
    extra_lengths, envelope_lengths = _lengths(extra), _lengths(envelopes)
    contents = list(map(len, content))
    if extra_lengths is None and envelope_lengths is None:
        parts = chain.from_iterable(zip(body_hash, content, strict=True))
        sizes: Iterator[int] = (_HASH_BYTES + size for size in contents)
    else:
        rows = [
            (h, c, x or b"", e or b"")
            for h, c, x, e in zip(body_hash, content, extra, envelopes, strict=True)
        ]
        parts = chain.from_iterable(rows)
        sizes = (sum(map(len, row)) for row in rows)
    offsets = list(accumulate(sizes, initial=0))
    offsets.pop()
    return (
        writer,
        now,
        lock_ms,
        skip,
        uuids(conversation),
        uuids(sender),
        uuids(device),
        uuids(message_id),
        "{" + ",".join(map(_quoted, kind)) + "}",
        numbers(sent_at),
        numbers(seq_num),
        b"".join(parts),
        numbers(offsets),
        numbers(contents),
        extra_lengths,
        envelope_lengths,
    )


APPEND = """SELECT o_row, o_seq, o_outcome, o_at, o_expected FROM delivery_append(
    %s::uuid, %s::bigint, %s::int, %s::boolean, %s::uuid[], %s::uuid[], %s::uuid[], %s::uuid[], %s::text[], %s::bigint[],
    %s::bigint[], %b::bytea, %s::int[], %s::int[], %s::int[], %s::int[])"""
