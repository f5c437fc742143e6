"""Codes that were sent and codes that came back, by prefix: what SMS pumping is seen by. Who earns by messages to numbers of
their own has no use for the codes.

A code counts in the conversion once it cannot come back any more (``LIMITS.code_ttl_ms``): those on their way say nothing yet.
What spends faster than that is seen meets the caps. Sums are of rows that others have committed: what is being sent at this
moment may go over a cap by as many messages as all processes send at once (``SMS_AT_ONCE`` each).
"""

from __future__ import annotations

from enum import StrEnum
from typing import Final, NamedTuple

from django.db import connection
from django.db.models import Sum

from accounts.guards import prefixes
from accounts.limits import DAY_MS, HOUR_MS
from accounts.models import SmsEvent, SmsPrefix
from whatsapp.infra.limits import LIMITS

#: The conversion is that of the codes of so long.
WINDOW_MS: Final = 6 * HOUR_MS


class State(StrEnum):
    NORMAL = "normal"
    SLOWED = "slowed"  # few codes an hour
    CHALLENGED = "challenged"  # and each only for who solves something
    BLOCKED = "blocked"  # none, for a time
    OFF = "off"  # none, by staff
    SPENT = "spent"  # none until the day's money is less


class Judged(NamedTuple):
    state: State
    prefix: str  # of the number, or of the switch
    wait_ms: int = 0  # until it may be otherwise


_SHARE: Final = """
SELECT count(*) FILTER (WHERE kind = 'sent') - count(*) FILTER (WHERE kind = 'failed'), count(*) FILTER (WHERE kind = 'verified')
FROM accounts_smsevent WHERE prefix = %s AND at > %s AND at <= %s
"""
_BLOCK: Final = """
INSERT INTO accounts_smsprefix AS p (prefix, mode, blocked_until, reason, by, changed_at)
VALUES (%s, 'auto', %s, 'Few of the codes came back.', 'automatic', %s)
ON CONFLICT (prefix) DO UPDATE SET blocked_until = excluded.blocked_until
"""


def sent(phone: str, now: int) -> None:
    """A code goes out: called before it does, so what is not counted is not sent."""
    prefix = prefixes.prefix_of(phone)
    if prefix:
        SmsEvent.objects.create(prefix=prefix, at=now, kind="sent", units=prefixes.price(phone))


def verified(phone: str, sent_at: int) -> None:
    _note(phone, sent_at, "verified")


def failed(phone: str, sent_at: int) -> None:
    """The network did not take it. It stays in what was spent: whether it went out after all is not known."""
    _note(phone, sent_at, "failed")


def _note(phone: str, at: int, kind: str) -> None:
    prefix = prefixes.prefix_of(phone)
    if prefix:
        SmsEvent.objects.create(prefix=prefix, at=at, kind=kind)


def judge(phone: str, now: int) -> Judged:
    """What is to be done about a code to this number; writes down a block that begins."""
    prefix = prefixes.prefix_of(phone)
    if not prefix:
        return Judged(State.NORMAL, "")
    rows = {row.prefix: row for row in SmsPrefix.objects.filter(prefix__in=prefixes.beginnings(phone))}
    off = next((row for row in rows.values() if row.mode == SmsPrefix.Mode.OFF), None)
    if off is not None:
        return Judged(State.OFF, off.prefix, HOUR_MS)
    units = prefixes.price(phone)
    day = SmsEvent.objects.filter(at__gt=now - DAY_MS)
    for rows_of, most, name in (
        (day.filter(prefix=prefix), LIMITS.sms_units_per_prefix_day, prefix),
        (day, LIMITS.sms_units_per_day, ""),
    ):
        if (rows_of.aggregate(spent=Sum("units"))["spent"] or 0) + units > most:
            return Judged(State.SPENT, name, HOUR_MS)
    if any(row.mode == SmsPrefix.Mode.ON for row in rows.values()):
        return Judged(State.NORMAL, prefix)
    state, ended = _by_conversion(rows.get(prefix), prefix, now)
    if state is State.BLOCKED and ended <= now:
        ended = now + LIMITS.sms_block_ms
        with connection.cursor() as cursor:
            cursor.execute(_BLOCK, [prefix, ended, now])
    return Judged(state, prefix, max(ended - now, 0))


def _by_conversion(row: SmsPrefix | None, prefix: str, now: int) -> tuple[State, int]:
    """The state, and the end of the last block (ms, 0: none)."""
    ended = (row.blocked_until if row is not None else None) or 0
    if ended > now:
        return State.BLOCKED, ended
    # What was sent before a block was paid for by it; after it the prefix has to show itself for a while.
    since = max(now - WINDOW_MS, ended)
    after_block = ended > now - WINDOW_MS
    with connection.cursor() as cursor:
        cursor.execute(_SHARE, [prefix, since, now - LIMITS.code_ttl_ms])
        number, back = cursor.fetchone()
    state = State.CHALLENGED if after_block else State.NORMAL
    if number < LIMITS.sms_judged_from:
        return state, ended
    if back * 100 < LIMITS.sms_blocked_percent * number:
        return State.BLOCKED, ended
    if back * 100 < LIMITS.sms_challenged_percent * number:
        return State.CHALLENGED, ended
    if back * 100 < LIMITS.sms_slowed_percent * number and not after_block:
        return State.SLOWED, ended
    return state, ended
