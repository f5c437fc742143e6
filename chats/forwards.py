"""To how many conversations one act of forwarding goes.

``forwardId`` and ``forwardCount`` are what the client declares, and only it can: contents are sealed. So this keeps an honest
client to the rule and is no wall; it lives in the memory of a gateway, as the message rates do, and costs no round trip.
"""

from __future__ import annotations

from whatsapp.infra.limits import LIMITS

MAX_ACTS = 10_000


class Forwards:
    """Conversations by (user, forwardId); the oldest acts are forgotten first."""

    def __init__(self) -> None:
        self._acts: dict[tuple[str, str], set[str]] = {}

    def take(self, user: str, forward_id: str, conversation: str, count: int) -> bool:
        """Whether this act may go to the conversation too; one that it went to before is free. ``count``: how often the
        message was forwarded before."""
        act = self._acts.get((user, forward_id))
        if act is None:
            if len(self._acts) >= MAX_ACTS:
                for old in list(self._acts)[: MAX_ACTS // 10]:
                    del self._acts[old]
            act = self._acts[user, forward_id] = set()
        if conversation in act:
            return True
        allowed = LIMITS.forward_many_chats if count >= LIMITS.forwarded_many else LIMITS.forward_chats
        if len(act) >= allowed:
            return False
        act.add(conversation)
        return True
