"""Whether sessions are still allowed: asked by the gateway every 60 s, for many sessions in one query (at
connect: ``opening``)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Literal, NamedTuple

from psycopg_pool import AsyncConnectionPool

from accounts.own_limits import OWN_LIMITS
from whatsapp.infra.clock import now_ms

Verdict = Literal["ok", "unlinked", "banned", "revoked"]

#: (user id, device id) or (user id, device id, issued_at of the access token in ms).
Session = tuple[str, str] | tuple[str, str, int]

# Of ``asked``, ``device`` and ``account`` at ``given.now``. Without the time of issue, only a session revoked and not verified
# again since is known to be void.
VERDICT: Final = """CASE
    WHEN device.id IS NULL OR device.unlinked_at IS NOT NULL THEN 'unlinked'
    WHEN account.banned_until > given.now OR device.banned_until > given.now THEN 'banned'
    WHEN device.revoked_at IS NOT NULL OR asked.issued < device.session_from THEN 'revoked'
    ELSE 'ok'
END"""

_IDENTIFY: Final = f"""
SELECT {VERDICT}, {OWN_LIMITS}
FROM (SELECT %(now)s::bigint AS now) given
CROSS JOIN unnest(%(users)s::uuid[], %(devices)s::uuid[], %(issued)s::bigint[])
    WITH ORDINALITY AS asked (user_id, device_id, issued, place)
LEFT JOIN accounts_device device ON device.id = asked.device_id AND device.user_id = asked.user_id
LEFT JOIN accounts_account account ON account.id = asked.user_id
ORDER BY asked.place
"""  # noqa: S608  (a constant)


class Standing(NamedTuple):
    verdict: Verdict
    limits: str | None  # what :func:`accounts.own_limits.given` takes


_BAN: Final = """
SELECT greatest(account.banned_until, device.banned_until),
       CASE WHEN account.banned_until > %(now)s THEN (
           SELECT sanction.id::text FROM accounts_sanction sanction
           WHERE sanction.account_id = account.id AND sanction.kind IN ('suspension', 'permanent')
             AND sanction.lifted_at IS NULL AND (sanction.until IS NULL OR sanction.until > %(now)s)
           ORDER BY sanction.until DESC NULLS FIRST, sanction.id DESC LIMIT 1
       ) END
FROM accounts_account account
LEFT JOIN accounts_device device ON device.id = %(device)s::uuid AND device.user_id = account.id
WHERE account.id = %(user)s::uuid
"""


async def identify(pool: AsyncConnectionPool, pairs: Sequence[Session]) -> list[Standing]:
    """How each session stands, in order; one SQL statement for the whole list.

    Unknown users and devices are ``unlinked``. Raises psycopg's errors when PostgreSQL is away: the caller decides (a
    connect is answered ``unavailable``, living sockets stay).
    """
    if not pairs:
        return []
    parameters = {
        "now": now_ms(),
        "users": [pair[0] for pair in pairs],
        "devices": [pair[1] for pair in pairs],
        "issued": [pair[2] if len(pair) > 2 else None for pair in pairs],
    }
    async with pool.connection() as connection:
        cursor = await connection.execute(_IDENTIFY, parameters)
        return [Standing(*row) for row in await cursor.fetchall()]


async def ban_of(pool: AsyncConnectionPool, user: str, device: str) -> tuple[int | None, str]:
    """When the ban of a user or of this device ends (ms), the later one, None without one; and the id of the sanction against
    which the user can appeal, or "". Raises psycopg's errors."""
    values = {"now": now_ms(), "user": user, "device": device}
    async with pool.connection() as connection:
        row = await (await connection.execute(_BAN, values)).fetchone()
        return (row[0], row[1] or "") if row else (None, "")
