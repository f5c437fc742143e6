"""Who is online, and who is writing. Never stored durably, only hinted at on the hot node; unknown is shown as unknown.

A user is online while one of its sessions lives. Changes go only to those who subscribed: ``{user}:watch`` is a zset
process → expiry, written at subscribe. Going offline is debounced, so that a changed network shows nothing.
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


def watch_key(user: str) -> str:
    return f"{{{user}}}:watch"


def seen_key(user: str) -> str:
    return f"{{{user}}}:seen"


def _status(entries: dict[str, SessionEntry], alive: set[str]) -> Status:
    living = [entry.status for entry in entries.values() if entry.process in alive]
    if not living:
        return "offline"
    return "online" if "online" in living else "away"


class Presence:
    def __init__(self, bus: Bus, hub: Hub, roster: Roster) -> None:
        self._bus = bus
        self._hub = hub
        self._roster = roster
        self._watchers: dict[str, dict[Session, float]] = {}  # user -> session -> expiry (loop time)
        self._changes: Batcher[str] = Batcher(self._announce)
        self._typing: Batcher[Typed] = Batcher(self._type)
        self._leaving: dict[str, asyncio.TimerHandle] = {}

    # subscriptions

    async def subscribe(self, session: Session, users: Sequence[str], ttl_s: int) -> None:
        """Answer the state of each user now and follow it for ``ttl_s``. The caller has checked limits and privacy."""
        loop = asyncio.get_running_loop()
        for user in users:
            self._watchers.setdefault(user, {})[session] = loop.time() + ttl_s
            session.watching.add(user)
        until = clock.now_ms() + ttl_s * 1000
        commands: list[Command] = []
        for user in users:
            commands.append(("ZADD", watch_key(user), until, self._bus.process))
            commands.append(("EXPIRE", watch_key(user), ttl_s + 60))
        try:
            # Subscribed first, then read: a change in between arrives twice rather than never.
            await self._bus.hot.run(commands)
            states = await self._states(users)
        except (HotUnavailable, hiredis.ReplyError):
            states = dict.fromkeys(users, ("unknown", None))
        if session.state is not State.CLOSED:
            for user, (status, seen) in states.items():
                session.send(frames.Presence(status, user_id=user, last_seen=seen))

    def unsubscribe(self, session: Session) -> None:
        for user in session.watching:
            watchers = self._watchers.get(user)
            if watchers is not None:
                watchers.pop(session, None)
                if not watchers:
                    del self._watchers[user]
        session.watching.clear()

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
            status = _status(found, alive)
            states[user] = (status, int(at) if at and status != "online" else None)
        return states

    # changes

    def opened(self, user: str) -> None:
        leaving = self._leaving.pop(user, None)
        if leaving is not None:
            leaving.cancel()
        else:
            self._changes.add(user)

    def closed(self, user: str) -> None:
        """The last session here ended; told after the debounce unless the user is back."""
        if user in self._leaving:
            return
        loop = asyncio.get_running_loop()
        self._leaving[user] = loop.call_later(LIMITS.offline_debounce_ms / 1000, self._left, user)

    def _left(self, user: str) -> None:
        self._leaving.pop(user, None)
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
            return
        for user, watching in zip(users, answers[::2], strict=True):
            status, seen = states[user]
            for process in watching:
                self._bus.send(
                    process.decode(), PRESENCE, (user, status, now if status == "offline" else seen)
                )

    def on_presence(self, payload: Any) -> None:
        user, status, seen = payload
        watchers = self._watchers.get(user)
        if not watchers:
            return
        now = asyncio.get_running_loop().time()
        frame = frames.Presence(status, user_id=user, last_seen=seen)
        for session, until in list(watchers.items()):
            if until < now or session.state is State.CLOSED:
                watchers.pop(session, None)
                session.watching.discard(user)
            else:
                session.send(frame)

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
                others[conversation] = [i.user for i in known.members if not i.left]
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
