"""Opening and ending the sessions of a process (R5 to R7).

Open: subscription confirmed → register → marker and marks → rebuild if the marker is not the epoch's → page. If the term
changes in between, it begins again. On a new term all sessions are opened again, spread over at most 60 s. The check of them all,
every 60 s, is :mod:`delivery.session_check`.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Mapping, Sequence
from typing import Any

import hiredis

from delivery.inbox import Complete, Inbox, Registered, Registration
from delivery.live import Live
from delivery.open_chats import OpenChats
from delivery.ports import Identify
from delivery.presence import Presence
from delivery.receipts import RECEIPT_SLACK_MS, send_receipts
from delivery.roster import Roster
from delivery.session import Hub, Session, State
from delivery.session_check import SessionCheck
from delivery.silence import Silence
from delivery.store.interface import Store, Unavailable
from delivery.store.values import NEW_DEVICE_MS, DeviceRow
from whatsapp.infra import clock, faults, metrics
from whatsapp.infra.batcher import AskBatcher, Batcher
from whatsapp.infra.bus import Bus
from whatsapp.infra.limits import LIMITS
from whatsapp.infra.logs import about
from whatsapp.infra.spacing import spacing
from whatsapp.infra.valkey import HotUnavailable
from whatsapp.wire.errors import Close

log = logging.getLogger(__name__)

REPLACED = "replaced"  # payload: [user, device, generation of the newer session]
OPEN_AT_ONCE = 128
#: Of those opened together, whose heads and positions one statement compares: each may be in hundreds of conversations.
REBUILD_AT_ONCE = 16
REOPEN_SPREAD_S = 60.0
LEFT_OVER = 100_000
REOPEN_AT_LEAST = 500  # a second


class Sessions:
    def __init__(
        self,
        store: Store,
        bus: Bus,
        hub: Hub,
        roster: Roster,
        inbox: Inbox,
        live: Live,
        presence: Presence,
        chats: OpenChats,
        identify: Identify,
        silence: Silence,
    ) -> None:
        self._store = store
        self._bus = bus
        self._hub = hub
        self._roster = roster
        self._inbox = inbox
        self._live = live
        self._presence = presence
        self._chats = chats
        self._silence = silence
        self._check = SessionCheck(bus, hub, inbox, live, identify, silence, self)
        self._opens: AskBatcher[Session] = AskBatcher(
            self._open_all, OPEN_AT_ONCE, spacing(LIMITS.opening_spacing_ms)
        )
        self._unregister: Batcher[Session] = Batcher(self._unregister_all)
        self._left_over: list[Session] = []  # ended while the hot node was away
        self._reopening: asyncio.Task[None] | None = None

    def start(self) -> None:
        self._bus.hot.on_term.append(self._new_term)
        self._check.start()

    async def stop(self) -> None:
        self._check.stop()
        if self._reopening is not None:
            self._reopening.cancel()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(2.0):
                await self._unregister.drained()

    # opening

    async def open(self, session: Session) -> bool:
        """Register the session here and on the hot node. True if the device must be told that its marks were rebuilt."""
        session.opened_at = clock.now_ms()
        old = self._hub.add(session)
        if old is not None:
            # In the same millisecond, or the clock was set back.
            session.opened_at = max(session.opened_at, old.opened_at + 1)
            self.end(old, Close.REPLACED, "a newer session of this device")
        rebuilt: bool = await self._opens.ask(session)
        if not session.term and self._bus.hot.under(session.user)[0]:  # the term began in between
            rebuilt = await self._opens.ask(session)
        if session.state is not State.CLOSED:
            self._presence.opened(session.user)
        return rebuilt

    async def _open_all(self, sessions: list[Session]) -> list[bool]:
        hot = self._bus.hot
        rebuilt: dict[Session, bool] = {}
        left = sessions
        for _ in range(3):
            under = {session: hot.under(session.user) for session in left}
            there = {session: epoch for session, (term, epoch) in under.items() if term}
            if not there:
                break
            try:
                opened = await self._open_under(there)
            except (HotUnavailable, Unavailable, hiredis.ReplyError):
                break
            for session, was_rebuilt in opened.items():
                if hot.under(session.user) == under[session]:
                    session.term, session.epoch = under[session]
                    rebuilt[session] = was_rebuilt
            left = [session for session in left if session not in rebuilt]
        # Without its hot node a session is served from the store; the next term opens it again.
        for session in left:
            session.term, session.complete = 0, False
            session.epoch = session.epoch or hot.under(session.user)[1]
        await asyncio.gather(*[self._count_pending(session) for session in left])
        return [rebuilt.get(session, True) for session in sessions]

    async def _count_pending(self, session: Session) -> None:
        """What ``ready`` tells of a session that has no marks to count: heads above positions."""
        if session.state is State.OPENING:
            with contextlib.suppress(Unavailable):
                session.pending = len(await self._store.behind(session.user, session.device))

    async def _open_under(self, epochs: Mapping[Session, str]) -> dict[Session, bool]:
        """Whether the marks of each were rebuilt; who is absent was not reached."""
        # A session that ended meanwhile must not displace anybody.
        living = [session for session in epochs if session.state is not State.CLOSED]
        answers = await self._inbox.register([self._registration(session) for session in living])
        rebuild: list[Session] = []
        reached = dict.fromkeys(epochs, False)
        for session, answer in zip(living, answers, strict=True):
            if answer is None:
                del reached[session]
                continue
            if not answer.generation:
                if self._is_later(session, answer):
                    session.generation, session.opened_at = 0, answer.replaced_generation + 1
                    del reached[session]  # asked again
                else:
                    self.end(session, Close.REPLACED, "a newer session of this device")
                continue
            session.generation = answer.generation
            if session.state is State.CLOSED:
                self._unregister.add(session)  # it went while its record was on the way
            elif session.newer > session.generation:
                self.end(session, Close.REPLACED, "a newer session of this device")
            if answer.replaced and answer.replaced != self._bus.process:
                self._bus.send(answer.replaced, REPLACED, (session.user, session.device, session.generation))
            session.pending = answer.pending
            session.complete = answer.marker == epochs[session] or faults.off("marker")
            if not session.complete:
                rebuild.append(session)
        if rebuild:
            for session in rebuild:
                self._roster.forget_devices(session.user)  # young or not: read now
            devices = await self._roster.devices([session.user for session in rebuild])
            for rebuilt in await asyncio.gather(
                *[
                    self._rebuild({session: epochs[session] for session in some}, devices)
                    for some in (
                        rebuild[at : at + REBUILD_AT_ONCE] for at in range(0, len(rebuild), REBUILD_AT_ONCE)
                    )
                ]
            ):
                for session, done in rebuilt.items():
                    if done:
                        reached[session] = True
                    else:
                        del reached[session]
        return reached

    def _is_later(self, session: Session, answer: Registered) -> bool:
        """Whether a session was opened after that of the record although its number is not higher."""
        if session.state is State.CLOSED:
            return False
        if answer.replaced == self._bus.process:
            return True  # at one process a session takes the place of the one before it
        # Who is being opened was the first only if the other was opened since then. If that number is not of this time, its clock
        # is ahead of this one's, or both were opened in one millisecond.
        since = session.opened_at < answer.replaced_generation <= clock.now_ms()
        return session.state is State.OPENING and not session.generation and not since

    def _registration(self, session: Session) -> Registration:
        status = "away" if session.away else "online"
        return Registration(session.user, session.device, self._bus.process, session.opened_at, status)

    async def _rebuild(
        self, epochs: Mapping[Session, str], devices: Mapping[str, Sequence[DeviceRow]]
    ) -> dict[Session, bool]:
        """Compare heads with positions (read after the epoch), then marks and marker in one script each. False: the node of that
        session is away."""
        metrics.count("sessions", "rebuilt", len(epochs))
        sessions = list(epochs)
        behind = await self._store.behind_each([(session.user, session.device) for session in sessions])
        now = clock.now_ms()
        sets: list[Complete] = []
        for session, entries in zip(sessions, behind, strict=True):
            rows = devices[session.user]
            linked = next((row.linked_at for row in rows if row.device == session.device), now)
            # Where others may still have marked elsewhere, the set is not complete yet: the next check looks again.
            young = now - linked < NEW_DEVICE_MS or not self._bus.hot.settled(session.user)
            sets.append(Complete(session.user, session.device, "" if young else epochs[session], entries))
        done: dict[Session, bool] = {}
        for session, one, size in zip(sessions, sets, await self._inbox.complete(sets), strict=True):
            done[session] = size is not None
            if size is not None:
                session.pending = size
                session.complete = bool(one.epoch)
        return done

    async def announce(self, session: Session) -> None:
        """Online or away changed: the record first, then those who follow."""
        if not session.generation or session.state >= State.CLOSED:
            return
        try:
            await self._inbox.register([self._registration(session)])
        except (HotUnavailable, hiredis.ReplyError):
            return
        finally:
            if session.state is State.CLOSED:
                self._unregister.add(
                    session
                )  # it ended meanwhile: its record may have been written after it was removed
        self._presence.changed(session.user)

    def _new_term(self) -> None:
        left_over, self._left_over = self._left_over, []
        for session in left_over:
            self._unregister.add(session)
        if faults.off("reopen"):
            return
        if self._reopening is not None:
            self._reopening.cancel()
        self._reopening = asyncio.get_running_loop().create_task(self._reopen_all())

    async def _reopen_all(self) -> None:
        under = self._bus.hot.under
        sessions = [s for s in self._hub.all() if s.state is not State.OPENING and s.term != under(s.user)[0]]
        rate = max(REOPEN_AT_LEAST, len(sessions) / REOPEN_SPREAD_S)
        for start in range(0, len(sessions), OPEN_AT_ONCE):
            chunk = [s for s in sessions[start : start + OPEN_AT_ONCE] if s.state is not State.CLOSED]
            await self.reopen(chunk)
            await asyncio.sleep(len(chunk) / rate)

    @property
    def reopening(self) -> bool:
        """Whether all sessions are being opened again, one after the other."""
        return self._reopening is not None and not self._reopening.done()

    async def reopen(self, sessions: Sequence[Session]) -> None:
        """Open again and read what the marks say is missing."""
        await asyncio.gather(*[self._opens.ask(session) for session in sessions])
        for session in sessions:
            if session.term and session.state in (State.SYNCING, State.LIVE):
                await self._follow_marks(session)
                await self._follow_receipts(session)

    async def _follow_marks(self, session: Session) -> None:
        try:
            dirty = await self._inbox.dirty(session.user, session.device)
        except (HotUnavailable, hiredis.ReplyError):
            session.term = 0  # its slot may be on the move and no term end with it: soon again
            return
        for conversation, seq in dirty.items():
            if seq > session.sent.get(conversation, -1):
                self._live.catch_up(session, conversation, seq)

    async def _follow_receipts(self, session: Session) -> None:
        """Tell what others acknowledged while this process could not hear of it."""
        since = self._bus.hot.ended_at
        if session.state is not State.LIVE or not since:
            return  # a sync ends with the receipts
        with contextlib.suppress(Unavailable):
            changed = await self._silence.stored(session.user, [], since - RECEIPT_SLACK_MS)
            send_receipts(session, changed)

    # ending

    def end(self, session: Session, code: int, reason: str) -> None:
        """Close the socket and forget the session."""
        if session.state is not State.CLOSED:
            if code != Close.REPLACED:
                ids = about(user=session.user, device=session.device)
                log.info("a session is ended", extra={**ids, "code": int(code), "reason": reason})
            session.outlet.close(code, reason)
            self.closed(session)

    def closed(self, session: Session, bye: bool = False) -> None:
        """The socket is gone; ``bye``: its client said that it goes. Idempotent."""
        if session.state is State.CLOSED:
            return
        session.state = State.CLOSED
        if session.sync is not None:
            session.sync.wake.set()
            session.sync = None
        self._presence.unsubscribe(session)
        self._chats.close(session, session.open_chats)
        if self._hub.remove(session):
            if len(self._hub.leaving) < LEFT_OVER:
                self._hub.leaving[session.user] = session
            self._unregister.add(session)
            session.bye = bye
            if session.user not in self._hub.by_user:
                self._presence.closed(session.user)

    async def forget(self, user: str, device: str) -> None:
        """The device is unlinked: its marks go. Without the hot node they go by their expiry."""
        self._roster.forget_devices(user)
        with contextlib.suppress(HotUnavailable, hiredis.ReplyError):
            await self._inbox.forget(user, device)

    async def _unregister_all(self, sessions: list[Session]) -> None:
        # Whose device is here again leaves the record to that session.
        gone = [s for s in sessions if self._hub.get(s.user, s.device) is None]
        try:
            # Also of one without an answer: its registration may have been carried out, and nobody heard of it.
            answers = await self._bus.hot.run_each(
                [
                    self._inbox.unregister_command(s.user, s.device, self._bus.process, s.opened_at)
                    for s in gone
                ]
            )
        except (HotUnavailable, hiredis.ReplyError) as error:
            answers = [error] * len(gone)
        # Their records would say "online" for a day: they go when their node is back.
        left = [s for s, answer in zip(gone, answers, strict=True) if isinstance(answer, Exception)]
        self._left_over = (self._left_over + left)[-LEFT_OVER:]
        for session in set(sessions).difference(left):
            if self._hub.leaving.get(session.user) is session:
                del self._hub.leaving[session.user]
            if session.user not in self._hub.by_user:
                self._presence.left(session.user, session.bye)

    # from the bus

    def on_replaced(self, payload: Any) -> None:
        user, device, generation = payload
        session = self._hub.get(user, device)
        if session is None:
            return
        if not session.generation:
            # Its registration is on the way: judged by its answer.
            session.newer = max(session.newer, generation)
        elif session.generation < generation:
            self.end(session, Close.REPLACED, "a newer session of this device")
