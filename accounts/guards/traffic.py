"""Codes that were sent and codes that came back, by prefix: what SMS pumping is seen by. Who earns by messages to numbers of
their own has no use for the codes.

A code counts in the conversion once it cannot come back any more (``LIMITS.code_ttl_ms``): those on their way say nothing yet.
What spends faster than that is seen meets the caps, which are exact: far from a cap requests spend beside each other, near it one
behind the other (:func:`spend`).
"""

from __future__ import annotations

from enum import StrEnum
from typing import Final, NamedTuple

from django.db import OperationalError, connection, transaction
from psycopg.errors import LockNotAvailable

from accounts.guards import prefixes, slots
from accounts.limits import DAY_MS, HOUR_MS, subject_hash
from accounts.locks import lock_hash
from accounts.models import SmsEvent, SmsPrefix
from whatsapp.infra.limits import LIMITS

#: The conversion is that of the codes of so long.
WINDOW_MS: Final = 6 * HOUR_MS
#: Messages before a cap from which on they are counted one behind the other: more than all processes send at once.
_NEAR: Final = 1_000
#: How long one waits for who spends before it (ms): that one may be in a transaction that ends when its message was handed over.
_WAIT_MS: Final = 3_000


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


_BLOCK: Final = """
INSERT INTO accounts_smsprefix AS p (prefix, mode, blocked_until, reason, by, changed_at)
VALUES (%s, 'auto', %s, 'Few of the codes came back.', 'automatic', %s)
ON CONFLICT (prefix) DO UPDATE SET blocked_until = excluded.blocked_until
"""


class Spent(Exception):
    """A cap is reached: ``prefix``, or "" of everything."""

    def __init__(self, prefix: str) -> None:
        super().__init__("a cap of spending is reached")
        self.prefix = prefix


class Busy(Exception):
    """Others spend what is left, and it is not known yet whether anything will be."""


class _NearCap(Exception):
    def __init__(self, name: str) -> None:
        super().__init__()
        self.name = name


def spend(phone: str, now: int) -> None:
    """Write down that a code goes out: called before it does, so what is not counted is not sent. No cap is overrun, however many
    come at once: whoever is near one waits until all who spend have committed, and keeps others out until it has.

    Raises :class:`Spent`, :class:`Busy`, and what :func:`prefixes.price` does.
    """
    prefix = prefixes.prefix_of(phone)
    if not prefix:
        return
    units = prefixes.price(phone)
    alone: set[str] = set()
    while True:
        try:
            _spend(prefix, units, now, alone)
        except _NearCap as near:
            alone.add(near.name)
        else:
            return


def _spend(prefix: str, units: int, now: int, alone: set[str]) -> None:
    """One try. A refusal gives the locks back, in a transaction of the caller too: they are those of a savepoint."""
    caps = _caps(prefix)
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("SELECT set_config('lock_timeout', %s, true)", [str(_WAIT_MS)])
        try:
            for name in caps:
                lock_hash(subject_hash("sms_units", name), shared=name not in alone)
        except OperationalError as error:
            if not isinstance(error.__cause__, LockNotAvailable):
                raise
            raise Busy from None
        cursor.execute("SET LOCAL lock_timeout TO DEFAULT")
        for name, most in caps.items():
            total = spent(name, now) + units
            if total > most:
                raise Spent(name)
            if name not in alone and total + _NEAR * units > most:
                raise _NearCap(name)
        SmsEvent.objects.create(prefix=prefix, at=now, kind="sent", units=units)


def _caps(prefix: str) -> dict[str, int]:
    """In the order in which their locks are taken."""
    return {"": LIMITS.sms_units_per_day, prefix: LIMITS.sms_units_per_prefix_day}


def spent(prefix: str, now: int) -> int:
    """Units of the last 24 hours: of one prefix, or "" of all."""
    return slots.sums(prefix, now - DAY_MS).units


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
    for name, most in _caps(prefix).items():
        if spent(name, now) + units > most:
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
    found = slots.sums(prefix, since, now - LIMITS.code_ttl_ms)
    return by_share(found.sent - found.failed, found.verified, after_block=after_block), ended


def by_share(number: int, back: int, *, after_block: bool) -> State:
    """What ``back`` of ``number`` codes that came back say. ``after_block``: one ended within ``WINDOW_MS``."""
    state = State.CHALLENGED if after_block else State.NORMAL
    if number < LIMITS.sms_judged_from:
        return state
    if back * 100 < LIMITS.sms_blocked_percent * number:
        return State.BLOCKED
    if back * 100 < LIMITS.sms_challenged_percent * number:
        return State.CHALLENGED
    if back * 100 < LIMITS.sms_slowed_percent * number and not after_block:
        return State.SLOWED
    return state
