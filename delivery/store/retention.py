"""The end of events by age."""

from __future__ import annotations

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
