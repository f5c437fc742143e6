"""Keys of the hot node that belong to one user, of which nothing is needed once the user is gone for good."""

from __future__ import annotations

from collections.abc import Sequence

from delivery.inbox import dirty_key, marker_key
from delivery.states import seen_key
from whatsapp.infra.directory import sessions_key, watch_key


def keys_of(user: str, devices: Sequence[str]) -> list[str]:
    """Those without a time to live, or with a long one. Backlogs, acts of forwarding and typing end by themselves in minutes."""
    marks = [key(user, device) for device in devices for key in (dirty_key, marker_key)]
    return [seen_key(user), sessions_key(user), watch_key(user), *marks]
