"""Between tests that commit, the database is emptied: Django's way truncates every table and makes permissions and roles anew,
which takes longer than most tests. Here the first time is Django's, and from then on rows are deleted where there are any; where
what Django would make anew is not as it was, Django's way is taken again."""

from __future__ import annotations

from typing import Any

from django.db import connections
from django.test import TransactionTestCase

_django: Any = TransactionTestCase._fixture_teardown  # type: ignore[attr-defined]


class _Emptied:
    """What is known of one database."""

    def __init__(self, alias: str) -> None:
        self._connection = connections[alias]
        tables = self._connection.introspection.django_table_names(only_existing=True, include_views=False)
        self._quoted = {name: self._connection.ops.quote_name(name) for name in tables}
        kept = self._with_rows(self._quoted)
        self._emptied = self._quoted.keys() - kept
        self._digests = " UNION ALL ".join(
            # Whatever the order of its rows.
            f"SELECT count(*), sum(hashtextextended(t::text, 0)) FROM {self._quoted[name]} t"
            for name in sorted(kept)
        )
        self._kept = self._ask(self._digests) if kept else []

    def empty(self) -> bool:
        """False: it takes Django's way."""
        if self._digests and self._ask(self._digests) != self._kept:
            return False
        if found := self._with_rows(self._emptied):
            with self._connection.cursor() as cursor:
                # As a replica applies them: in any order, without triggers.
                deletes = "; ".join(f"DELETE FROM {self._quoted[name]}" for name in sorted(found))
                cursor.execute(f"BEGIN; SET LOCAL session_replication_role = replica; {deletes}; COMMIT")
        return True

    def _with_rows(self, names: Any) -> set[str]:
        found = " UNION ALL ".join(
            f"(SELECT '{name}' FROM {self._quoted[name]} LIMIT 1)" for name in sorted(names)
        )
        return {name for (name,) in self._ask(found)}

    def _ask(self, question: str) -> list[tuple[Any, ...]]:
        with self._connection.cursor() as cursor:
            cursor.execute(question)
            return cursor.fetchall()


_known: dict[str, _Emptied] = {}


def _teardown(case: TransactionTestCase) -> None:
    aliases = list(case._databases_names(include_mirrors=False))
    if all(alias in _known for alias in aliases) and all(_known[alias].empty() for alias in aliases):
        return
    _django(case)
    _known.update((alias, _Emptied(alias)) for alias in aliases)


def install() -> None:
    TransactionTestCase._fixture_teardown = _teardown  # type: ignore[method-assign]
