"""What a user has set for a chat, the same on all devices: mute, pin, archive, a draft.

The server numbers the changes; what has a lower number than what is here is old, whichever way it comes: as an answer, a
notice, or in the list of chats.
"""

from __future__ import annotations

import base64
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from .codecs import Frame
from .database import Database
from .entry import whole
from .history import History


@dataclass(frozen=True, slots=True)
class Flags:
    """``muted_until``: ms since the epoch, None: not muted. ``draft``: opaque to the server, None: there is none."""

    muted_until: int | None = None
    pinned: bool = False
    archived: bool = False
    draft: bytes | None = None


NONE = Flags()


class FlagState:
    def __init__(self, database: Database, history: History, touch: Callable[[str], None]) -> None:
        self._database = database
        self._history = history
        self._touch = touch
        rows = database.read(
            "SELECT c.id, f.* FROM flags f JOIN conversations c ON f.conversation = c.number"
        )
        self._known: dict[str, tuple[int, Flags]] = {
            conversation_id: (version, Flags(muted or None, bool(pinned), bool(archived), draft))
            for conversation_id, _number, version, muted, pinned, archived, draft in rows.fetchall()
        }

    def of(self, conversation_id: str) -> Flags:
        return self._known.get(conversation_id, (0, NONE))[1]

    def told(self, shown: Any) -> None:
        """An answer, a notice or a list says what is set; nothing for what does not say it. Raises ValueError, TypeError
        for what makes no sense."""
        if not isinstance(shown, dict) or "flagsVersion" not in shown or not shown.get("conversationId"):
            return
        conversation_id, version = str(shown["conversationId"]), whole(shown["flagsVersion"])
        if version <= self._known.get(conversation_id, (0, NONE))[0]:
            return
        flags = _flags(shown)
        self._known[conversation_id] = (version, flags)
        self._database.write(
            "INSERT OR REPLACE INTO flags VALUES (?, ?, ?, ?, ?, ?)",
            (
                self._history[conversation_id].log.number, version, flags.muted_until or 0, flags.pinned, flags.archived,
                flags.draft,
            ),
        )  # fmt: skip
        self._touch(conversation_id)


def _flags(shown: Frame) -> Flags:
    draft = shown.get("draft")
    return Flags(
        whole(shown.get("mutedUntil")) or None,
        bool(shown.get("pinned")),
        bool(shown.get("archived")),
        base64.b64decode(draft) if draft is not None else None,
    )
