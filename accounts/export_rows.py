"""Rows of an export as JSON Lines (one object a line, UTF-8): bytes in base64, ids as text, times in ms."""

from __future__ import annotations

import base64
import json
import uuid
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from django.db.models import QuerySet

from accounts.stores import Part


def table(path: str, rows: QuerySet[Any], **fields: str) -> Part:
    """A part with a line for each row; ``fields``: name in the line → field of the model. Read a thousand at a time."""
    names = list(fields)
    found = rows.values_list(*fields.values())
    return lines(path, (dict(zip(names, row, strict=True)) for row in found.iterator(1_000)))


def lines(path: str, rows: Iterable[Mapping[str, Any]]) -> Part:
    return Part(path, _encoded(rows))


def _encoded(rows: Iterable[Mapping[str, Any]]) -> Iterator[bytes]:
    for row in rows:
        yield json.dumps(row, ensure_ascii=False, default=_plain).encode() + b"\n"


def _plain(value: Any) -> Any:
    if isinstance(value, (bytes, memoryview, bytearray)):
        return base64.b64encode(value).decode()
    if isinstance(value, uuid.UUID):
        return str(value)
    raise TypeError(type(value).__name__)
