"""How PostgreSQL is reached, and the asynchronous pool of gateways and the sweep. Django code uses Django's own connections."""

from __future__ import annotations

import os
from typing import Any, Final

import psycopg
from psycopg import AsyncConnection
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from psycopg_pool import AsyncConnectionPool

from whatsapp.infra import primary

#: An append waits for no lock longer than this: the store splits the batch instead.
#: Statements are prepared and few: planning them anew for each array costs more than a plan for any.
OPTIONS = (
    "-c lock_timeout=2000 -c statement_timeout=10000 -c idle_in_transaction_session_timeout=10000"
    " -c plan_cache_mode=force_generic_plan"
)
GETTING_S = 3.0

#: A server that is gone without a word is noticed: after 10 s by what was sent to it, after 25 s by who waits for its answer.
KEEPALIVE: Final = {
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 10_000,
}


def behind_pooler() -> bool:
    """``DATABASE_POOLER=transaction``: a pooler such as pgbouncer gives each transaction another server's session, so nothing
    may be kept in one: no prepared statements, no settings at the start. docs/postgresql.md says what the pooler sets instead."""
    return os.environ.get("DATABASE_POOLER", "") == "transaction"


def parameters(url: str, session: str = "read-write") -> dict[str, Any]:
    """What libpq is to be told for a ``postgresql://`` URL, which may name several servers, ``host1:port1,host2:port2``: they are
    tried in turn, and only one that takes writes will do, so that a promoted standby is found and a standby is never taken for
    the primary. ``target_session_attrs`` in the URL overrules ``session``. Raises ``psycopg.ProgrammingError``."""
    found = conninfo_to_dict(url)
    if not behind_pooler() or "," in str(found.get("host", "")):
        found.setdefault("target_session_attrs", session)
    return found


def guarded(found: dict[str, Any], proven: type[Any], plain: type[Any]) -> type[Any]:
    """The class of connections to what :func:`parameters` gave: of several servers each has to prove that it is the primary."""
    if not primary.several(found):
        return plain
    primary.guard.start(make_conninfo(**{**found, **KEEPALIVE}))
    return proven


async def _configure(connection: AsyncConnection[tuple[object, ...]]) -> None:
    connection.prepare_threshold = None if behind_pooler() else 1


def open_pool(url: str, *, low: int = 2, high: int = 8) -> AsyncConnectionPool:
    """A pool that is not open yet (``await pool.open()``). Connections are autocommit, statements prepared at once (not
    :func:`behind_pooler`).

    A dead connection is found by the statement that fails on it; the next caller gets a new one.
    """
    found = parameters(url)
    return AsyncConnectionPool(
        make_conninfo(**found),
        connection_class=guarded(found, primary.AsyncConnection, psycopg.AsyncConnection),
        min_size=low,
        max_size=high,
        open=False,
        timeout=GETTING_S,
        reconnect_timeout=5.0,
        max_lifetime=3600,
        configure=_configure,
        kwargs={
            "autocommit": True,
            **({} if behind_pooler() else {"options": OPTIONS}),
            "connect_timeout": 3,
            **KEEPALIVE,
        },
    )
