"""How many rows, without reading them all."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Any, Final, NamedTuple

from django.core.paginator import Paginator
from django.db import connection
from django.db.models import QuerySet

#: Counted exactly up to here (an index scan of a few ms); above, PostgreSQL's own statistics say how many.
EXACT: Final = 10_000
#: Nobody pages further by hand, and OFFSET reads what it skips.
MAX_PAGES: Final = 100

_ESTIMATES: Final = """
SELECT c.relname, GREATEST(c.reltuples, s.n_live_tup, 0)::bigint
FROM pg_class c LEFT JOIN pg_stat_user_tables s ON s.relid = c.oid
WHERE c.relname = ANY(%s) AND c.relkind IN ('r', 'i') AND pg_table_is_visible(c.oid)
"""


class Number(NamedTuple):
    value: int
    exact: bool

    def __str__(self) -> str:
        return f"{'' if self.exact else '≈ '}{self.value:,}"


def estimates(tables: Sequence[str]) -> dict[str, int]:
    """Rows of each table, or of an index, as PostgreSQL's statistics have it; one query."""
    with connection.cursor() as cursor:
        cursor.execute(_ESTIMATES, [list(tables)])
        return dict(cursor.fetchall())


def bounded(queryset: QuerySet[Any]) -> int:
    """How many rows, at most ``EXACT`` + 1."""
    return queryset.order_by()[: EXACT + 1].count()


def about(queryset: QuerySet[Any], index: str) -> Number:
    """How many rows, exactly up to ``EXACT``, else as the statistics of the partial index on just them have it."""
    number = bounded(queryset)
    return (
        Number(number, True)
        if number <= EXACT
        else Number(max(number, estimates([index]).get(index, 0)), False)
    )


def numbers(tables: Sequence[str]) -> dict[str, Number]:
    """Rows of each table: exact for small ones, estimated for large ones. Two queries at most."""
    found = estimates(tables)
    small = [table for table in tables if found.get(table, 0) <= EXACT]
    result = {table: Number(number, False) for table, number in found.items()}
    if small:
        quote = connection.ops.quote_name  # and the names are ours
        parts = [
            f"(SELECT count(*) FROM (SELECT FROM {quote(table)} LIMIT {EXACT + 1}) t)" for table in small
        ]
        with connection.cursor() as cursor:
            cursor.execute("SELECT " + ", ".join(parts))
            for table, number in zip(small, cursor.fetchone(), strict=True):
                result[table] = Number(number, number <= EXACT)
    return result


class BoundedPaginator(Paginator):
    """For tables of any size: no ``count(*)`` over more than ``EXACT`` rows, no page behind ``MAX_PAGES``."""

    template_name = "staff/pagination.html"  # unfold's hook

    @cached_property
    def count(self) -> int:
        queryset: Any = self.object_list
        number = bounded(queryset)
        if number <= EXACT or queryset.query.where:
            return number
        return max(number, estimates([queryset.model._meta.db_table]).get(queryset.model._meta.db_table, 0))

    @cached_property
    def num_pages(self) -> int:
        return min(super().num_pages, MAX_PAGES)

    @property
    def number(self) -> str:
        """For people. Of what is filtered nobody knows more than that it is more."""
        queryset: Any = self.object_list
        if self.count > EXACT and queryset.query.where:
            return f"more than {EXACT:,}"
        return str(Number(self.count, self.count <= EXACT))

    @property
    def reach(self) -> int:
        return self.num_pages * self.per_page

    @property
    def cut(self) -> bool:
        return self.reach < self.count
