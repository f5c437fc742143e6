"""Who is online, and who is writing. Never stored durably, only hinted at on the hot node; unknown is shown as unknown.

A user is online while one of its sessions lives. Changes go only to those who subscribed: ``{user}:watch`` is a zset
process → expiry, written at subscribe. Whose last session ended is announced at once, so that a process on its way out
need not wait; the followers' process looks again after the debounce, so that a changed network shows nothing. It also reads
the states of all it follows every ``presence_refresh_ms``: who was killed, or could not reach the node, announced nothing.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from typing import Any, Literal

import hiredis

from delivery.roster import Roster, is_member
from delivery.session import Hub, Session, State
from delivery.store.interface import Unavailable
from whatsapp.infra import clock
from whatsapp.infra.batcher import Batcher
from whatsapp.infra.bus import Bus, alive_key
from whatsapp.infra.directory import SessionEntry, parse_sessions, sessions_key
from whatsapp.infra.limits import LIMITS
from whatsapp.infra.valkey import Command, HotUnavailable
from whatsapp.wire import frames
from whatsapp.wire.errors import Code, error_frame

log = logging.getLogger(__name__)

PRESENCE = "presence"  # payload: [user, status, last_seen]
TYPING = "typing"  # payload: [conversation, user, active, kind, [recipients]]
Status = Literal["online", "offline", "away", "unknown"]
Typed = tuple[Session, str, bool, str | None, str]  # session, conversation, active, kind, ref
SEEN_TTL_S = 30 * 86_400
REFRESH_AT_ONCE = 500
#: A node that lost its records has them again after this time (``sessions.REOPEN_SPREAD_S``); until then none means nothing.
RECORDS_BACK_S = 60.0


def watch_key(user: str) -> str:
    return f"{{{user}}}:watch"


def seen_key(user: str) -> str:
    return f"{{{user}}}:seen"


class Watch:
    """One session's subscription to one user. Times of the loop's clock, s."""

    __slots__ = ("status", "told_at", "until")

    def __init__(self) -> None:
        self.until = 0.0
        self.status: Status | None = None  # what the session was told last
        self.told_at = 0.0


class Presence:
    def __init__(self, bus: Bus, hub: Hub, roster: Roster) -> None:
        self._bus = bus
        self._hub = hub
        self._roster = roster
        self._watchers: dict[str, dict[Session, Watch]] = {}  # by user
        self._changes: Batcher[str] = Batcher(self._announce)
        self._typing: Batcher[Typed] = Batcher(self._type)
        self._doubted: dict[str, asyncio.TimerHandle] = {}  # said to be offline, told after the debounce
        self._again: Batcher[str] = Batcher(self._look_again, REFRESH_AT_ONCE)
        self._refresher: asyncio.Task[None] | None = None  # while anybody is followed
        self._epoch = ""
        self._records_back = 0.0  # loop time
        bus.hot.on_term.append(self._new_term)

    # subscriptions

    def watched(self, session: Session) -> set[str]:
        """Whom the session follows; what has expired is dropped first."""
        now = asyncio.get_running_loop().time()
        for user in list(session.watching):
            watch = self._watchers.get(user, {}).get(session)
            if watch is None or watch.until < now:
                self._drop(session, user)
        return session.watching

    def follow(self, session: Session, users: Sequence[str], ttl_s: int) -> None:
        """Subscribe for ``ttl_s``, here. The caller has checked limits and privacy; :meth:`answer` does the rest."""
        loop = asyncio.get_running_loop()
        for user in users:
            watch = self._watchers.setdefault(user, {}).setdefault(session, Watch())
            watch.until = loop.time() + ttl_s
            session.watching.add(user)
        if self._refresher is None:
            self._refresher = loop.create_task(self._refresh_while_followed())

    async def answer(self, session: Session, users: Sequence[str], ttl_s: int) -> None:
        """Make changes of ``users`` come here, and tell the session their states."""
        until = clock.now_ms() + ttl_s * 1000
        commands: list[Command] = []
        for user in users:
            # A short subscription must not end the longer one of another session here.
            commands.append(("ZADD", watch_key(user), "GT", until, self._bus.process))
            commands.append(("EXPIRE", watch_key(user), LIMITS.presence_ttl_s + 60))
        states: dict[str, tuple[Status, int | None]]
        try:
            # Subscribed first, then read: a change in between arrives twice rather than never.
            await self._bus.hot.run(commands)
            states = await self._states(users)
        except (HotUnavailable, hiredis.ReplyError):
            states = dict.fromkeys(users, ("unknown", None))
        now = asyncio.get_running_loop().time()
        for user, (status, seen) in states.items():
            if session.state is State.CLOSED:
                return
            watch = self._watchers.get(user, {}).get(session)
            if watch is not None:
                watch.status, watch.told_at = status, now
            session.send(frames.Presence(status, user_id=user, last_seen=seen))

    def unsubscribe(self, session: Session) -> None:
        for user in list(session.watching):
            self._drop(session, user)

    def _drop(self, session: Session, user: str) -> None:
        session.watching.discard(user)
        watchers = self._watchers.get(user)
        if watchers is not None:
            watchers.pop(session, None)
            if not watchers:
                del self._watchers[user]

    def _following(self, user: str) -> list[tuple[Session, Watch]]:
        """The subscriptions to a user; what has expired is dropped first."""
        now = asyncio.get_running_loop().time()
        for session, watch in list(self._watchers.get(user, {}).items()):
            if watch.until < now or session.state is State.CLOSED:
                self._drop(session, user)
        return list(self._watchers.get(user, {}).items())

    # states

    async def _states(self, users: Sequence[str]) -> dict[str, tuple[Status, int | None]]:
        commands = [
            ("MGET", *[sessions_key(user) for user in users]),
            ("MGET", *[seen_key(user) for user in users]),
        ]
        raws, seen = await self._bus.hot.run(commands)
        entries = [parse_sessions(raw) for raw in raws]
        processes = list({entry.process for found in entries for entry in found.values()})
        alive: set[str] = set()
        if processes:
            answers = await self._bus.hot.run([("GET", alive_key(process)) for process in processes])
            alive = {process for process, answer in zip(processes, answers, strict=True) if answer}
        states: dict[str, tuple[Status, int | None]] = {}
        for user, found, at in zip(users, entries, seen, strict=True):
            status = self._status(user, found, alive)
            states[user] = (status, int(at) if at and status != "online" else None)
        return states

    def _status(self, user: str, entries: dict[str, SessionEntry], alive: set[str]) -> Status:
        living = [
            entry.status
            for device, entry in entries.items()
            # Of this process's sessions the hub knows best: their records go a moment after them.
            if (
                self._hub.get(user, device) is not None
                if entry.process == self._bus.process
                else entry.process in alive
            )
        ]
        if not living:
            return "offline"
        return "online" if "online" in living else "away"

    # changes of users of this process

    def opened(self, user: str) -> None:
        self._changes.add(user)

    def closed(self, user: str) -> None:
        """The last session here ended."""
        self._changes.add(user)

    def changed(self, user: str) -> None:
        """Online ↔ away."""
        self._changes.add(user)

    async def _announce(self, users: list[str]) -> None:
        users = list(dict.fromkeys(users))
        now = clock.now_ms()
        try:
            states = await self._states(users)
            commands: list[Command] = []
            for user in users:
                commands.append(("ZRANGEBYSCORE", watch_key(user), now, "+inf"))
                commands.append(("SET", seen_key(user), now, "EX", SEEN_TTL_S))
            answers = await self._bus.hot.run(commands)
        except (HotUnavailable, hiredis.ReplyError):
            return  # the followers' next refresh finds it
        for user, watching in zip(users, answers[::2], strict=True):
            status, seen = states[user]
            for process in watching:
                self._bus.send(
                    process.decode(), PRESENCE, (user, status, now if status == "offline" else seen)
                )

    # changes of users who are followed here

    def on_presence(self, payload: Any) -> None:
        user, status, seen = payload
        if status == "offline":
            self._doubt(user)
            return
        doubted = self._doubted.pop(user, None)
        if doubted is not None:
            doubted.cancel()
        self._tell(user, status, seen)

    def _tell(self, user: str, status: Status, seen: int | None, read_at: float | None = None) -> None:
        """Tell those who do not know it yet. ``read_at``: when it was read, if it was: what came meanwhile is newer."""
        now = asyncio.get_running_loop().time()
        frame = frames.Presence(status, user_id=user, last_seen=seen)
        for session, watch in self._following(user):
            if read_at is not None and (watch.status is None or watch.told_at >= read_at):
                continue
            known, watch.status, watch.told_at = watch.status, status, now
            if known != status:
                session.send(frame)

    def _doubt(self, user: str) -> None:
        """The user seems to be offline: look again after the debounce, unless it is back by then."""
        if user in self._doubted or all(watch.status == "offline" for _, watch in self._following(user)):
            return
        loop = asyncio.get_running_loop()
        self._doubted[user] = loop.call_later(LIMITS.offline_debounce_ms / 1000, self._debounced, user)

    def _debounced(self, user: str) -> None:
        self._doubted.pop(user, None)
        if user in self._watchers:
            self._again.add(user)

    async def _look_again(self, users: list[str]) -> None:
        began = asyncio.get_running_loop().time()
        try:
            states = await self._states(users)
        except (HotUnavailable, hiredis.ReplyError):
            return  # the next refresh doubts again
        for user, (status, seen) in states.items():
            self._tell(user, status, seen, began)

    def _new_term(self) -> None:
        epoch = self._bus.hot.epoch
        if self._epoch and self._epoch != epoch:
            self._records_back = asyncio.get_running_loop().time() + RECORDS_BACK_S
        self._epoch = epoch

    async def _refresh_while_followed(self) -> None:
        try:
            while self._watchers:
                users = list(self._watchers)
                chunks = [users[i : i + REFRESH_AT_ONCE] for i in range(0, len(users), REFRESH_AT_ONCE)]
                for chunk in chunks:  # spread, so that no moment has all of them
                    await asyncio.sleep(LIMITS.presence_refresh_ms / 1000 / len(chunks))
                    try:
                        await self._refresh([user for user in chunk if self._following(user)])
                    except Exception:
                        log.exception("the refresh of the presence failed")
        finally:
            self._refresher = None

    async def _refresh(self, users: list[str]) -> None:
        if not users:
            return
        loop = asyncio.get_running_loop()
        began = loop.time()
        try:
            states = await self._states(users)
        except (HotUnavailable, hiredis.ReplyError):
            return
        for user, (status, seen) in states.items():
            if status != "offline":
                self._tell(user, status, seen, began)
            elif began > self._records_back:
                self._doubt(user)

    # typing

    def typing(self, session: Session, conversation: str, active: bool, kind: str | None, ref: str) -> None:
        self._typing.add((session, conversation, active, kind, ref))

    async def _type(self, items: list[Typed]) -> None:
        try:
            lists = await self._roster.lists({conversation: 0 for _, conversation, _, _, _ in items})
        except Unavailable:
            return
        told: dict[tuple[str, str], tuple[bool, str | None]] = {}
        for session, conversation, active, kind, ref in items:
            known = lists.get(conversation)
            if known is not None and is_member(known, session.user):
                told[conversation, session.user] = (active, kind)
            elif session.state is not State.CLOSED:
                session.send(error_frame(Code.NOT_FOUND, "there is no such conversation", ref=ref))
        others: dict[str, list[str]] = {}
        for conversation, _ in told:
            known = lists.get(conversation)
            if known is not None:
                others[conversation] = list(known.current)
        everyone = list({user for users in others.values() for user in users})
        if not everyone:
            return
        try:
            (raws,) = await self._bus.hot.run([("MGET", *[sessions_key(user) for user in everyone])])
        except (HotUnavailable, hiredis.ReplyError):
            return
        sessions = {user: parse_sessions(raw) for user, raw in zip(everyone, raws, strict=True)}
        for (conversation, user), (active, kind) in told.items():
            by_process: dict[str, list[str]] = {}
            for other in others[conversation]:
                if other != user:
                    for process in {entry.process for entry in sessions[other].values()}:
                        by_process.setdefault(process, []).append(other)
            for process, there in by_process.items():
                self._bus.send(process, TYPING, (conversation, user, active, kind, there))

    def on_typing(self, payload: Any) -> None:
        conversation, user, active, kind, recipients = payload
        frame = frames.Typing(conversation, active, kind=kind, user_id=user)
        for recipient in recipients:
            for session in self._hub.of(recipient):
                if session.state is State.LIVE:
                    session.send(frame)
