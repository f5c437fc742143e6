"""Millions of rows into the tables of a system that nobody uses: without looking at keys and references while they come, indexes
built behind them, everything counted and vacuumed at the end, as on a system that has been there for long."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final

#: For :func:`fill`: ids that begin with a time as those of the product do, so that rows lie in the order in which they were made,
#: and dice that fall the same way each time.
_TOOLS: Final = """
CREATE FUNCTION pg_temp.dice(n bigint, salt bigint, sides bigint) RETURNS bigint LANGUAGE sql IMMUTABLE AS
  $$ SELECT mod(hashint8extended(n, salt) & 9223372036854775807, sides) $$;
CREATE FUNCTION pg_temp.at_id(kind text, n bigint, at bigint) RETURNS uuid LANGUAGE sql IMMUTABLE AS
  $$ SELECT overlay(overlay(md5(kind || n::text) placing lpad(to_hex(at), 12,
    '0') || '7' from 1 for 13) placing '8' from 17 for 1)::uuid $$;
CREATE FUNCTION pg_temp.bytes(n bigint, size int) RETURNS bytea LANGUAGE sql IMMUTABLE AS
  $$ SELECT substr(decode(repeat(md5(n::text), size / 16 + 1), 'hex'), 1, size) $$;
"""
_SESSION: Final = """
SET session_replication_role = replica;
SET synchronous_commit = off;
SET statement_timeout = 0;
SET maintenance_work_mem = '1GB';
SET max_parallel_maintenance_workers = 2;
"""


@contextmanager
def _without_indexes(cursor: Any, tables: list[str]) -> Iterator[None]:
    # An index that is not ready is passed over by whoever writes; REINDEX builds it and says that it is ready again.
    cursor.execute(
        "UPDATE pg_index SET indisready = false, indisvalid = false WHERE indrelid = ANY(%s::text[]::regclass[])",
        [tables],
    )
    yield
    for table in tables:
        cursor.execute(f'REINDEX TABLE "{table}"')


def fill(functions: str, steps: Mapping[str, Iterable[str]], say: Any) -> dict[str, float]:
    """``functions``: SQL functions that statements share, in ``pg_temp``. ``steps``: table → statements that fill it. Returns
    seconds by table."""
    import time

    from django.db import connection

    took: dict[str, float] = {}
    with connection.cursor() as cursor:
        cursor.execute(_SESSION)
        cursor.execute(_TOOLS)
        cursor.execute(functions)
        for table, statements in steps.items():
            began = time.perf_counter()
            with _without_indexes(cursor, [table]):
                for statement in statements:
                    cursor.execute(statement)
            cursor.execute(f'VACUUM (ANALYZE) "{table}"')
            took[table] = round(time.perf_counter() - began, 1)
            say(f"{table}: {took[table]} s")
        cursor.execute("RESET ALL")
        cursor.execute("CHECKPOINT")
    return took


def sizes() -> dict[str, Any]:
    """``rows`` of each table that has any, and MB of the database, of its tables alone and of its indexes."""
    from django.db import connection

    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT relname, reltuples::bigint FROM pg_class WHERE relkind = 'r' AND reltuples > 0"
            " AND relnamespace = 'public'::regnamespace ORDER BY reltuples DESC"
        )
        rows = dict(cursor.fetchall())
        cursor.execute(
            "SELECT pg_database_size(current_database()), sum(pg_table_size(oid)), sum(pg_indexes_size(oid)) FROM pg_class"
            " WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace"
        )
        whole, tables, indexes = (round(int(size) / 2**20) for size in cursor.fetchone())
    return {"rows": rows, "database_mb": whole, "tables_mb": tables, "indexes_mb": indexes}
