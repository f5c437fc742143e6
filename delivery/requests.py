"""Message requests: until a user accepts a stranger who writes, the stranger is told nothing but the ✓.

The roster says who has not accepted whom; it is read with the list of members, which the first message waits for, and again every
5 s while somebody has not. So nothing is told that depends on a notice that may be lost: :data:`ACCEPTED` only makes it known
sooner that a request has ended.
"""

from __future__ import annotations

import asyncio
from typing import Any

import hiredis

from delivery.inbox import Inbox
from delivery.presence import Presence
from delivery.roster import GROUP_MAX_AGE_S, Roster, unique
from delivery.silence import Silence
from whatsapp.infra.batcher import Batcher
from whatsapp.infra.bus import Bus
from whatsapp.infra.valkey import HotUnavailable

ACCEPTED = "accepted"  # payload: [conversation, who accepted, whom]
#: As long as a list of members may still say that a request waits.
REMEMBERED_S = 2 * GROUP_MAX_AGE_S

Accepted = tuple[str, str, str]


class Requests:
    def __init__(self, bus: Bus, roster: Roster, inbox: Inbox, silence: Silence, presence: Presence) -> None:
        self._bus = bus
        self._roster = roster
        self._inbox = inbox
        self._silence = silence
        self._presence = presence
        self._ended: dict[tuple[str, str], float] = {}  # conversation, who accepted -> loop time
        self._out: Batcher[Accepted] = Batcher(self._publish)

    def accepted(self, conversation: str, member: str, other: str) -> None:
        """``member`` has answered ``other``, durably. Told where either has a session."""
        self.on_accepted((conversation, member, other))
        self._out.add((conversation, member, other))

    def on_accepted(self, payload: Any) -> None:
        """Also the bus handler. ``other`` is told how far ``member`` is, and may see ``member``'s presence."""
        conversation, member, other = payload
        self._roster.forget(conversation)
        now = asyncio.get_running_loop().time()
        self._ended.pop((conversation, member), None)
        self._ended[conversation, member] = now
        while now - next(iter(self._ended.values())) > REMEMBERED_S:
            del self._ended[next(iter(self._ended))]
        self._silence.tell(other, frozenset((conversation,)))
        self._presence.on_visibility(member)

    def has_ended(self, conversation: str, member: str) -> bool:
        """Whether ``member`` accepted it a moment ago: an older list may have called it a request."""
        return (conversation, member) in self._ended

    async def _publish(self, items: list[Accepted]) -> None:
        users = unique([user for _, *both in items for user in both])
        try:
            sessions = dict(zip(users, await self._inbox.sessions(users), strict=True))
        except (HotUnavailable, hiredis.ReplyError):
            return  # lists of members grow old, and a sync reads how far the other is
        for item in items:
            there = {entry.process for user in item[1:] for entry in (sessions[user] or {}).values()}
            for process in there - {self._bus.process}:
                self._bus.send(process, ACCEPTED, item)
