"""What the engine must ask of the layers above it, bound once in the composition root (``chats/gateway.py``).

The engine never imports upward.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence

#: ``identify([(user, device, issued_at)]) -> ["ok" | "unlinked" | "banned" | "revoked"]``, one query for the whole list.
#: ``issued_at`` (ms) is that of the session's access token. Raises ``Unavailable``.
Identify = Callable[[Sequence[tuple[str, str, int]]], Awaitable[list[str]]]

#: ``shows([(user, viewer)]) -> [bool]``: may this viewer be told that user's presence, or that they type in their direct
#: conversation? Asked when somebody begins to follow, and for each moment of typing. The place of blocks and privacy.
Shows = Callable[[Sequence[tuple[str, str]]], Awaitable[list[bool]]]


async def everybody(pairs: Sequence[tuple[str, str]]) -> list[bool]:
    """Nobody hides anything."""
    return [True] * len(pairs)
