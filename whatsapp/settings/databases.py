"""Where PostgreSQL is: the primary, under one address or several, a replica for reads that decide nothing, a pooler before it."""

from __future__ import annotations

import os
from typing import Any

import psycopg
from django.core.exceptions import ImproperlyConfigured

from whatsapp.infra import primary
from whatsapp.infra.postgres import KEEPALIVE, behind_pooler, guarded, parameters
from whatsapp.infra.replica import ALIAS

DATABASE_ROUTERS = ["whatsapp.infra.replica.Router"]

#: A standby that answers reads which decide nothing (docs/postgresql.md); none if empty.
REPLICA_URL = os.environ.get("REPLICA_URL", "")

#: For so long a process that hangs in a transaction, or whose machine is gone without a word, keeps rows from others (ms).
#: A bucket that copies an object within a transaction has two minutes. What may wait for longer is tried again (docs/status.md).
IDLE_MS = 180_000

if os.environ.get("DATABASE_POOLER", "") not in ("", "transaction"):
    raise ImproperlyConfigured("DATABASE_POOLER must be empty or 'transaction'.")


def database_entries(url: str, *, pool: bool, max_size: int = 10) -> dict[str, dict[str, Any]]:
    """``DATABASES``: the primary at ``url``, and the replica if there is one."""
    found = {"default": database(url, pool=pool, max_size=max_size)}
    if REPLICA_URL:
        found[ALIAS] = database(REPLICA_URL, pool=pool, max_size=max_size, name="REPLICA_URL", reads=True)
    return found


def database(
    url: str, *, pool: bool, max_size: int = 10, name: str = "DATABASE_URL", reads: bool = False
) -> dict[str, Any]:
    """One entry of ``DATABASES`` from a ``postgresql://`` URL, which may name several servers
    (:func:`whatsapp.infra.postgres.parameters`).

    With ``pool`` a process holds at most ``max_size`` connections, opened when first needed, whatever the number of
    threads: under ASGI each request runs in a thread of its own, so persistent connections would never be used again.
    ``reads``: of a server that takes no writes.
    """
    if not url.startswith(("postgres://", "postgresql://")):
        raise ImproperlyConfigured(f"{name} must be a postgresql:// URL.")
    try:
        options: dict[str, Any] = parameters(url, "prefer-standby" if reads else "read-write")
        for port in str(options.get("port", "")).split(","):
            int(port or 0)
    except (psycopg.Error, ValueError):
        # The cause would print the URL, which holds a password.
        raise ImproperlyConfigured(f"{name} cannot be read as a postgresql:// URL.") from None
    kind = psycopg.Connection if reads else guarded(options, primary.Connection, psycopg.Connection)
    entry: dict[str, Any] = {
        "ENGINE": "django.db.backends.postgresql",
        "NAME": options.pop("dbname", ""),
        "USER": options.pop("user", ""),
        "PASSWORD": options.pop("password", ""),
        "HOST": options.pop("host", ""),
        "PORT": options.pop("port", ""),
    }
    if reads:
        options.setdefault("options", "-c default_transaction_read_only=on -c statement_timeout=5000")
    elif not behind_pooler():
        # What the URL says comes behind it, and so has the last word.
        own = f" {options['options']}" if options.get("options") else ""
        options["options"] = f"-c idle_in_transaction_session_timeout={IDLE_MS}{own}"
    options.setdefault("connect_timeout", 5)
    options = {**KEEPALIVE, **options}
    if pool:
        options["pool"] = {
            "min_size": 0,
            "max_size": max_size,
            "timeout": 5,
            "max_idle": 300,
            "connection_class": kind,
            # Then the next request tries at once. The pauses of the attempts before double: after a failover of three seconds
            # requests would wait for seven.
            "reconnect_timeout": 2.0,
            "name": "replica" if reads else "django",
        }
    return {
        **entry,
        "OPTIONS": options,
        "CONN_MAX_AGE": 0,
        "CONN_HEALTH_CHECKS": pool,
        # A cursor that outlives its transaction needs the session that made it.
        "DISABLE_SERVER_SIDE_CURSORS": behind_pooler(),
    }
