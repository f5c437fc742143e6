"""Where a user's sessions are: one string a user on the hot node, ``{user}:sessions``, JSON ``{device: [process, generation,
status]}``. Only scripts change it (``delivery.inbox``); anybody may read it. One MGET beats a hash per user."""

from __future__ import annotations

from typing import NamedTuple

import msgspec

_decode = msgspec.json.Decoder(dict[str, tuple[str, float, str]]).decode


class SessionEntry(NamedTuple):
    process: str
    generation: int
    status: str  # online | away


def sessions_key(user: str) -> str:
    return f"{{{user}}}:sessions"


def watch_key(user: str) -> str:
    """zset process → expiry (ms): the gateways where somebody follows the user."""
    return f"{{{user}}}:watch"


def parse_sessions(raw: bytes | None) -> dict[str, SessionEntry]:
    """Sessions of a user by device; an empty dict for anything that cannot be read."""
    if not raw:
        return {}
    try:
        return {device: SessionEntry(p, int(g), s) for device, (p, g, s) in _decode(raw).items()}
    except msgspec.DecodeError:
        return {}
