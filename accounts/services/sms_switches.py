"""Switches of staff: whether codes are sent to numbers that begin like this, or to any."""

from __future__ import annotations

from accounts.models import SmsPrefix
from whatsapp.infra.clock import now_ms


def set_switch(*, prefix: str, mode: str, reason: str, by: str) -> SmsPrefix:
    """It holds from the next request on, in every process. ``prefix``: digits without ``+``, at most 15; "" is every number.
    ``mode``: of :class:`SmsPrefix.Mode`. A block by conversion that is on stays on with ``auto``. Raises ``ValueError``."""
    if len(prefix) > 15 or (prefix and not (prefix.isascii() and prefix.isdigit())):
        raise ValueError("no prefix")
    row, _ = SmsPrefix.objects.update_or_create(
        prefix=prefix,
        defaults={
            "mode": SmsPrefix.Mode(mode), "reason": reason[:300], "by": by[:150], "changed_at": now_ms()
        },
    )  # fmt: skip
    return row
