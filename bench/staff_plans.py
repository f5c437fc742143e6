"""A management step beside the servers: what a page asks the database, and how PostgreSQL answers the slowest of it.

``python -m bench.staff_plans`` in the environment of a system. Standard input ``{"pages": [{"path", "cookies"}], "host",
"statements"}``; standard output ``[{"path", "queries", "database_ms", "slowest": [{"ms", "sql", "plan": [line, …]}]}]``. The page
is made in this process, for the same session; ``plan``: EXPLAIN (ANALYZE, BUFFERS).
"""

from __future__ import annotations

import json
import sys
from typing import Any, Final

import django

#: Characters of a statement that are shown.
_SHOWN: Final = 2_000


def _look(page: dict[str, Any], host: str, statements: int) -> dict[str, Any]:
    from django.db import connection
    from django.test import Client
    from django.test.utils import CaptureQueriesContext

    client = Client(headers={"host": host})
    for name, value in page["cookies"].items():
        client.cookies[name] = value
    client.get(page["path"])  # imports and caches are not what is looked for
    with CaptureQueriesContext(connection) as asked:
        status = client.get(page["path"]).status_code
    if status != 200:
        raise SystemExit(f"{page['path']} answered {status}")
    queries = [(float(query["time"]) * 1000, query["sql"]) for query in asked.captured_queries]
    slowest = sorted(queries, key=lambda query: -query[0])[:statements]
    return {
        "path": page["path"],
        "queries": len(queries),
        "database_ms": round(sum(ms for ms, _ in queries), 1),
        "slowest": [
            {"ms": ms, "sql": sql[:_SHOWN], "plan": _plan(sql)}
            for ms, sql in slowest
            if sql.lstrip("( ").startswith(("SELECT", "WITH"))
        ],
    }


def _plan(sql: str) -> list[str]:
    from django.db import connection

    with connection.cursor() as cursor:
        cursor.execute(f"EXPLAIN (ANALYZE, BUFFERS, SETTINGS) {sql.replace('%', '%%')}", [])
        return [line for (line,) in cursor.fetchall()]


if __name__ == "__main__":
    django.setup()
    wanted = json.load(sys.stdin)
    json.dump([_look(page, wanted["host"], wanted["statements"]) for page in wanted["pages"]], sys.stdout)
