"""What a device is told when it connects, because it may have been away when it happened: that few of its prekeys are left, and
whose identity keys have changed (``services/identities.py``). One query for many devices; nearly all have nothing to be told."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

from psycopg_pool import AsyncConnectionPool

#: Changes told at one connect, the oldest first; the rest follows at the next.
MAX_CHANGES: Final = 200


class News(NamedTuple):
    #: One-time keys that are left, (classic, post-quantum), when they are few.
    low: tuple[int, int] | None
    #: (user, when) whose identity key has changed.
    identities: tuple[tuple[str, int], ...]


NOTHING: Final = News(None, ())

_NEWS: Final = """
SELECT CASE WHEN keys.low THEN ARRAY[
           (SELECT count(*) FROM accounts_prekey p WHERE p.device_id = keys.device_id AND p.kind = 1 AND p.given_at IS NULL),
           (SELECT count(*) FROM accounts_prekey p WHERE p.device_id = keys.device_id AND p.kind = 2 AND p.given_at IS NULL)
       ] END,
       changes.users, changes.times
FROM unnest(%(devices)s::uuid[]) WITH ORDINALITY AS asked (device_id, place)
LEFT JOIN accounts_device device ON device.id = asked.device_id
LEFT JOIN accounts_devicekeys keys ON keys.device_id = asked.device_id
LEFT JOIN LATERAL (
    SELECT array_agg(found.about_id::text ORDER BY found.at, found.id) AS users,
           array_agg(found.at ORDER BY found.at, found.id) AS times
    FROM (SELECT news.id, news.about_id, news.at FROM accounts_identitynews news
          WHERE news.user_id = device.user_id AND news.at > greatest(device.news_at, device.linked_at)
          ORDER BY news.at, news.id LIMIT %(limit)s) found
) changes ON true
ORDER BY asked.place
"""

_TOLD: Final = "UPDATE accounts_device SET news_at = %s WHERE id = %s::uuid AND news_at < %s"


async def news(pool: AsyncConnectionPool, devices: Sequence[str]) -> list[News]:
    """For each device, in order. Raises psycopg's errors."""
    if not devices:
        return []
    async with pool.connection() as link:
        rows = await (await link.execute(_NEWS, {"devices": list(devices), "limit": MAX_CHANGES})).fetchall()
    return [
        News((low[0], low[1]) if low else None, tuple(zip(users or (), times or (), strict=True)))
        for low, users, times in rows
    ]


async def told(pool: AsyncConnectionPool, device: str, at: int) -> None:
    """The device has got all changes up to ``at``. Raises psycopg's errors."""
    async with pool.connection() as link:
        await link.execute(_TOLD, (at, device, at))
