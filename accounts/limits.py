"""Limits that guard money and accounts: counted in PostgreSQL, exact over a sliding window, failing closed.

Nothing is let through uncounted: when PostgreSQL does not answer, its error goes up and the caller is ``unavailable``. What was
counted more than a window ahead of now is of a clock that had jumped, and counts for nothing: nobody waits for longer than two
windows. What the limit of an account is says :func:`limit_for`.
"""

from __future__ import annotations

import hashlib
import hmac
from typing import Final

from django.conf import settings
from django.db import connection, transaction
from django.db.models import QuerySet

from accounts import own_limits
from accounts.errors import Refused
from accounts.locks import lock_hash
from accounts.models import Account, LimitHit
from whatsapp.infra.clock import now_ms
from whatsapp.infra.limits import LIMITS
from whatsapp.wire.errors import Code

HOUR_MS: Final = 3_600_000
DAY_MS: Final = 86_400_000

_COUNT: Final = """
WITH hits AS (
    SELECT at FROM accounts_limithit WHERE scope = %(scope)s AND subject = %(subject)s AND at > %(since)s
    AND at <= %(until)s ORDER BY at DESC LIMIT %(limit)s
), counted AS (
    SELECT count(*) AS number, min(at) AS oldest FROM hits
), added AS (
    INSERT INTO accounts_limithit (scope, subject, at)
    SELECT %(scope)s, %(subject)s, %(now)s FROM counted, generate_series(1, %(more)s) WHERE number <= %(limit)s - %(more)s
    RETURNING 1
)
SELECT EXISTS (SELECT FROM added), oldest FROM counted
"""


def limit_for(account: Account, name: str) -> int:
    """The value of the limit ``name`` for this account: its own, that of its class, or everybody's. Asks nothing of an account
    that has neither; an account's class is looked up once in a few seconds (``own_limits.KEPT_S``). ``name``: of a limit that is
    overridable (``whatsapp/infra/limit_table.py``)."""
    if account.own_limits is None and not account.limit_class:
        return getattr(LIMITS, name)  # type: ignore[no-any-return]
    value = own_limits.value_of(account, name, now_ms())
    return getattr(LIMITS, name) if value is None else value


def subject_hash(scope: str, subject: str) -> bytes:
    """Keyed hash of a number, address or id, so that the counters hold no personal data."""
    return hmac.digest(settings.SECRET_KEY.encode(), f"limit:{scope}:{subject}".encode(), hashlib.sha256)


def count(*, scope: str, subject: str, limit: int, window_ms: int, now: int, number: int = 1) -> None:
    """Count one event, or ``number`` at once, or raise :class:`Refused` (``rate_limited``) when with them more than ``limit``
    were counted within ``window_ms``.

    Commits by itself unless the caller is in a transaction; a refused attempt is not counted. ``limit`` 0 refuses always.
    """
    hashed = subject_hash(scope, subject)
    with transaction.atomic(), connection.cursor() as cursor:
        # A statement of its own: the next one's snapshot must be younger than the lock, or two requests at once both see room.
        lock_hash(hashed)
        cursor.execute(
            _COUNT,
            {
                "scope": scope,
                "subject": hashed,
                "since": now - window_ms,
                "until": now + window_ms,
                "limit": limit,
                "now": now,
                "more": number,
            },
        )
        added, oldest = cursor.fetchone()
    if not added:
        wait = (oldest if oldest is not None else now) + window_ms - now
        raise Refused(
            Code.RATE_LIMITED, "Too many requests of this kind; try again later.", retry_after_ms=max(wait, 1)
        )


def wait(*, scope: str, subject: str, limit: int, window_ms: int, now: int) -> int:
    """How long (ms) until one more event would be within ``limit``, 0 when it is now; counts nothing. ``limit`` 0 waits always.

    For events that only turn out later to count (:func:`note`); the caller holds a lock of the subject from here to there.
    """
    if limit <= 0:
        return window_ms
    hits = _hits(scope, subject, window_ms, now)
    # The one that must have left the window before there is room.
    last = hits.order_by("-at").values_list("at", flat=True)[limit - 1 : limit].first()
    return 0 if last is None else max(last + window_ms - now, 1)


def latest(*, scope: str, subject: str, window_ms: int, now: int, most: int) -> list[int]:
    """When the newest of the counted events within ``window_ms`` were (ms), the newest first, at most so many."""
    hits = _hits(scope, subject, window_ms, now)
    return list(hits.order_by("-at").values_list("at", flat=True)[:most])


def _hits(scope: str, subject: str, window_ms: int, now: int) -> QuerySet[LimitHit]:
    return LimitHit.objects.filter(
        scope=scope, subject=subject_hash(scope, subject), at__gt=now - window_ms, at__lte=now + window_ms
    )


def note(*, scope: str, subject: str, now: int) -> None:
    """Count one event, whatever the limit."""
    LimitHit.objects.create(scope=scope, subject=subject_hash(scope, subject), at=now)
