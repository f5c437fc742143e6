"""The end of events by age."""

from __future__ import annotations

from delivery.store.operation import Operation, Query

_EXPIRE = "SELECT delivery_expire(%s::bigint, %s::bigint)"


def expire(now: int, retention_ms: int, limit: int) -> Operation[int]:
    """See :meth:`Store.expire`."""
    rows = yield Query(_EXPIRE, (now - retention_ms, limit))
    return rows[0][0]
