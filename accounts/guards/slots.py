"""What codes have cost and what became of them, summed by spans of five minutes, so that a request reads some hundred rows
however many codes the day had.

The rows of single codes (``SmsEvent``) stay what counts: a slot is their sum, made behind them by a job, and what is in no slot
yet is read from the rows, in the same statement. So a job that is late, was killed or runs twice makes a sum dearer, never
wrong; and nobody who sends waits for a row that others count in.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from django.db import connection, transaction

from accounts.limits import DAY_MS, subject_hash
from accounts.locks import try_lock_hash

SLOT_MS: Final = 300_000
#: A span is summed when it is over for so long: who sends has committed then, whatever the clocks of processes say.
SETTLED_MS: Final = 900_000
#: Spans behind that are summed anew at each run: what comes back or fails is written down at the time of its code.
_ANEW: Final = 6


class Sums(NamedTuple):
    units: int
    sent: int
    failed: int
    verified: int


# Full slots between the first and the last are those of the table; what lies before, behind and in no slot yet are rows.
_SUMS: Final = """
WITH whole AS (
    SELECT %(first)s::bigint AS low,
           least(%(last)s::bigint, coalesce((SELECT max(slot) FROM accounts_smsslot WHERE prefix = ''), -1)) AS high
), parts AS (
    SELECT units, sent, failed, verified FROM accounts_smsslot, whole
    WHERE prefix = %(prefix)s AND slot BETWEEN whole.low AND whole.high
    UNION ALL
    SELECT coalesce(sum(e.units), 0), count(*) FILTER (WHERE e.kind = 'sent'), count(*) FILTER (WHERE e.kind = 'failed'),
           count(*) FILTER (WHERE e.kind = 'verified')
    FROM whole, LATERAL (VALUES
        (%(since)s::bigint, least(%(until)s::bigint, whole.low * %(slot)s - 1)),
        (greatest(%(since)s::bigint, greatest(whole.high + 1, whole.low) * %(slot)s - 1), %(until)s::bigint)
    ) AS edge (since, until), LATERAL (
        SELECT units, kind FROM accounts_smsevent WHERE at > edge.since AND at <= edge.until {prefix}
    ) AS e
)
SELECT sum(units)::bigint, sum(sent)::bigint, sum(failed)::bigint, sum(verified)::bigint FROM parts
"""
_OF_ONE: Final = _SUMS.format(prefix="AND prefix = %(prefix)s")
_OF_ALL: Final = _SUMS.format(prefix="")
_NO_END: Final = 2**62

# The empty prefix is everything; it has a row for each slot, so that its last one says how far the sums are.
_SUM_UP: Final = """
INSERT INTO accounts_smsslot (prefix, slot, units, sent, failed, verified)
SELECT e.prefix, s.slot, e.units, e.sent, e.failed, e.verified
FROM generate_series(%(low)s::bigint, %(high)s::bigint) AS s (slot), LATERAL (
    SELECT coalesce(prefix, '') AS prefix, coalesce(sum(units), 0) AS units, count(*) FILTER (WHERE kind = 'sent') AS sent,
           count(*) FILTER (WHERE kind = 'failed') AS failed, count(*) FILTER (WHERE kind = 'verified') AS verified
    FROM accounts_smsevent WHERE at >= s.slot * %(slot)s AND at < (s.slot + 1) * %(slot)s
    GROUP BY GROUPING SETS ((prefix), ())
) AS e
ON CONFLICT (prefix, slot) DO UPDATE SET units = excluded.units, sent = excluded.sent, failed = excluded.failed,
    verified = excluded.verified
"""


def sums(prefix: str, since: int, until: int | None = None) -> Sums:
    """Of one prefix, or "" of all, in (``since``, ``until``], ms; None: no end."""
    end = _NO_END if until is None else until
    values = {
        "prefix": prefix, "since": since, "until": end, "slot": SLOT_MS, "first": since // SLOT_MS + 1,
        "last": (end + 1) // SLOT_MS - 1,
    }  # fmt: skip
    with connection.cursor() as cursor:
        cursor.execute(_OF_ONE if prefix else _OF_ALL, values)
        return Sums(*cursor.fetchone())


def sum_up(now: int) -> int:
    """Sum the spans that are over. Returns how many are summed that were not. Two runs at once do no harm: one passes."""
    high = (now - SETTLED_MS) // SLOT_MS - 1
    with transaction.atomic(), connection.cursor() as cursor:
        if not try_lock_hash(subject_hash("sms_units", "slots")):
            return 0
        cursor.execute("SELECT max(slot) FROM accounts_smsslot WHERE prefix = ''")
        (done,) = cursor.fetchone()
        oldest = (now - DAY_MS) // SLOT_MS
        done = max(done if done is not None else oldest - 1, oldest - 1)
        if high <= done:
            return 0
        low = max(min(done + 1, high - _ANEW), oldest)
        cursor.execute(_SUM_UP, {"low": low, "high": high, "slot": SLOT_MS})
        return high - done
