"""Byte-wise search of a whole database: every table that the catalog knows, whoever made it, each row as PostgreSQL shows it.

The rows come here, a table in one statement, and nobody keeps them: however many people are searched for, a table is read once.
Nothing in here knows what a table is for.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator
from typing import Final

from django.db import connections, transaction
from psycopg import sql

from whatsapp.infra.needles import Label, Needles

#: Findings of one table and label that are told.
MOST: Final = 20
_BATCH: Final = 1 << 20  # bytes
_TAB: Final = b"\t"

_TABLES: Final = """
SELECT n.nspname, c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind IN ('r', 'm') AND n.nspname NOT LIKE 'pg\\_%%' AND n.nspname <> 'information_schema'
ORDER BY 1, 2
"""


def tables(using: str = "default") -> list[tuple[str, str]]:
    """(schema, table) of everything that holds rows."""
    with connections[using].cursor() as cursor:
        cursor.execute(_TABLES)
        return list(cursor.fetchall())


def search(
    needles: Needles[Label], *, only: Collection[str] | None = None, using: str = "default"
) -> Iterator[tuple[str, Label]]:
    """(place, label) of what is found, the place as ``schema.table (page,line)``; ``only``: names of tables."""
    shown = needles.shown()
    for schema, table in tables(using):
        if only is None or table in only:
            yield from _search_table(shown, schema, table, using)


def _search_table(needles: Needles[Label], schema: str, table: str, using: str) -> list[tuple[str, Label]]:
    told: Counter[Label] = Counter()
    found = []
    for rows in _batches(using, schema, table):
        if not needles.every(b"".join(rows)):
            continue
        for row in rows:
            for label in needles.every(row):
                told[label] += 1
                if told[label] <= MOST:
                    found.append((f"{schema}.{table} {row.partition(_TAB)[0].decode()}", label))
    return found


def _batches(using: str, schema: str, table: str) -> Iterator[list[bytes]]:
    """Each row as PostgreSQL shows it, behind its place; about so many bytes at a time."""
    query = sql.SQL("COPY (SELECT ctid, held::text FROM ONLY {} AS held) TO STDOUT").format(
        sql.Identifier(schema, table)
    )
    # A table of years takes longer than any request may, and is shown as hexadecimal only if we say so.
    with transaction.atomic(using=using), connections[using].cursor() as cursor:
        cursor.execute("SET LOCAL statement_timeout = 0")
        cursor.execute("SET LOCAL bytea_output = 'hex'")
        rows, size = [], 0
        with cursor.copy(query) as copy:
            for row in copy:
                rows.append(bytes(row))
                size += len(row)
                if size >= _BATCH:
                    yield rows
                    rows, size = [], 0
        yield rows
