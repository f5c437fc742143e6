"""Who is writing. Never stored; a receiver forgets it after 2 s.

In a direct conversation the other user's sessions are told. In a group only the sessions that have it open, which
``{conversation}:open`` names by process: one look-up and one publish a process, however many members there are. What passes is
bounded twice, where it is sent from and where it arrives (:class:`Pace`): 1,024 members who type at once are not
1,024 frames for each other, and nobody shows more than a few names.
"""

from __future__ import annotations

import asyncio
from typing import Any, NamedTuple

import hiredis

from delivery.open_chats import OpenChats, open_key
from delivery.ports import Shows, everybody
from delivery.roster import Roster, is_member
from delivery.session import Hub, Session, State
from delivery.store.interface import Unavailable
from delivery.store.values import Conversation
from whatsapp.infra import clock, faults
from whatsapp.infra.batcher import Batcher
from whatsapp.infra.bus import Bus
from whatsapp.infra.directory import parse_sessions, sessions_key
from whatsapp.infra.limits import LIMITS, Rate
from whatsapp.infra.valkey import Command, HotUnavailable
from whatsapp.wire import frames
from whatsapp.wire.codec import Codec
from whatsapp.wire.errors import Code, error_frame

TYPING = "typing"  # payload: [conversation, user, active, kind, [recipients]]
OPEN_TYPING = "open-typing"  # payload: [conversation, user, active, kind]: for who has the group open
#: A receiver forgets after 2 s: who goes on typing is told again, but not sooner than this.
AGAIN_S = 0.75
FORGET_S = 2.0
MAX_PACES = 10_000


class Typed(NamedTuple):
    session: Session
    conversation: str
    active: bool
    kind: frames.TypingKind | None
    ref: str
    at: float  # loop time


class Shown(NamedTuple):
    conversation: str
    user: str
    active: bool
    kind: frames.TypingKind | None


class Pace:
    """What of the typing in one group passes here: ``typing_shown_per_second``, and an end only after its beginning."""

    __slots__ = ("_rate", "_typing", "used")

    def __init__(self) -> None:
        self._rate = Rate()
        self._typing: dict[str, tuple[str | None, float]] = {}  # user → kind, when it passed
        self.used = 0.0

    def passes(self, user: str, active: bool, kind: str | None, now_s: float) -> bool:
        self.used = now_s
        known = self._typing.get(user)
        if not active:
            return self._typing.pop(user, None) is not None
        if known is not None and known[0] == kind and now_s - known[1] < AGAIN_S:
            return False
        if faults.off("typing_pace"):
            return True
        if self._rate.take(now_s * 1000, LIMITS.typing_shown_per_second, 1_000):
            return False
        for other, (_, at) in list(self._typing.items()):  # no more than passed in 2 s
            if now_s - at > FORGET_S:
                del self._typing[other]
        self._typing[user] = (kind, now_s)
        return True


class Paces:
    """By conversation, for the groups in which somebody types now."""

    def __init__(self) -> None:
        self._paces: dict[str, Pace] = {}

    def pass_(self, shown: Shown) -> bool:
        now = asyncio.get_running_loop().time()
        pace = self._paces.get(shown.conversation)
        if pace is None:
            if len(self._paces) >= MAX_PACES:
                recent = {c: p for c, p in self._paces.items() if now - p.used < FORGET_S}
                self._paces = recent if len(recent) < MAX_PACES // 2 else {}
            pace = self._paces[shown.conversation] = Pace()
        return pace.passes(shown.user, shown.active, shown.kind, now)


