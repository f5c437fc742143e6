"""The asynchronous pool of the gateways and the sweep. Django code uses Django's own connections."""

from __future__ import annotations

from psycopg import AsyncConnection
from psycopg_pool import AsyncConnectionPool

#: An append waits for no lock longer than this: the store splits the batch instead.
#: Statements are prepared and few: planning them anew for each array costs more than a plan for any.
OPTIONS = (
    "-c lock_timeout=2000 -c statement_timeout=10000 -c idle_in_transaction_session_timeout=10000"
    " -c plan_cache_mode=force_generic_plan"
)
GETTING_S = 3.0


async def _configure(connection: AsyncConnection[tuple[object, ...]]) -> None:
    connection.prepare_threshold = 1


def open_pool(url: str, *, low: int = 2, high: int = 8) -> AsyncConnectionPool:
    """A pool that is not open yet (``await pool.open()``). Connections are autocommit, statements prepared at once.

    A dead connection is found by the statement that fails on it; the next caller gets a new one.
    """
    return AsyncConnectionPool(
        url,
        min_size=low,
        max_size=high,
        open=False,
        timeout=GETTING_S,
        reconnect_timeout=5.0,
        max_lifetime=3600,
        configure=_configure,
        kwargs={
            "autocommit": True,
            "options": OPTIONS,
            "connect_timeout": 3,
            "keepalives_idle": 10,
            "keepalives_interval": 5,
            "keepalives_count": 3,
            "tcp_user_timeout": 10_000,
        },
    )
