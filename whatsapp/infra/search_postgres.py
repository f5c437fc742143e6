"""Byte-wise search of a whole database: every table that the catalog knows, whoever made it, each row as PostgreSQL shows it.

The rows stay on the server; what comes back are places. Nothing in here knows what a table is for.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import Any, Final

from django.db import connections, transaction
from psycopg import sql

from whatsapp.infra.needles import Needles

#: Findings of one table and kind that are told.
MOST: Final = 20

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
    needles: Needles, *, only: Collection[str] | None = None, using: str = "default"
) -> Iterator[tuple[str, str]]:
    """(place, kind) of what is found, the place as ``schema.table (page,line)``; ``only``: names of tables."""
    for schema, table in tables(using):
        if only is None or table in only:
            yield from _search_table(needles, schema, table, using)


def _search_table(needles: Needles, schema: str, table: str, using: str) -> Iterator[tuple[str, str]]:
    for kind, pattern in needles.text_patterns().items():
        query = sql.SQL("SELECT ctid::text FROM ONLY {} AS held WHERE held::text ~* %s LIMIT {}").format(
            sql.Identifier(schema, table), sql.Literal(MOST)
        )
        for (place,) in _rows(using, query, pattern):
            yield f"{schema}.{table} {place}", kind


def _rows(using: str, query: sql.Composed, pattern: str) -> list[Any]:
    # A table of years takes longer than any request may, and is shown as hexadecimal only if we say so.
    with transaction.atomic(using=using), connections[using].cursor() as cursor:
        cursor.execute("SET LOCAL statement_timeout = 0")
        cursor.execute("SET LOCAL bytea_output = 'hex'")
        cursor.execute(query, [pattern])
        return list(cursor.fetchall())
