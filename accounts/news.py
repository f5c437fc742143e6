"""What a device is told when it connects, because it may have been away when it happened: that few of its prekeys are left,
whose identity keys have changed (``services/identities.py``), and which other devices of its user came and went. One query for
many devices; nearly all have nothing to be told."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, NamedTuple

from psycopg_pool import AsyncConnectionPool

from accounts.limits import DAY_MS
from whatsapp.infra.clock import now_ms

#: Changes told at one connect, the oldest first; the rest follows at the next.
MAX_CHANGES: Final = 200
#: The same of devices that came and went; what is older than a month is in ``GET /devices?since=`` alone.
MAX_DEVICES: Final = 20
DEVICES_MS: Final = 30 * DAY_MS


class News(NamedTuple):
    #: One-time keys that are left, (classic, post-quantum), when they are few.
    low: tuple[int, int] | None
    #: (user, when) whose identity key has changed.
    identities: tuple[tuple[str, int], ...]
    #: (kind, data) of notices about other devices, the oldest first; ``data.at`` says when.
    devices: tuple[tuple[str, dict[str, Any]], ...] = ()

    @property
    def through(self) -> int:
        """Up to when this is all there was; 0 when nothing of it has a time."""
        lists = (
            ([at for _, at in self.identities], MAX_CHANGES),
            ([data["at"] for _, data in self.devices], MAX_DEVICES),
        )
        cut = [times[-1] for times, most in lists if len(times) >= most]
        return min(cut, default=max((times[-1] for times, _ in lists if times), default=0))


NOTHING: Final = News(None, ())

_NEWS: Final = """
SELECT CASE WHEN keys.low THEN ARRAY[
           (SELECT count(*) FROM accounts_prekey p WHERE p.device_id = keys.device_id AND p.kind = 1 AND p.given_at IS NULL),
           (SELECT count(*) FROM accounts_prekey p WHERE p.device_id = keys.device_id AND p.kind = 2 AND p.given_at IS NULL)
       ] END,
       changes.users, changes.times, others.told
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
LEFT JOIN LATERAL (
    SELECT jsonb_agg(jsonb_build_array(found.kind, found.data) ORDER BY found.at, found.id, found.kind) AS told
    FROM (
        SELECT other.id, other.linked_at AS at, 'device_linked' AS kind, jsonb_strip_nulls(jsonb_build_object(
            'deviceId', other.id, 'name', other.name, 'at', other.linked_at, 'linkedBy', other.linked_by_id)) AS data
        FROM accounts_device other
        WHERE other.user_id = device.user_id AND other.id <> device.id
          AND other.linked_at > greatest(device.news_at, device.linked_at, %(since)s)
        UNION ALL
        SELECT other.id, other.unlinked_at, 'device_removed', jsonb_build_object(
            'deviceId', other.id, 'name', other.name, 'at', other.unlinked_at, 'reason', other.unlinked_for)
        FROM accounts_device other
        WHERE other.user_id = device.user_id AND other.id <> device.id
          AND other.unlinked_at > greatest(device.news_at, device.linked_at, %(since)s)
        ORDER BY at, id, kind LIMIT %(most)s
    ) found
) others ON true
ORDER BY asked.place
"""

_TOLD: Final = "UPDATE accounts_device SET news_at = %s WHERE id = %s::uuid AND news_at < %s"


async def news(pool: AsyncConnectionPool, devices: Sequence[str]) -> list[News]:
    """For each device, in order. Raises psycopg's errors."""
    if not devices:
        return []
    values = {
        "devices": list(devices),
        "limit": MAX_CHANGES,
        "most": MAX_DEVICES,
        "since": now_ms() - DEVICES_MS,
    }
    async with pool.connection() as link:
        rows = await (await link.execute(_NEWS, values)).fetchall()
    return [
        News(
            (low[0], low[1]) if low else None,
            tuple(zip(users or (), times or (), strict=True)),
            tuple((kind, data) for kind, data in others or ()),
        )
        for low, users, times, others in rows
    ]


async def told(pool: AsyncConnectionPool, device: str, at: int) -> None:
    """The device has got all changes up to ``at``. Raises psycopg's errors."""
    async with pool.connection() as link:
        await link.execute(_TOLD, (at, device, at))
