"""Reads that decide nothing, on a standby (``REPLICA_URL``).

A caller opens :func:`reads` around queries whose rows are only shown. Inside it, the ORM's queries of :data:`SHOWN` models go to
the replica if that has everything which was committed on the primary when the scope began: what this user wrote before, over
whatever process or socket, and what anybody else was told. So nobody's own write is missing and no client sees time go backwards,
and there is no state about who wrote what. It costs a small query on each server; a replica that is behind, cut off, on another
timeline, promoted or dead only means that the primary is read.

What decides anything — tokens, devices, memberships, blocks, prekeys, codes, bans, limits — is read from the primary, inside a
scope too: the router knows the models that are only shown, and no others.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, Final

from django.db import Error as DatabaseError
from django.db import connections

from whatsapp.infra import metrics

log = logging.getLogger(__name__)

ALIAS: Final = "replica"
PRIMARY: Final = "default"

#: Models whose rows may come from the replica, within a scope. Everything else is read from the primary.
SHOWN: Final = frozenset({"accounts.contact", "admin.logentry", "staff.taskrun"})

#: How long the replica may take to come to where the primary is: after a write it is behind by a round trip and a flush.
PATIENCE_S: Final = 0.03
_STEP_S: Final = 0.005
#: A replica that could not be used is left alone for so long.
REST_S: Final = 1.0

#: The place up to which WAL was written, not flushed: a receipt is committed without waiting for the disk, and is visible before.
_WHERE: Final = (
    "SELECT pg_current_wal_insert_lsn()::text, left(pg_walfile_name(pg_current_wal_insert_lsn()), 8)"
)
#: A standby that has the place, of the primary's timeline. One that receives nothing, or whose state this user may not see
#: (pg_read_all_stats), is not known to follow this primary: after a failover an old one may hold another history.
_THERE: Final = """
SELECT pg_is_in_recovery(), COALESCE(pg_last_wal_replay_lsn() >= %s::pg_lsn, false),
    (SELECT lpad(upper(to_hex(received_tli)), 8, '0') FROM pg_stat_wal_receiver WHERE status = 'streaming')
"""

_chosen: ContextVar[bool] = ContextVar("replica_chosen", default=False)
_rest_until = 0.0
_lock = threading.Lock()


def _configured() -> bool:
    return ALIAS in connections.settings


@contextmanager
def reads() -> Iterator[str]:
    """Queries in here only show something. Gives the alias of the database to read from: for raw SQL, which no router sees."""
    if _chosen.get():
        yield ALIAS
        return
    if not _configured():
        yield PRIMARY
        return
    reason = _reason_against()
    metrics.REPLICA.add(PRIMARY if reason else ALIAS, reason or "current")
    if reason:
        yield PRIMARY
        return
    token = _chosen.set(True)
    try:
        yield ALIAS
    finally:
        _chosen.reset(token)


def _reason_against() -> str:
    """Why the replica cannot be used now; empty: it has everything that is committed."""
    if time.monotonic() < _rest_until:
        return "resting"
    if connections[PRIMARY].in_atomic_block:
        return "transaction"  # what this transaction has written is on no other server
    with connections[PRIMARY].cursor() as cursor:
        cursor.execute(_WHERE)
        place, timeline = cursor.fetchone()
    try:
        return _wait(place, timeline)
    except DatabaseError as error:
        log.warning("the replica does not answer: %s", type(error).__name__)
        connections[ALIAS].close()
        _rest()
        return "away"


def _wait(place: str, timeline: str) -> str:
    deadline = time.monotonic() + PATIENCE_S
    with connections[ALIAS].cursor() as cursor:
        while True:
            cursor.execute(_THERE, [place])
            follows, there, received = cursor.fetchone()
            if not follows or received != timeline:
                _rest()
                return "another history" if follows else "no standby"
            if there:
                return ""
            if time.monotonic() > deadline:
                return "behind"
            time.sleep(_STEP_S)


def _rest() -> None:
    global _rest_until
    with _lock:
        _rest_until = time.monotonic() + REST_S


class Router:
    """Django's ``DATABASE_ROUTERS``: no opinion, which is the primary, but on what :func:`reads` lets go elsewhere."""

    def db_for_read(self, model: Any, **hints: Any) -> str | None:
        # An instance that came from the replica is no reason to read what belongs to it there.
        return ALIAS if _chosen.get() and model._meta.label_lower in SHOWN else self.db_for_write(model)

    def db_for_write(self, model: Any, **hints: Any) -> str | None:
        return PRIMARY if _configured() else None

    def allow_relation(self, one: Any, other: Any, **hints: Any) -> bool | None:
        return True if {one._state.db, other._state.db} <= {PRIMARY, ALIAS} else None

    def allow_migrate(self, db: str, app_label: str, **hints: Any) -> bool | None:
        return False if db == ALIAS else None
