"""Who is online. Never stored durably, only hinted at on the hot node; unknown is shown as unknown.

A user is online while one of its sessions lives. Changes go only to those who subscribed: ``{user}:watch`` is a zset
process → expiry, written at subscribe. Whose last session ended is announced at once, so that a process on its way out
need not wait; the followers' process looks again after the debounce, so that a changed network shows nothing, or at once when the
client said that it goes. It also reads
the states of all it follows every ``presence_refresh_ms``: who was killed, or could not reach the node, announced nothing.

A session follows a user by itself, or *through* a chat that it has open; the latter holds while both are members.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import hiredis

from delivery.ports import ANYBODY, NOTHING, Shows, everybody
from delivery.roster import Roster, is_member
from delivery.session import Hub, Session, State
from delivery.states import SEEN_TTL_S, States, seen_key
from delivery.store.interface import Unavailable
from delivery.watch import (
    DIRECTLY,
    Change,
    Status,
    Watch,
    anything,
    presence_frame,
    status_for,
    tell_one,
)
from whatsapp.infra import clock, faults
from whatsapp.infra.batcher import Batcher
from whatsapp.infra.bus import Bus
from whatsapp.infra.directory import watch_key
from whatsapp.infra.limits import LIMITS
from whatsapp.infra.spacing import spacing
from whatsapp.infra.valkey import Command, HotUnavailable
from whatsapp.wire import frames

log = logging.getLogger(__name__)

PRESENCE = (
    "presence"  # payload: [user, status, last_seen], and true when who follows the user is to look at once
)
REFRESH_AT_ONCE = 500
#: A node that lost its records has them again after this time (``sessions.REOPEN_SPREAD_S``); until then none means nothing.
RECORDS_BACK_S = 60.0


class Presence:
    def __init__(self, bus: Bus, hub: Hub, roster: Roster, shows: Shows = everybody) -> None:
        self._bus = bus
        self._hub = hub
        self._roster = roster
        self._shows = shows
        self._states = States(bus, hub)
        self._watchers: dict[str, dict[Session, Watch]] = {}  # by user
        self._changes: Batcher[tuple[str, bool]] = Batcher(
            self._announce, spacing=spacing(LIMITS.opening_spacing_ms)
        )
        self._through: Batcher[Change] = Batcher(self._tell_through)
        self._forgotten: set[str] = set()  # followed here, which a new epoch does not know yet
        self._doubted: dict[str, asyncio.TimerHandle] = {}  # said to be offline, told after the debounce
        self._rights: Batcher[str] = Batcher(self._look_at_rights, REFRESH_AT_ONCE)
        self._again: Batcher[str] = Batcher(self._look_again, REFRESH_AT_ONCE)
        self._refresher: asyncio.Task[None] | None = None  # while anybody is followed
        self._epochs: frozenset[str] = frozenset()  # of nodes, ever known
        self._records_back: dict[str, float] = {}  # epoch of a node → loop time
        bus.hot.on_term.append(self._new_term)

    # subscriptions

    def watched(self, session: Session) -> set[str]:
        """Whom the session follows directly; what has expired is dropped first."""
        return {
            user
            for user in list(session.watching)
            if (watch := self._living(session, user)) is not None and DIRECTLY in watch.until
        }

    def follow(self, session: Session, users: Iterable[str], ttl_s: int, through: str = DIRECTLY) -> None:
        """Subscribe for ``ttl_s``, here. The caller has checked the limits; :meth:`answer` does the rest."""
        loop = asyncio.get_running_loop()
        for user in users:
            watch = self._watchers.setdefault(user, {}).setdefault(session, Watch())
            watch.until[through] = loop.time() + ttl_s
            session.watching[user] = None
        if self._refresher is None:
            self._refresher = loop.create_task(self._refresh_while_followed())

    async def answer(self, session: Session, users: Sequence[str], ttl_s: int) -> None:
        """Make changes of ``users`` come here, and tell the session their states."""
        while users:
            users = await self._answer(session, users, ttl_s)

    async def _answer(self, session: Session, users: Sequence[str], ttl_s: int) -> list[str]:
        """Returns those who have changed meanwhile what they show: the session was told nothing of them yet."""
        states: dict[str, tuple[Status, int | None]] = {}
        # Subscribed first, then read, rights and states: a change in between arrives twice rather than never.
        subscribed = await self._subscribe(dict.fromkeys(users, ttl_s * 1000))
        watches = {user: self._watchers.get(user, {}).get(session) for user in users}
        before = {user: watch.changes for user, watch in watches.items() if watch is not None}
        shown = dict(zip(users, await self._shows([(user, session.user) for user in users]), strict=True))
        visible = [user for user in users if anything(shown[user])]
        if readable := [user for user in visible if user in subscribed]:
            try:
                states = await self._states.read(readable)
            except (HotUnavailable, hiredis.ReplyError):
                pass
        for user in visible:
            if user not in states:
                states[user] = "unknown", None
                self._forgotten.add(user)
        now = asyncio.get_running_loop().time()
        again: list[str] = []
        for user in users:
            if session.state is State.CLOSED:
                return []
            watch = self._watchers.get(user, {}).get(session)
            if watch is None:
                continue  # hidden meanwhile, and told so, or no longer followed
            changed = watch is not watches[user] or watch.changes != before[user]
            if changed and not faults.off("rights_again"):
                again.append(user)
                continue
            if user not in states:
                self._hide(session, user)
                continue
            status, seen = states[user]
            watch.shown = shown[user]
            watch.status, watch.told_at = status_for(status, shown[user]), now
            session.send(presence_frame(user, status, seen, shown[user]))
        return again

    def unfollow(self, session: Session, through: str) -> None:
        """The chat is no longer open, or the session's user no longer in it."""
        for user in list(session.watching):
            watch = self._watchers.get(user, {}).get(session)
            if watch is not None and watch.until.pop(through, None) is not None and not watch.until:
                self._drop(session, user)

    def unsubscribe(self, session: Session) -> None:
        for user in list(session.watching):
            self._drop(session, user)

    def _drop(self, session: Session, user: str) -> None:
        session.watching.pop(user, None)
        watchers = self._watchers.get(user)
        if watchers is not None:
            watchers.pop(session, None)
            if not watchers:
                del self._watchers[user]

    def _following(self, user: str) -> list[tuple[Session, Watch]]:
        """The subscriptions to a user; what has expired is dropped first."""
        return [
            (session, watch)
            for session in list(self._watchers.get(user, ()))
            if (watch := self._living(session, user)) is not None
        ]

    def _living(self, session: Session, user: str) -> Watch | None:
        watch = self._watchers.get(user, {}).get(session)
        if watch is not None and session.state is not State.CLOSED:
            now = asyncio.get_running_loop().time()
            for through in [chat for chat, until in watch.until.items() if until < now]:
                del watch.until[through]
            if watch.until:
                return watch
        self._drop(session, user)
        return None

    def _hide(self, session: Session, user: str) -> None:
        self._drop(session, user)
        session.send(frames.Presence("unknown", user_id=user))

    # rights

    def on_visibility(self, user: str) -> None:
        """What this user shows to whom has changed, and with it what others show to this user: some of it is reciprocal."""
        pairs = self._concerned(user)
        for followed, session in pairs:
            self._watchers[followed][session].changes += 1
        if pairs:
            self._rights.add(user)

    def _concerned(self, user: str) -> list[tuple[str, Session]]:
        """Who follows the user here, and whom the user's sessions here follow: (followed, session)."""
        followers = [(user, session) for session in self._watchers.get(user, ())]
        return followers + [
            (followed, session) for session in self._hub.of(user) for followed in session.watching
        ]

    async def _look_at_rights(self, users: list[str]) -> None:
        following = list(dict.fromkeys(pair for user in users for pair in self._concerned(user)))
        answers = await self._shows([(user, session.user) for user, session in following])
        changed: dict[str, list[Session]] = {}
        for (user, session), shown in zip(following, answers, strict=True):
            watch = self._living(session, user)
            if watch is None or watch.shown == shown:
                continue
            if not anything(shown):
                self._hide(session, user)
                continue
            watch.shown = shown
            if not shown.online and watch.status != "unknown":
                watch.status = "unknown"  # at once: the states take a moment
                session.send(frames.Presence("unknown", user_id=user))
            changed.setdefault(user, []).append(session)
        try:
            states = await self._states.read(list(changed)) if changed else {}
        except (HotUnavailable, hiredis.ReplyError):
            return  # the next refresh tells what is new
        for user, (status, seen) in states.items():
            for session in changed[user]:
                watch = self._watchers.get(user, {}).get(session)
                if watch is not None:
                    watch.status, watch.told_at = (
                        status_for(status, watch.shown),
                        asyncio.get_running_loop().time(),
                    )
                    session.send(presence_frame(user, status, seen, watch.shown))

    def on_profile(self, user: str) -> None:
        """The user's name, about or photo has changed: for those who are told something of the user, who may then ask."""
        for session, watch in self._following(user):
            if anything(watch.shown) and session.user != user:
                session.send(frames.Notice(kind="profile_changed", data={"userId": user}))

    # states

    async def online(self, users: Sequence[str]) -> int:
        """How many of ``users`` are online and show it to everybody: one number is told to all. Raises what the hot node raises,
        also when some cannot be known, and ``Unavailable``."""
        states = await self._states.read(users, with_seen=False)
        if len(states) < len(users):
            raise HotUnavailable("some are on a node that is away")
        online = [user for user, (status, _) in states.items() if status == "online"]
        shown = await self._shows([(user, ANYBODY) for user in online]) if online else []
        if any(one == NOTHING for one in shown):
            raise Unavailable("what the members show cannot be read")  # nobody has blocked nobody
        return sum(one.online for one in shown)

    # changes of users of this process

    def opened(self, user: str) -> None:
        self._changes.add((user, False))

    def closed(self, user: str) -> None:
        """The last session here ended."""
        self._changes.add((user, False))

    def left(self, user: str, bye: bool) -> None:
        """The last session here ended and its record is gone; ``bye``: because its client said so, it is no changed network."""
        self._changes.add((user, bye))

    def changed(self, user: str) -> None:
        """Online ↔ away."""
        self._changes.add((user, False))

    async def _announce(self, changes: list[tuple[str, bool]]) -> None:
        users = list(dict.fromkeys(user for user, _ in changes))
        left = {user for user, on_purpose in changes if on_purpose}
        now = clock.now_ms()
        try:
            states = await self._states.read(users)
            commands: list[Command] = []
            for user in users:
                commands.append(("ZRANGEBYSCORE", watch_key(user), now, "+inf"))
                commands.append(("SET", seen_key(user), now, "EX", SEEN_TTL_S))
            answers = await self._bus.hot.run_each(commands)
        except (HotUnavailable, hiredis.ReplyError):
            return  # the followers' next refresh finds it
        for user, watching in zip(users, answers[::2], strict=True):
            if user not in states or isinstance(watching, Exception):
                continue  # its node is away: the same
            status, seen = states[user]
            for process in watching:
                told: tuple[Any, ...] = (user, status, now if status == "offline" else seen)
                if user not in self._hub.by_user and (user in left or status != "offline"):
                    # Whoever has its sessions may have said something newer: who follows it looks. A gateway of the version
                    # before takes no fourth.
                    told = user, "offline", now, True
                self._bus.send(process.decode(), PRESENCE, told)

    # changes of users who are followed here

    def on_presence(self, payload: Any) -> None:
        user, status, seen, *sure = payload
        if status == "offline":
            if sure and sure[0]:
                self._look_now(user)
            else:
                self._doubt(user)
            return
        doubted = self._doubted.pop(user, None)
        if doubted is not None:
            doubted.cancel()
        self._tell(user, status, seen)

    def _tell(self, user: str, status: Status, seen: int | None, read_at: float | None = None) -> None:
        """Tell those who do not know it yet. ``read_at``: when it was read, if it was: what came meanwhile is newer."""
        change = Change(user, status, seen, read_at)
        through = False
        for session, watch in self._following(user):
            if DIRECTLY in watch.until:
                tell_one(session, watch, change)
            else:
                through = True
        if through:
            self._through.add(change)

    async def _tell_through(self, changes: list[Change]) -> None:
        """Tell who follows through a chat, if both are still in it, by a list of members that is 5 s old at most."""
        chats = {
            chat
            for change in changes
            for _, watch in self._following(change.user)
            for chat in watch.until
            if chat != DIRECTLY
        }
        try:
            lists = await self._roster.lists(dict.fromkeys(chats, 0))
        except Unavailable:
            return  # the next refresh tells it
        for change in changes:
            for session, watch in self._following(change.user):
                # What was opened while the lists were read has its answer on the way.
                for chat in chats.intersection(watch.until):
                    known = lists.get(chat)
                    if known is None or not is_member(known, session.user):
                        if not faults.off("open_members"):
                            self.unfollow(session, chat)
                    elif not is_member(known, change.user):
                        del watch.until[chat]
                if watch.until and not chats.isdisjoint(watch.until):
                    tell_one(session, watch, change)

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

    def _look_now(self, user: str) -> None:
        """The user went on purpose, or has sessions on other gateways: look again at once."""
        doubted = self._doubted.get(user)
        if doubted is not None:
            doubted.cancel()
        self._debounced(user)

    async def _look_again(self, users: list[str]) -> None:
        began = asyncio.get_running_loop().time()
        try:
            states = await self._states.read(users)
        except (HotUnavailable, hiredis.ReplyError):
            return  # the next refresh doubts again
        for user, (status, seen) in states.items():
            self._tell(user, status, seen, began)
            for _, watch in self._following(user):
                if watch.told_at >= began and watch.status != status_for(status, watch.shown):
                    self._again.add(user)  # what was told meanwhile may be older than what was read

    def _new_term(self) -> None:
        hot = self._bus.hot
        new = hot.epochs() - self._epochs
        if new and self._epochs:
            back = asyncio.get_running_loop().time() + RECORDS_BACK_S
            self._records_back = {epoch: self._records_back.get(epoch, 0.0) for epoch in hot.epochs()}
            self._records_back.update(dict.fromkeys(new, back))
            # The next refresh, which is spread, says it again.
            self._forgotten |= {user for user in self._watchers if hot.under(user)[1] in new}
        self._epochs |= new

    async def _watch_again(self, users: Iterable[str]) -> set[str]:
        """Changes of these come here. Returns those of whom nothing is left to do."""
        now = asyncio.get_running_loop().time()
        done: set[str] = set()
        again: dict[str, int] = {}
        for user in users:
            left = [end - now for _, watch in self._following(user) for end in watch.until.values()]
            if left:
                again[user] = round(max(left) * 1000)
            else:
                done.add(user)
        return done | await self._subscribe(again)

    async def _subscribe(self, users: Mapping[str, int]) -> set[str]:
        """Let changes of these come here for so many ms. Returns those whose node has taken it."""
        commands = [self._watch_commands(user, ms) for user, ms in users.items()]
        try:
            answers = await self._bus.hot.run_each([command for pair in commands for command in pair])
        except (HotUnavailable, hiredis.ReplyError):
            return set()
        failed = [isinstance(answer, Exception) for answer in answers]
        return {user for at, user in enumerate(users) if not any(failed[2 * at : 2 * at + 2])}

    def _watch_commands(self, user: str, ms: int) -> list[Command]:
        return [
            # A short subscription must not end the longer one of another session here.
            ("ZADD", watch_key(user), "GT", clock.now_ms() + ms, self._bus.process),
            ("EXPIRE", watch_key(user), LIMITS.presence_ttl_s + 60),
        ]

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
        forgotten = self._forgotten.intersection(users)
        try:
            if forgotten:
                self._forgotten -= await self._watch_again(forgotten)
            states = await self._states.read(users)
        except (HotUnavailable, hiredis.ReplyError):
            return
        for user, (status, seen) in states.items():
            if status != "offline":
                self._tell(user, status, seen, began)
            elif began > self._records_back.get(self._bus.hot.under(user)[1], 0.0):
                self._doubt(user)
