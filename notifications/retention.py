"""How long it is kept where devices are reached: rows of the table in ``whatsapp/infra/retention.py``."""

from __future__ import annotations

from typing import Final

from notifications.models import PushState
from whatsapp.infra import retention
from whatsapp.infra.limits import LIMITS
from whatsapp.infra.retention import Policy

POLICIES: Final = (
    Policy(
        "push_targets",
        "The token with which a device is reached, its quiet hours and the last error",
        ("notifications.PushTarget",),
        "a device that is not connected is told of messages",
        "until the device is unlinked or signed out, or its provider says that the token is dead",
        "notifications-prune",
    ),
    Policy(
        "push_states",
        "Up to where a device was told of a conversation",
        ("notifications.PushState",),
        "nobody is told twice, and what was read is taken back",
        "30 days (LIMITS.retention_ms), or as long as the target",
        "notifications-prune",
        lambda now: PushState.objects.filter(told_at__lte=now - LIMITS.retention_ms),
    ),
)


def register() -> None:
    retention.register(POLICIES)
