"""What a device is told when it connects, because it may have been away when it happened: that few of its prekeys are left,
whose identity keys have changed (``services/identities.py``), and which other devices of its user came and went. It is read with
the verdict on its session (``opening.py``)."""

from __future__ import annotations

from typing import Any, Final, NamedTuple

from psycopg_pool import AsyncConnectionPool

from accounts.limits import DAY_MS

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

_TOLD: Final = "UPDATE accounts_device SET news_at = %s WHERE id = %s::uuid AND news_at < %s"


async def told(pool: AsyncConnectionPool, device: str, at: int) -> None:
    """The device has got all changes up to ``at``. Raises psycopg's errors."""
    async with pool.connection() as link:
        await link.execute(_TOLD, (at, device, at))
