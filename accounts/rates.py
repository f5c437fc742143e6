"""Rates whose numbers are too large to keep each event: GCRA in PostgreSQL, one row a subject, exact under concurrency.

:mod:`accounts.limits` keeps every event and is exact over a sliding window, for numbers that are small. Here a burst of ``limit``
is allowed to whoever was idle, and then one in ``window_ms / limit``. A state more than two windows ahead of now is of a clock
that had jumped: who has it counts as idle. Clocks of two processes differ by less.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from django.db import connection, transaction

from accounts.limits import subject_hash
from accounts.models import Allowance

_TAKE: Final = """
INSERT INTO accounts_allowance AS known (subject, tat) VALUES (%(subject)s, %(now)s + %(step)s)
ON CONFLICT (subject) DO UPDATE SET tat = CASE
    WHEN known.tat > %(now)s + 2 * %(window)s THEN %(now)s ELSE greatest(known.tat, %(now)s)
END + %(step)s
WHERE greatest(known.tat, %(now)s) + %(step)s <= %(now)s + %(window)s OR known.tat > %(now)s + 2 * %(window)s
RETURNING 1
"""
_TAT: Final = "SELECT tat FROM accounts_allowance WHERE subject = %s"


@contextmanager
def counting() -> Iterator[None]:
    """A transaction that counts and does nothing else. Its commit does not wait for the disk, so that a row in which many count
    is held for a moment only; a crash of PostgreSQL forgets what was counted in its last half second."""
    with transaction.atomic():
        with connection.cursor() as cursor:
            cursor.execute("SET LOCAL synchronous_commit = off")
        yield


def take(*, scope: str, subject: str, limit: int, window_ms: int, now: int, number: int = 1) -> int:
    """Take one, or ``number`` at once: 0 when it was within ``limit`` in ``window_ms``, else how long (ms) until it would be, and
    nothing is taken.

    One statement, committed with the caller's transaction if there is one: then whoever asks for the same subject waits for it.
    ``limit`` 0 refuses always, and so does a ``number`` above it.
    """
    if limit <= 0 or number > limit:
        return window_ms
    hashed = subject_hash(scope, subject)
    step, window = max(window_ms * 1000 * number // limit, 1), window_ms * 1000
    values = {"subject": hashed, "now": now * 1000, "step": step, "window": window}
    with connection.cursor() as cursor:
        cursor.execute(_TAKE, values)
        if cursor.fetchone() is not None:
            return 0
        cursor.execute(_TAT, [hashed])
        row = cursor.fetchone()
    tat = row[0] if row is not None else now * 1000
    return max((tat + step - window - now * 1000) // 1000, 1)


def used(*, scope: str, subject: str, limit: int, window_ms: int, now: int) -> int:
    """How many of ``limit`` count at this moment; each of them counts for ``window_ms`` at most. Takes nothing."""
    found = (
        Allowance.objects.filter(subject=subject_hash(scope, subject)).values_list("tat", flat=True).first()
    )
    left = max((found or 0) - now * 1000, 0)
    if left > 2 * window_ms * 1000:
        return 0
    return min(left * limit // (window_ms * 1000), limit)
