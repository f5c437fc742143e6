"""What has no effect any more."""

from __future__ import annotations

from typing import Final

from django.db import connection, transaction
from django.db.models import Q

from accounts.models import Device
from notifications.models import PushTarget
from notifications.services.targets import clear_target
from whatsapp.infra.limits import LIMITS

_AT_ONCE: Final = 5_000
#: Targets looked at by one run; what is left waits for the next.
_RUN: Final = 1_000
_ENDED: Final = Q(unlinked_at__isnull=False) | Q(revoked_at__isnull=False) | Q(user__retired_at__isnull=False)

# Without an index: ``told_at`` changes with every notification, and an index of it would cost more than a scan each hour.
# ``ctid``: a row that was written since has another one, and stays.
_STATES: Final = """
DELETE FROM notifications_pushstate WHERE ctid = ANY (ARRAY(
    SELECT ctid FROM notifications_pushstate WHERE told_at <= %s LIMIT %s FOR UPDATE SKIP LOCKED
))
"""


def drop_states(now: int) -> int:
    """Forget how far devices were told of conversations longer ago than messages are kept. Returns how many rows."""
    total = 0
    while True:
        with connection.cursor() as cursor:
            cursor.execute(_STATES, [now - LIMITS.retention_ms, _AT_ONCE])
            found = cursor.rowcount
        total += found
        if found < _AT_ONCE:
            return total


def drop_ended() -> int:
    """Targets whose session has ended. They go in the transaction that ends it; this finds what another version left.
    Apps that are not configured any more keep theirs: they may come back. Returns how many."""
    ended = Device.objects.filter(_ENDED, push_target__isnull=False).values_list("pk", flat=True)
    dropped = 0
    for device_id in list(ended[:_RUN]):
        with transaction.atomic():
            # Whoever signs in on it at this moment is seen first.
            device = Device.objects.select_for_update(of=("self",), no_key=True).filter(_ENDED, pk=device_id)
            if device.exists() and PushTarget.objects.filter(pk=device_id).exists():
                clear_target(device_id)
                dropped += 1
    return dropped
