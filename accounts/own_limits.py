"""Limits that are not everybody's: what an account has of its own, over what its class has (ADR 0145).

Rows are written by ``services/limit_overrides.py``. An account carries its own in its row (``Account.own_limits``): REST, which
has read the account anyhow, asks nothing more, and a gateway gets them with the question that it asks of each session.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Final, NamedTuple

import msgspec
from psycopg_pool import AsyncConnectionPool

from accounts.models import Account, LimitOverride
from whatsapp.infra.limit_classes import CLASSES
from whatsapp.infra.limit_table import TABLE
from whatsapp.infra.limits import LIMITS, Limits

#: A value and until when it holds (ms; None: for good).
Value = tuple[int, int | None]

#: How long a process goes by the rows of a class without looking.
KEPT_S: Final = 2.0

#: Of a row ``account``: JSON text of :class:`_Found`; null for all who have what everybody has.
OWN_LIMITS: Final = """CASE WHEN account.limit_class <> '' OR account.own_limits IS NOT NULL THEN jsonb_build_object(
    'class', account.limit_class, 'own', account.own_limits, 'rows', (
        SELECT jsonb_object_agg(other.name, jsonb_build_array(other.value, other.until)) FROM accounts_limitoverride other
        WHERE other.scope = 'class' AND other.subject = account.limit_class AND account.limit_class <> '')
)::text END"""

_ASK: Final = f"""
SELECT account.id::text, {OWN_LIMITS} FROM accounts_account account WHERE account.id = ANY(%s::uuid[])
"""  # noqa: S608  (a constant)


class _Found(msgspec.Struct):
    limit_class: str = msgspec.field(name="class", default="")
    own: dict[str, Value] | None = None
    rows: dict[str, Value] | None = None


_decode: Final = msgspec.json.Decoder(_Found).decode


class Given(NamedTuple):
    """What one account has. ``until``: when a value of it ends (ms), the first; None: none does."""

    limits: Limits
    limit_class: str
    until: int | None


EVERYBODYS: Final = Given(LIMITS, "", None)


def given(text: str | None, now: int) -> Given:
    """What :data:`OWN_LIMITS` says, at ``now`` (ms). Names that are no limits any more are passed over."""
    if text is None:
        return EVERYBODYS
    found = _decode(text)
    values = dict(CLASSES[found.limit_class].values) if found.limit_class in CLASSES else {}
    ends: list[int] = []
    for rows in (found.rows or {}, found.own or {}):
        for name, (value, until) in rows.items():
            if _holds(name, until, now):
                values[name] = value
                if until is not None:
                    ends.append(until)
    return Given(replace(LIMITS, **values), found.limit_class, min(ends, default=None))


def _holds(name: str, until: int | None, now: int) -> bool:
    return name in TABLE and (until is None or until > now)


async def ask(pool: AsyncConnectionPool, users: Sequence[str]) -> dict[str, str | None]:
    """For each of these users what :func:`given` takes. Raises psycopg's errors."""
    async with pool.connection() as connection:
        cursor = await connection.execute(_ASK, [list(users)])
        return dict(await cursor.fetchall())


# -- over REST --------------------------------------------------------------------------------------------------------------


_classes: Final[dict[str, tuple[float, dict[str, Value]]]] = {}


def value_of(account: Account, name: str, now: int) -> int | None:
    """Another value of a limit than everybody's, or None."""
    for rows in _rows(account):
        found = rows.get(name)
        if found is not None and _holds(name, found[1], now):
            return found[0]
    known = CLASSES.get(account.limit_class)
    return known.values.get(name) if known is not None else None


def _rows(account: Account) -> Iterator[Mapping[str, Value]]:
    """The account's before its class's, which are only looked up when needed."""
    if account.own_limits:
        yield account.own_limits
    if account.limit_class:
        yield _of_class(account.limit_class)


def _of_class(limit_class: str) -> dict[str, Value]:
    at = time.monotonic()
    known = _classes.get(limit_class)
    if known is None or at - known[0] > KEPT_S:
        rows = LimitOverride.objects.filter(scope=LimitOverride.Scope.CLASS, subject=limit_class)
        known = (
            at,
            {name: (value, until) for name, value, until in rows.values_list("name", "value", "until")},
        )
        _classes[limit_class] = known
    return known[1]


def forget_classes() -> None:
    """What this process knows of classes."""
    _classes.clear()
