"""What the others may know of this person: online or away, typing, read. Pure rules; ``now`` is monotonic seconds."""

from __future__ import annotations

TYPING_EVERY = 1.5  # below the 2 s after which it ends by itself
IDLE = 180.0


class Attention:
    """Whether somebody looks at the screen, and what that lets us say."""

    def __init__(self, now: float) -> None:
        self._touched = now
        self._focused = True
        self._told = ""
        self._typed_at = float("-inf")
        self._typing_in = ""
        self._read: dict[str, int] = {}

    def touch(self, now: float) -> None:
        """A key or the mouse."""
        self._touched = now

    def focus(self, focused: bool, now: float) -> None:
        """The terminal's window got or lost the focus, as far as it tells us."""
        self._focused = focused
        if focused:
            self._touched = now

    def present(self, now: float) -> bool:
        """Whether somebody is likely to see what is shown."""
        return self._focused and now - self._touched < IDLE

    def presence(self, now: float) -> str | None:
        """``online`` or ``away`` if that is news for the server."""
        status = "online" if self.present(now) else "away"
        if status == self._told:
            return None
        self._told = status
        return status

    def typed(self, conversation_id: str, now: float) -> bool:
        """A key in a message; whether to tell that we are typing."""
        if conversation_id == self._typing_in and now - self._typed_at < TYPING_EVERY:
            return False
        self._typing_in, self._typed_at = conversation_id, now
        return True

    def stopped_typing(self, conversation_id: str) -> bool:
        """The message is sent, emptied or left; whether to tell."""
        if self._typing_in != conversation_id:
            return False
        self._typing_in, self._typed_at = "", float("-inf")
        return True

    def read(self, conversation_id: str, seq: int, now: float, *, shown: bool) -> bool:
        """Everything up to ``seq`` is on screen; whether to tell that it is read. ``shown``: nothing covers it."""
        if not shown or not self.present(now) or seq <= self._read.get(conversation_id, 0):
            return False
        self._read[conversation_id] = seq
        return True
