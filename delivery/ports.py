"""What the engine must ask of the layers above it, bound once in the composition root (``chats/node.py``, the workers).

The engine never imports upward. An unbound port answers what is safe.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence

#: ``identify([(user, device, issued_at)]) -> ["ok" | "unlinked" | "banned" | "revoked"]``, one query for the whole list.
#: ``issued_at`` (ms) is that of the session's access token. Raises ``Unavailable``.
Identify = Callable[[Sequence[tuple[str, str, int]]], Awaitable[list[str]]]

#: ``may_see_presence(viewer, users) -> users whose presence the viewer may see``.
MaySeePresence = Callable[[str, Sequence[str]], Awaitable[set[str]]]


async def everyone(viewer: str, users: Sequence[str]) -> set[str]:
    """Presence is open to all until people can choose (privacy settings)."""
    return set(users)
