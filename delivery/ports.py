"""What the engine must ask of the layers above it, bound once in the composition root (``chats/gateway.py``).

The engine never imports upward.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence

#: ``identify([(user, device, issued_at)]) -> ["ok" | "unlinked" | "banned" | "revoked"]``, one query for the whole list.
#: ``issued_at`` (ms) is that of the session's access token. Raises ``Unavailable``.
Identify = Callable[[Sequence[tuple[str, str, int]]], Awaitable[list[str]]]
