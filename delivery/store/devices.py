"""Linked devices and what goes with them."""

from __future__ import annotations

from collections.abc import Sequence

from delivery.store.operation import Operation, Query, uuids
from delivery.store.unread import LAST
from delivery.store.values import DeviceRow

_LINK = """INSERT INTO delivery_device (device, member, linked_at) VALUES (%s::uuid, %s::uuid, %s::bigint)
ON CONFLICT DO NOTHING RETURNING 1"""

_START = """
INSERT INTO delivery_position (acked, device, conversation)
SELECT {acked}, %(device)s::uuid, m.conversation
FROM delivery_member m JOIN delivery_head h ON h.conversation = m.conversation
WHERE m.member = %(user)s::uuid AND m.joined_seq <= h.head
GROUP BY m.conversation{by}
ON CONFLICT DO NOTHING"""

_AT_HEADS = _START.format(acked=f"max({LAST})", by="")
# With a window each position is lower or the same, so nothing that is owed from the head on can be missed by it.
_IN_WINDOW = _START.format(
    acked=f"least(max({LAST}), delivery_before(m.conversation, h.floor, h.head, %(since)s::bigint))",
    by=", h.floor, h.head",
)


def link(user: str, device: str, now: int, since: int) -> Operation[None]:
    """See :meth:`Store.link_device`. Runs in a transaction; the heads are read by a later statement than the insert."""
    if (yield Query(_LINK, (device, user, now))):
        if since:
            yield Query(_IN_WINDOW, {"device": device, "user": user, "since": since})
        else:
            yield Query(_AT_HEADS, {"device": device, "user": user})


_UNLINK = "DELETE FROM delivery_device WHERE device = %s::uuid AND member = %s::uuid"
_POSITIONS = "DELETE FROM delivery_position WHERE device = %s::uuid"
_SEQNUMS = "DELETE FROM delivery_seqnum WHERE device = %s::uuid"


def unlink(user: str, device: str, now: int) -> Operation[None]:
    """See :meth:`Store.unlink_device`. Runs in a transaction: the delete waits for every ``save`` that holds the device row,
    and the later statements see what those wrote."""
    del now  # kept by stores that record the time of the end
    yield Query(_UNLINK, (device, user))
    yield Query(_POSITIONS, (device,))
    yield Query(_SEQNUMS, (device,))


_DEVICES = """SELECT member::text, device::text, linked_at FROM delivery_device WHERE member = ANY (%s::uuid[])
ORDER BY member, linked_at, device"""


def devices(users: Sequence[str]) -> Operation[dict[str, tuple[DeviceRow, ...]]]:
    """See :meth:`Store.devices`."""
    if not users:
        return {}
    found: dict[str, list[DeviceRow]] = {user: [] for user in users}
    for user, device, linked_at in (yield Query(_DEVICES, (uuids(users),))):
        found[user].append(DeviceRow(device, linked_at))
    return {user: tuple(rows) for user, rows in found.items()}
