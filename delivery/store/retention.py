"""The end of events by age."""

from __future__ import annotations

from typing import Final

from delivery.store import outbox
from delivery.store.operation import Operation, Query

_EXPIRE = "SELECT delivery_expire(%s::bigint, %s::bigint)"

_MENTIONS = """
DELETE FROM delivery_mention WHERE (conversation, member, seq) IN (
    SELECT conversation, member, seq FROM delivery_mention WHERE at < %s::bigint ORDER BY at LIMIT %s::bigint)"""


def expire(now: int, retention_ms: int, limit: int) -> Operation[int]:
    """See :meth:`Store.expire`."""
    rows = yield Query(_EXPIRE, (now - retention_ms, limit))
    yield Query(_MENTIONS, (now - retention_ms, limit))
    return rows[0][0]


_VANISH = "SELECT delivery_vanish(%s::bigint, %s::bigint)"


def vanish(now: int, limit: int) -> Operation[int]:
    """See :meth:`Store.vanish`."""
    rows = yield Query(_VANISH, (now, limit))
    return rows[0][0]


_OVERDUE: Final = {
    "messages": "SELECT 1 FROM delivery_head WHERE oldest_at < %s::bigint",
    "mentions": "SELECT 1 FROM delivery_mention WHERE at < %s::bigint",
    "vanishing": "SELECT 1 FROM delivery_vanishing WHERE at < %s::bigint",
    "outbox": outbox.OLD_WRITERS,
}


def overdue(kind: str, before: int, limit: int) -> Operation[int]:
    """See :meth:`Store.overdue`."""
    rows = yield Query(
        f"SELECT count(*) FROM ({_OVERDUE[kind]} LIMIT %s::bigint) found",
        (before, limit),
    )
    return rows[0][0]
