"""Which sessions of this process have which chats open, and on the hot node which processes have a group open at all.

``{conversation}:open`` is a sorted set process → expiry (ms), bounded by the number of gateways. It is written from what is true
here at that moment, one batch in flight, so the last write is always the truth; on a new epoch it is written again.
What is open says nothing about who may see: members are looked up whenever something is told.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence

import hiredis

from delivery.session import Session, State
from whatsapp.infra import clock, faults
from whatsapp.infra.batcher import Batcher
from whatsapp.infra.bus import Bus
from whatsapp.infra.limits import LIMITS
from whatsapp.infra.valkey import Command, HotUnavailable

LIST_AT_ONCE = 500
#: Groups a second that are listed again on a new term.
RELIST_PER_S = 5_000


def open_key(conversation: str) -> str:
    return f"{{{conversation}}}:open"


class OpenChats:
    def __init__(self, bus: Bus) -> None:
        self._bus = bus
        self._open: dict[str, dict[Session, float]] = {}  # until, of the loop's clock
        self._listed: set[str] = set()  # groups that the hot node is to know
        self._writes: Batcher[str] = Batcher(self._write, LIST_AT_ONCE)
        self._relisting: asyncio.Task[None] | None = None
        bus.hot.on_term.append(self._new_term)

    def open(self, session: Session, conversations: Iterable[str], ttl_s: int) -> None:
        """The caller has checked the limit; :meth:`list` follows once the session is known to be a member."""
        until = asyncio.get_running_loop().time() + ttl_s
        for conversation in conversations:
            self._open.setdefault(conversation, {})[session] = until
            session.open_chats[conversation] = None

    def list(self, conversation: str) -> None:
        """Typing in this group is to come here."""
        if conversation in self._open:
            self._listed.add(conversation)
            self._writes.add(conversation)

    def close(self, session: Session, conversations: Iterable[str]) -> None:
        for conversation in list(conversations):
            session.open_chats.pop(conversation, None)
            sessions = self._open.get(conversation)
            if sessions is not None and sessions.pop(session, None) is not None and not sessions:
                del self._open[conversation]
                if conversation in self._listed:
                    self._listed.discard(conversation)
                    self._writes.add(conversation)

    def of(self, session: Session) -> set[str]:
        """What the session has open; what has expired is dropped first."""
        for conversation in list(session.open_chats):
            self.has(session, conversation)
        return set(session.open_chats)

    def has(self, session: Session, conversation: str) -> bool:
        until = self._open.get(conversation, {}).get(session)
        if until is None:
            return False
        if until < asyncio.get_running_loop().time() or session.state is State.CLOSED:
            self.close(session, (conversation,))
            return False
        return True

    def anybody(self, conversation: str) -> bool:
        return conversation in self._open

    def sessions(self, conversation: str) -> Sequence[Session]:
        """The sessions here that have it open."""
        return [
            session for session in list(self._open.get(conversation, ())) if self.has(session, conversation)
        ]

    # the hot node

    async def _write(self, conversations: Sequence[str]) -> None:
        now, clock_now = asyncio.get_running_loop().time(), clock.now_ms()
        commands: list[Command] = []
        for conversation in dict.fromkeys(conversations):
            key = open_key(conversation)
            sessions = self._open.get(conversation)
            if sessions and conversation in self._listed:
                until = clock_now + round((max(sessions.values()) - now) * 1000)
                commands.append(("ZADD", key, until, self._bus.process))
                commands.append(("ZREMRANGEBYSCORE", key, "-inf", clock_now))  # of gateways that died
                commands.append(("EXPIRE", key, LIMITS.presence_ttl_s + 60))
            else:
                commands.append(("ZREM", key, self._bus.process))
        try:
            await self._bus.hot.run(commands)
        except (HotUnavailable, hiredis.ReplyError):
            return  # a node that was away begins a new term; what it kept ends by its expiry

    def _new_term(self) -> None:
        """A write may have been lost with the last term, or everything with the last epoch."""
        if self._relisting is not None:
            self._relisting.cancel()
        if self._listed and not faults.off("relist"):
            self._relisting = asyncio.get_running_loop().create_task(self._relist())

    async def _relist(self) -> None:
        listed = list(self._listed)
        for start in range(0, len(listed), LIST_AT_ONCE):
            for conversation in listed[start : start + LIST_AT_ONCE]:
                self._writes.add(conversation)
            await asyncio.sleep(LIST_AT_ONCE / RELIST_PER_S)
