"""Where the devices of users are reached, and what they were told: statements on the database of accounts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, NamedTuple

from psycopg_pool import AsyncConnectionPool

from delivery.store.operation import uuids
from notifications.senders.interface import Target

# Nobody is told behind a ban, or on a device whose session was ended.
_REACHED: Final = """
SELECT d.user_id::text, t.device_id::text, t.app, t.token, t.p256dh, t.auth, t.set_at, t.call_token,
       t.preview, t.quiet_from, t.quiet_until, t.time_zone, t.badge, coalesce(t.success_at, 0), d.last_seen_at
FROM notifications_pushtarget t
JOIN accounts_device d ON d.id = t.device_id
JOIN accounts_account a ON a.id = d.user_id
WHERE d.user_id = ANY (%(users)s::uuid[]) AND d.unlinked_at IS NULL AND d.revoked_at IS NULL AND a.retired_at IS NULL
  AND coalesce(d.banned_until, 0) <= %(now)s::bigint AND coalesce(a.banned_until, 0) <= %(now)s::bigint
ORDER BY d.user_id, t.device_id"""

_STATES: Final = """
SELECT s.target_id::text, s.conversation::text, s.seq, s.shown, s.until, s.told_at
FROM unnest(%s::uuid[], %s::uuid[]) a (device, conversation)
JOIN notifications_pushstate s ON s.target_id = a.device AND s.conversation = a.conversation"""

_BLOCKED: Final = """
SELECT b.owner_id::text, b.user_id::text FROM unnest(%s::uuid[], %s::uuid[]) a (owner, blocked)
JOIN accounts_block b ON b.owner_id = a.owner AND b.user_id = a.blocked"""


class Reached(NamedTuple):
    """A device that can be told something."""

    target: Target
    preview: bool
    quiet: tuple[int | None, int | None, str]  # from, until (minutes of the day), time zone
    badge: int  # as it was last told
    success_at: int  # when a provider last accepted something for it, ms; 0: never
    seen_at: int  # when it was connected, ms, as far as an hour ago

    @property
    def has_keys(self) -> bool:
        return self.target.p256dh is not None and self.target.auth is not None


class State(NamedTuple):
    """What a device was told of a conversation (:class:`notifications.models.PushState`)."""

    seq: int = 0
    shown: int = 0
    until: int = 0
    told_at: int = 0


async def _rows(pool: AsyncConnectionPool, statement: str, params: Any) -> list[tuple[Any, ...]]:
    async with pool.connection() as connection:
        cursor = await connection.execute(statement, params)
        return await cursor.fetchall()


async def reached(pool: AsyncConnectionPool, users: Sequence[str], now: int) -> list[Reached]:
    """The devices of these users that can be told something. Raises psycopg's errors, like all here."""
    rows = await _rows(pool, _REACHED, {"users": uuids(users), "now": now})
    return [
        Reached(
            Target(
                user,
                device,
                app,
                token,
                p256dh and bytes(p256dh),
                auth and bytes(auth),
                set_at,
                call_token or None,
            ),
            preview,
            (start, end, zone),
            *rest,
        )
        for user, device, app, token, p256dh, auth, set_at, call_token, preview, start, end, zone, *rest in rows
    ]


async def states(pool: AsyncConnectionPool, asked: Sequence[tuple[str, str]]) -> dict[tuple[str, str], State]:
    """By (device, conversation) what it was told, where it was told anything."""
    if not asked:
        return {}
    devices, conversations = zip(*asked, strict=True)
    rows = await _rows(pool, _STATES, (uuids(devices), uuids(conversations)))
    return {(device, conversation): State(*rest) for device, conversation, *rest in rows}


async def blocked(pool: AsyncConnectionPool, asked: Sequence[tuple[str, str]]) -> set[tuple[str, str]]:
    """Those (user, sender) of whom the user has blocked the sender."""
    if not asked:
        return set()
    owners, senders = zip(*asked, strict=True)
    return {(owner, sender) for owner, sender in await _rows(pool, _BLOCKED, (uuids(owners), uuids(senders)))}
