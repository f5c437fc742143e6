"""Whether sessions are still allowed: asked by the gateway every 60 s, for many sessions in one query (at
connect: ``opening``)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Literal

from psycopg_pool import AsyncConnectionPool

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
SELECT {VERDICT}
FROM (SELECT %(now)s::bigint AS now) given
CROSS JOIN unnest(%(users)s::uuid[], %(devices)s::uuid[], %(issued)s::bigint[])
    WITH ORDINALITY AS asked (user_id, device_id, issued, place)
LEFT JOIN accounts_device device ON device.id = asked.device_id AND device.user_id = asked.user_id
LEFT JOIN accounts_account account ON account.id = asked.user_id
ORDER BY asked.place
"""  # noqa: S608  (a constant)


_BANNED_UNTIL: Final = """
SELECT greatest(account.banned_until, device.banned_until) FROM accounts_account account
LEFT JOIN accounts_device device ON device.id = %s::uuid AND device.user_id = account.id WHERE account.id = %s::uuid
"""


async def identify(pool: AsyncConnectionPool, pairs: Sequence[Session]) -> list[Verdict]:
    """A verdict for each session, in order; one SQL statement for the whole list.

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
        return [row[0] for row in await cursor.fetchall()]


async def banned_until(pool: AsyncConnectionPool, user: str, device: str) -> int | None:
    """When the ban of a user or of this device ends (ms), the later one; None without one. Raises psycopg's errors."""
    async with pool.connection() as connection:
        row = await (await connection.execute(_BANNED_UNTIL, (device, user))).fetchone()
        return row[0] if row else None
