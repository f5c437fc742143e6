"""What writers have stored and not yet told anybody, and how far they are under each epoch (R2-R4)."""

from __future__ import annotations

from typing import Final

from delivery.store.operation import Operation, Query
from delivery.store.values import OutboxRow

KEEP_MS = 2 * 60 * 60 * 1000
REPLAY_MS = 10 * 60 * 1000

# A writer's rows ascend in time, since it has one append in flight: the scan for the start of the window goes backwards from
# its newest row and stops at the first that is too old.
_OPEN = """
WITH mark AS (
    SELECT max("row") FILTER (WHERE epoch = %(epoch)s) AS own, coalesce(max("row"), 0) AS highest
    FROM delivery_progress WHERE writer = %(writer)s::uuid
), start AS (
    SELECT coalesce(own, least(highest, coalesce((
        SELECT o."row" FROM delivery_outbox o WHERE o.writer = %(writer)s::uuid AND o.at < %(now)s::bigint - %(replay)s::bigint
        ORDER BY o."row" DESC LIMIT 1), 0))) AS "row"
    FROM mark
)
SELECT o."row", o.at, o.conversations::text[], o.seqs
FROM delivery_outbox o
WHERE o.writer = %(writer)s::uuid AND o."row" > (SELECT "row" FROM start) AND o.at >= %(now)s::bigint - %(keep)s::bigint
ORDER BY o."row" LIMIT %(limit)s::bigint"""


def outbox(writer: str, epoch: str, now: int, limit: int) -> Operation[list[OutboxRow]]:
    """See :meth:`Store.outbox`."""
    params = {
        "writer": writer,
        "epoch": epoch,
        "now": now,
        "limit": limit,
        "keep": KEEP_MS,
        "replay": REPLAY_MS,
    }
    rows = yield Query(_OPEN, params)
    return [
        OutboxRow(writer, row, at, tuple(zip(conversations, seqs, strict=True)))
        for row, at, conversations, seqs in rows
    ]


_DONE = """
INSERT INTO delivery_progress AS p (writer, epoch, "row", at) VALUES (%s::uuid, %s, %s::bigint, %s::bigint)
ON CONFLICT (writer, epoch) DO UPDATE SET "row" = excluded."row", at = excluded.at WHERE p."row" < excluded."row"
"""


def done(writer: str, epoch: str, row: int, now: int) -> Operation[None]:
    """See :meth:`Store.outbox_done`."""
    yield Query(_DONE, (writer, epoch, row, now))


# One probe of the primary key a writer, not a scan of two hours of rows.
_WRITERS = """
WITH RECURSIVE writers AS (
    (SELECT writer FROM delivery_outbox ORDER BY writer LIMIT 1)
    UNION ALL
    SELECT (SELECT o.writer FROM delivery_outbox o WHERE o.writer > w.writer ORDER BY o.writer LIMIT 1)
    FROM writers w WHERE w.writer IS NOT NULL
)
"""

_LIVE_WRITERS = (
    _WRITERS
    + """SELECT w.writer::text FROM writers w CROSS JOIN LATERAL (
    SELECT o.at FROM delivery_outbox o WHERE o.writer = w.writer ORDER BY o."row" DESC LIMIT 1) newest
WHERE newest.at >= %s::bigint"""
)


# The same question as _OPEN's, of the newest row: of most writers nothing is open, and asking each would take long.
_OPEN_WRITERS = (
    _WRITERS
    + """SELECT w.writer::text FROM writers w CROSS JOIN LATERAL (
    SELECT o."row", o.at FROM delivery_outbox o WHERE o.writer = w.writer ORDER BY o."row" DESC LIMIT 1) newest
CROSS JOIN LATERAL (
    SELECT max(p."row") FILTER (WHERE p.epoch = %(epoch)s) AS own, coalesce(max(p."row"), 0) AS highest
    FROM delivery_progress p WHERE p.writer = w.writer) mark
WHERE newest.at >= %(now)s::bigint - %(keep)s::bigint AND newest."row" > coalesce(
    mark.own, CASE WHEN newest.at < %(now)s::bigint - %(replay)s::bigint THEN mark.highest ELSE 0 END)"""
)


def writers(now: int, epoch: str | None) -> Operation[list[str]]:
    """See :meth:`Store.outbox_writers`."""
    if epoch is None:
        return [row[0] for row in (yield Query(_LIVE_WRITERS, (now - KEEP_MS,)))]
    params = {"epoch": epoch, "now": now, "keep": KEEP_MS, "replay": REPLAY_MS}
    return [row[0] for row in (yield Query(_OPEN_WRITERS, params))]


_TRIM = (
    _WRITERS
    + """, gone AS (
    DELETE FROM delivery_outbox o USING writers w
    WHERE o.writer = w.writer AND o.at < %(before)s::bigint AND o."row" < coalesce((
        SELECT k."row" FROM delivery_outbox k WHERE k.writer = w.writer AND k.at >= %(before)s::bigint
        ORDER BY k."row" LIMIT 1), 9223372036854775807)
    RETURNING 1
), forgotten AS (
    DELETE FROM delivery_progress WHERE at < %(before)s::bigint
)
SELECT count(*) FROM gone"""
)


def trim(now: int) -> Operation[int]:
    """See :meth:`Store.trim_outbox`."""
    rows = yield Query(_TRIM, {"before": now - KEEP_MS})
    return rows[0][0]


# A writer's rows ascend in time: its first one is its oldest.
OLD_WRITERS: Final = (
    _WRITERS
    + """SELECT 1 FROM writers w CROSS JOIN LATERAL (
    SELECT o.at FROM delivery_outbox o WHERE o.writer = w.writer ORDER BY o."row" LIMIT 1) oldest
WHERE oldest.at < %s::bigint"""
)
