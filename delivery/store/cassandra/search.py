"""Byte-wise search of the keyspace: every table that the cluster knows in it, every cell of every row.

The rows come here, a page at a time. One call looks for so long and says where it stopped, so that no wait is without a bound.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from typing import Any, Final

from delivery.store.cassandra.documents import Documents
from delivery.store.cassandra.session import Cassandra
from whatsapp.infra.needles import Label, Needles

#: Of one call, seconds.
CALL_S: Final = 20.0
_ROWS: Final = 500
_NAME: Final = re.compile(r"[a-z0-9_]+")


async def tables(db: Cassandra, documents: Documents) -> list[str]:
    """Names of the tables of the keyspace."""
    del documents
    rows = await db.rows(
        "SELECT table_name FROM system_schema.tables WHERE keyspace_name = ?", db.keyspace.strip('"')
    )
    return sorted(row[0] for row in rows)


async def search(
    db: Cassandra, documents: Documents, needles: Needles[Label], table: str, state: bytes | None
) -> tuple[list[Label], bytes | None]:
    """Labels of what is found in a part of a table, again for each row that has it, and where to go on (None: all
    is read). ``state``: where the last call has stopped, None: at the beginning."""
    del documents
    if not _NAME.fullmatch(table):
        raise ValueError(f"{table[:40]!r} is no table")
    found: list[Label] = []
    end = time.monotonic() + CALL_S
    while True:
        rows, state = await db.page(f"SELECT * FROM $.{table}", state, _ROWS)
        for row in rows:
            found += needles.every(b"\0".join(_cells(row)))
        if state is None or time.monotonic() > end:
            return found, state


def _cells(value: Any) -> Iterator[bytes]:
    if isinstance(value, bytes | bytearray | memoryview):
        yield bytes(value)
    elif isinstance(value, dict):
        yield from _cells(list(value.items()))
    elif isinstance(value, list | tuple | set | frozenset):
        for one in value:
            yield from _cells(one)
    elif value is not None:
        yield str(value).encode()
