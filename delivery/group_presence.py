"""Who is online in a chat that a client has open.

Up to ``presence_group_members`` members: each of the others, followed like any user, through this chat. Above: only how many are
online, told when the chat is opened and when it has changed. A number is counted once in ``presence_refresh_ms``, whichever
gateway comes first (``{conversation}:online``), and a gateway looks up at most ``presence_counts_per_second`` members for all
numbers: with more large groups open they come later.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence

import hiredis

from delivery.open_chats import OpenChats
from delivery.presence import Presence
from delivery.roster import Roster, is_member
from delivery.session import Session, State
from delivery.store.interface import Unavailable
from whatsapp.infra import faults
from whatsapp.infra.bus import Bus
from whatsapp.infra.limits import LIMITS
from whatsapp.infra.valkey import HotUnavailable
from whatsapp.wire import frames
from whatsapp.wire.errors import Code, error_frame

log = logging.getLogger(__name__)

LOOK_UP_AT_ONCE = 256
#: What a look-up costs that reads no members.
CHEAP = 10


def online_key(conversation: str) -> str:
    return f"{{{conversation}}}:online"


class GroupPresence:
    def __init__(self, bus: Bus, roster: Roster, presence: Presence, chats: OpenChats) -> None:
        self._bus = bus
        self._roster = roster
        self._presence = presence
        self._chats = chats
        #: Large groups that are open here: session → the number it was told last, None: none yet.
        self._large: dict[str, dict[Session, int | None]] = {}
        self._turns: dict[str, float] = {}  # large group → loop time of its next turn, the next one first
        self._new: dict[str, None] = {}  # large groups that somebody opened just now
        self._wake = asyncio.Event()
        self._counter: asyncio.Task[None] | None = None  # while a large group is open

    async def show(self, session: Session, conversations: Sequence[str], ttl_s: int, ref: str) -> None:
        """Judge what the session has opened (in :class:`OpenChats`, already) and tell who is online there. A chat that it
        is not in is closed again and answered ``not_found``. Raises ``Unavailable``."""
        lists = await self._roster.lists(dict.fromkeys(conversations, 0))
        users: dict[str, None] = {}
        for conversation in conversations:
            if not self._chats.has(session, conversation):
                continue  # closed meanwhile
            known = lists.get(conversation)
            if known is None or not is_member(known, session.user):
                self.close(session, (conversation,))
                details = {"conversationId": conversation}
                message = "there is no such conversation"
                session.send(error_frame(Code.NOT_FOUND, message, ref=ref, details=details))
                continue
            if known.kind == "group":
                self._chats.list(conversation)
            if len(known.current) <= LIMITS.presence_group_members:
                others = known.current - {session.user}
                self._presence.follow(session, others, ttl_s, through=conversation)
                users.update(dict.fromkeys(others))
            else:
                self._presence.unfollow(session, conversation)
                self._count_soon(session, conversation)
        if users:
            await self._presence.answer(session, list(users), ttl_s)

    def close(self, session: Session, conversations: Sequence[str]) -> None:
        self._chats.close(session, conversations)
        for conversation in conversations:
            self._presence.unfollow(session, conversation)

    async def stop(self) -> None:
        if self._counter is not None:
            self._counter.cancel()

    # numbers

    def _count_soon(self, session: Session, conversation: str) -> None:
        self._large.setdefault(conversation, {})[session] = None
        self._new[conversation] = None
        self._wake.set()
        if self._counter is None:
            self._counter = asyncio.get_running_loop().create_task(self._count_while_open())

    async def _count_while_open(self) -> None:
        time = asyncio.get_running_loop().time
        try:
            while self._large:
                now = time()
                if self._new:
                    conversation = next(iter(self._new))
                    del self._new[conversation]
                    self._turns.pop(conversation, None)
                elif next(iter(self._turns.values())) <= now:
                    conversation = next(iter(self._turns))
                    del self._turns[conversation]
                else:
                    await self._until_next_turn(next(iter(self._turns.values())) - now)
                    continue
                try:
                    cost = await self._count(conversation)
                except Exception:
                    log.exception("the members online of a group were not counted")
                    cost = CHEAP
                if conversation in self._large:
                    self._turns[conversation] = time() + LIMITS.presence_refresh_ms / 1000
                await asyncio.sleep(cost / LIMITS.presence_counts_per_second)
        finally:
            self._counter = None

    async def _until_next_turn(self, seconds: float) -> None:
        self._wake.clear()
        try:
            async with asyncio.timeout(seconds):
                await self._wake.wait()
        except TimeoutError:
            pass

    async def _count(self, conversation: str) -> int:
        """Read or count how many are online, and tell those here who do not know it. Returns what it cost, in look-ups."""
        waiting = self._waiting(conversation)
        if not waiting:
            return CHEAP
        try:
            count, cost = await self._number(conversation)
            if all(told == count for told in waiting.values()):
                return cost
            lists = await self._roster.lists({conversation: 0})
        except Unavailable:
            return CHEAP
        except (HotUnavailable, hiredis.ReplyError):
            for session, told in waiting.items():
                if told is None:
                    session.send(frames.Presence("unknown", conversation_id=conversation))
            return CHEAP
        known = lists.get(conversation)
        frame = frames.Presence(
            "online" if count else "offline", conversation_id=conversation, online_count=count
        )
        waiting = self._waiting(conversation)
        for session, told in waiting.items():
            if (known is None or not is_member(known, session.user)) and not faults.off("open_members"):
                self.close(session, (conversation,))
            elif told != count and session.state is not State.CLOSED:
                waiting[session] = count
                session.send(frame)
        return cost

    def _waiting(self, conversation: str) -> dict[Session, int | None]:
        """The sessions that are told this number; who closed the chat is dropped first."""
        sessions = self._large.get(conversation, {})
        for session in list(sessions):
            if not self._chats.has(session, conversation):
                del sessions[session]
        if not sessions:
            self._large.pop(conversation, None)
        return sessions

    async def _number(self, conversation: str) -> tuple[int, int]:
        """How many are online, and what it cost. Raises what the hot node and the store raise."""
        hot = self._bus.hot
        # Where the number is kept may be away alone: then each gateway counts for itself.
        kept = hot.one_node or hot.reaches(conversation)
        if kept:
            (cached,) = await hot.run([("GET", online_key(conversation))])
            if cached is not None:
                return int(cached), CHEAP
        known = (await self._roster.lists({conversation: 0})).get(conversation)
        members = list(known.current) if known is not None else []
        count = 0
        for start in range(0, len(members), LOOK_UP_AT_ONCE):
            count += await self._presence.online(members[start : start + LOOK_UP_AT_ONCE])
        if kept:
            await hot.run([("SET", online_key(conversation), count, "PX", LIMITS.presence_refresh_ms)])
        return count, max(CHEAP, len(members))