class Typing:
    def __init__(
        self, bus: Bus, hub: Hub, roster: Roster, chats: OpenChats, shows: Shows = everybody
    ) -> None:
        self._bus = bus
        self._hub = hub
        self._roster = roster
        self._chats = chats
        self._shows = shows
        self._typed: Batcher[Typed] = Batcher(self._pass_on)
        self._leaving = Paces()
        self._arriving = Paces()
        self._arrived: Batcher[Shown] = Batcher(self._show)

    def typing(
        self, session: Session, conversation: str, active: bool, kind: frames.TypingKind | None, ref: str
    ) -> None:
        """Pass it on; who is no member is answered ``not_found``, who may not send ``forbidden``."""
        now = asyncio.get_running_loop().time()
        self._typed.add(Typed(session, conversation, active, kind, ref, now))

    async def _pass_on(self, items: list[Typed]) -> None:
        try:
            lists = await self._roster.lists({item.conversation: 0 for item in items})
        except Unavailable:
            return
        told: dict[tuple[str, str], Shown] = {}  # of several of one moment, the last
        now = asyncio.get_running_loop().time()
        for item in items:
            known = lists.get(item.conversation)
            if known is None or not is_member(known, item.session.user):
                _refuse(item, Code.NOT_FOUND, "there is no such conversation")
            elif known.speakers is not None and item.session.user not in known.speakers:
                _refuse(item, Code.FORBIDDEN, "only admins may send to this group")
            elif now - item.at < FORGET_S:  # not what waited for a slow store
                shown = Shown(item.conversation, item.session.user, item.active, item.kind)
                told[item.conversation, item.session.user] = shown
        direct = [one for one in told.values() if lists[one.conversation].kind == "direct"]
        grouped = [
            one
            for one in told.values()
            if lists[one.conversation].kind != "direct" and self._leaving.pass_(one)
        ]
        if direct:
            await self._to_the_other(direct, lists)
        if grouped:
            await self._to_who_has_it_open(grouped)

    async def _to_the_other(self, told: list[Shown], lists: dict[str, Conversation]) -> None:
        pairs = [
            (one.user, other)
            for one in told
            for other in lists[one.conversation].current
            if other != one.user
        ]
        allowed = {pair for pair, may in zip(pairs, await self._shows(pairs), strict=True) if may.typing}
        others = list({other for _, other in allowed})
        if not others:
            return
        try:
            raws = await self._bus.hot.run_each([("GET", sessions_key(user)) for user in others])
        except (HotUnavailable, hiredis.ReplyError):
            return
        sessions = {
            user: parse_sessions(raw) if not isinstance(raw, Exception) else {}
            for user, raw in zip(others, raws, strict=True)
        }
        for one in told:
            by_process: dict[str, list[str]] = {}
            for other in lists[one.conversation].current:
                if (one.user, other) in allowed:
                    for process in {entry.process for entry in sessions[other].values()}:
                        by_process.setdefault(process, []).append(other)
            for process, there in by_process.items():
                self._bus.send(process, TYPING, (*one, there))

    async def _to_who_has_it_open(self, told: list[Shown]) -> None:
        conversations = list(dict.fromkeys(one.conversation for one in told))
        now = clock.now_ms()
        commands: list[Command] = [
            ("ZRANGEBYSCORE", open_key(conversation), now, "+inf") for conversation in conversations
        ]
        try:
            answers = await self._bus.hot.run_each(commands)
        except (HotUnavailable, hiredis.ReplyError) as error:
            answers = [error] * len(conversations)
        here = [self._bus.process.encode()]  # at least
        processes = {
            conversation: answer if not isinstance(answer, Exception) else here
            for conversation, answer in zip(conversations, answers, strict=True)
        }
        for one in told:
            for process in processes[one.conversation]:
                self._bus.send(process.decode(), OPEN_TYPING, tuple(one))

    # what arrives

    def on_typing(self, payload: Any) -> None:
        conversation, user, active, kind, recipients = payload
        frame = frames.Typing(conversation, active, kind=kind, user_id=user)
        for recipient in recipients:
            for session in self._hub.of(recipient):
                if session.state is State.LIVE:
                    session.send(frame)

    def on_open_typing(self, payload: Any) -> None:
        shown = Shown(*payload)
        if self._chats.anybody(shown.conversation) and self._arriving.pass_(shown):
            self._arrived.add(shown)

    async def _show(self, items: list[Shown]) -> None:
        """Members of now, by a list that is 5 s old at most, to members of now."""
        try:
            lists = await self._roster.lists({item.conversation: 0 for item in items})
        except Unavailable:
            return
        for item in items:
            known = lists.get(item.conversation)
            if known is None or not is_member(known, item.user):
                continue
            frame = frames.Typing(item.conversation, item.active, kind=item.kind, user_id=item.user)
            encoded: dict[Codec, bytes] = {}
            for session in self._chats.sessions(item.conversation):
                if not is_member(known, session.user) and not faults.off("open_members"):
                    self._chats.close(session, (item.conversation,))
                elif session.state is State.LIVE and session.user != item.user and not session.outlet.paused:
                    data = encoded.get(session.codec)
                    if data is None:
                        data = encoded[session.codec] = session.codec.encode(frame)
                    session.outlet.write(data)


def _refuse(item: Typed, code: str, message: str) -> None:
    if item.session.state is not State.CLOSED:
        item.session.send(error_frame(code, message, ref=item.ref))
