"""What staff see of codes and prefixes: one statement, whatever there is."""

from __future__ import annotations

from typing import Final, NamedTuple

from django.db import connection

from accounts.guards import traffic
from accounts.guards.traffic import State
from accounts.limits import DAY_MS
from accounts.models import SmsPrefix
from whatsapp.infra.limits import LIMITS

#: Prefixes on a page: those on which most was spent.
MOST: Final = 200

_TRAFFIC: Final = """
SELECT e.prefix, coalesce(sum(e.units), 0) AS spent,
       count(*) FILTER (WHERE e.kind = 'sent'),
       count(*) FILTER (WHERE e.kind = 'sent' AND judged) - count(*) FILTER (WHERE e.kind = 'failed' AND judged),
       count(*) FILTER (WHERE e.kind = 'verified' AND judged)
FROM accounts_smsevent e LEFT JOIN accounts_smsprefix p ON p.prefix = e.prefix,
LATERAL (SELECT e.at > greatest(%(since)s, coalesce(p.blocked_until, 0)) AND e.at <= %(settled)s AS judged) AS j
WHERE e.at > %(day)s AND e.prefix LIKE %(begin)s
GROUP BY e.prefix ORDER BY spent DESC, e.prefix LIMIT %(most)s
"""


class Row(NamedTuple):
    prefix: str
    state: State
    spent: int  # units of 24 hours
    sent: int  # codes of 24 hours
    judged: int  # codes by which it is judged
    back: int  # of these
    percent: int | None
    blocked_until: int | None
    mode: str


def rows(now: int, begin: str = "") -> list[Row]:
    """Prefixes that begin with these digits and to which codes went out within 24 hours, the dearest first, at most ``MOST``."""
    values = {
        "since": now - traffic.WINDOW_MS, "settled": now - LIMITS.code_ttl_ms, "day": now - DAY_MS, "begin": f"{begin}%",
        "most": MOST,
    }  # fmt: skip
    with connection.cursor() as cursor:
        cursor.execute(_TRAFFIC, values)
        found = cursor.fetchall()
    switches = {row.prefix: row for row in SmsPrefix.objects.exclude(mode="auto", blocked_until=None)[:5_000]}
    everything = traffic.spent("", now) >= LIMITS.sms_units_per_day
    return [_row(*values, now=now, switches=switches, everything=everything) for values in found]


def _row(
    prefix: str, spent: int, sent: int, judged: int, back: int, *, now: int, switches: dict[str, SmsPrefix],
    everything: bool,
) -> Row:  # fmt: skip
    over = [switches[name] for end in range(len(prefix), -1, -1) if (name := prefix[:end]) in switches]
    own = switches.get(prefix)
    until = (own.blocked_until if own is not None else None) or 0
    if any(row.mode == SmsPrefix.Mode.OFF for row in over):
        state = State.OFF
    elif everything or spent >= LIMITS.sms_units_per_prefix_day:
        state = State.SPENT
    elif any(row.mode == SmsPrefix.Mode.ON for row in over):
        state = State.NORMAL
    elif until > now:
        state = State.BLOCKED
    else:
        state = traffic.by_share(judged, back, after_block=until > now - traffic.WINDOW_MS)
    percent = back * 100 // judged if judged else None
    mode = next((row.mode for row in over if row.mode != SmsPrefix.Mode.AUTO), "auto")
    return Row(prefix, state, spent, sent, judged, back, percent, until if until > now else None, mode)


def switches() -> list[SmsPrefix]:
    """What staff have set, everything first."""
    return list(SmsPrefix.objects.exclude(mode=SmsPrefix.Mode.AUTO).order_by("prefix")[:MOST])
