"""Which devices of a user take envelopes: those that are linked and have keys and a registration id on file.

Asked by whoever sends to a user's devices one by one. :func:`accounts.events.devices_changed` says when the answer has changed;
these reads are of the primary, never of a replica.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

from django.db import connection
from psycopg_pool import AsyncConnectionPool


class EnvelopeDevice(NamedTuple):
    device_id: str
    registration_id: int


_DEVICES: Final = """
SELECT device.user_id::text, device.id::text, device.registration_id
FROM accounts_device device JOIN accounts_devicekeys keys ON keys.device_id = device.id
WHERE device.user_id = ANY (%s::uuid[]) AND device.unlinked_at IS NULL AND device.registration_id IS NOT NULL
ORDER BY device.linked_at, device.id
"""


def _by_user(
    users: Sequence[str], rows: Sequence[tuple[str, str, int]]
) -> dict[str, tuple[EnvelopeDevice, ...]]:
    found: dict[str, list[EnvelopeDevice]] = {user: [] for user in users}
    for user, device, registration in rows:
        found[user].append(EnvelopeDevice(device, registration))
    return {user: tuple(devices) for user, devices in found.items()}


def envelope_devices(users: Sequence[str]) -> dict[str, tuple[EnvelopeDevice, ...]]:
    """For each of these users, by the time they were linked; none for a user who is not known."""
    if not users:
        return {}
    with connection.cursor() as cursor:
        cursor.execute(_DEVICES, [list(users)])
        return _by_user(users, cursor.fetchall())


async def envelope_devices_async(
    pool: AsyncConnectionPool, users: Sequence[str]
) -> dict[str, tuple[EnvelopeDevice, ...]]:
    """The same for the gateway. Raises psycopg's errors."""
    if not users:
        return {}
    async with pool.connection() as link:
        rows = await (await link.execute(_DEVICES, [list(users)])).fetchall()
        return _by_user(users, rows)
