"""The check of the sessions: every 60 s each is compared with the hot node and with the accounts (R8)."""

from __future__ import annotations

import asyncio
import logging
import zlib
from collections.abc import Sequence
from typing import Protocol

import hiredis

from delivery.inbox import Inbox, dirty_key, marker_key
from delivery.live import Live
from delivery.ports import Identify
from delivery.session import Hub, Session, State
from delivery.silence import Silence
from delivery.store.interface import Unavailable
from whatsapp.infra import faults
from whatsapp.infra.bus import Bus
from whatsapp.infra.directory import parse_sessions, sessions_key
from whatsapp.infra.limits import LIMITS
from whatsapp.infra.valkey import Command, HotUnavailable
from whatsapp.wire.errors import Close

log = logging.getLogger(__name__)

AT_ONCE = 128

CLOSE_OF = {"unlinked": Close.UNLINKED, "banned": Close.BANNED, "revoked": Close.UNAUTHENTICATED}


class Opener(Protocol):
    """What a check may find to be done: :class:`delivery.sessions.Sessions`."""

    @property
    def reopening(self) -> bool: ...

    async def reopen(self, sessions: Sequence[Session]) -> None: ...

    def end(self, session: Session, code: int, reason: str) -> None: ...

    async def forget(self, user: str, device: str) -> None: ...


class SessionCheck:
    def __init__(
        self,
        bus: Bus,
        hub: Hub,
        inbox: Inbox,
        live: Live,
        identify: Identify,
        silence: Silence,
        sessions: Opener,
    ) -> None:
        self._bus = bus
        self._hub = hub
        self._inbox = inbox
        self._live = live
        self._identify = identify
        self._silence = silence
        self._sessions = sessions
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        self._task = asyncio.get_running_loop().create_task(self._run())

    def stop(self) -> None:
        if self._task is not None:
            self._task.cancel()

    async def _run(self) -> None:
        tick = 0
        while True:
            await asyncio.sleep(min(1.0, LIMITS.session_check_ms / 1000))
            tick += 1
            if faults.off("check"):
                continue
            slots = max(1, LIMITS.session_check_ms // 1000)
            due = [
                s
                for s in self._hub.all()
                if zlib.crc32(s.device.encode()) % slots == tick % slots or self._unopened(s)
            ]
            for start in range(0, len(due), AT_ONCE):
                chunk = [
                    s
                    for s in due[start : start + AT_ONCE]
                    if s.state >= State.READY and s.state < State.CLOSED
                ]
                try:
                    await self._check_accounts(chunk)
                    await self._silence.check(chunk)
                    there = [s for s in chunk if self._bus.hot.under(s.user)[0]]
                    if there:
                        await self._compare(there)
                except (HotUnavailable, Unavailable, hiredis.ReplyError):
                    pass
                except Exception:
                    log.exception("the check of the sessions failed")

    def _unopened(self, session: Session) -> bool:
        """It could not be registered when it should have been; at a new term ``Sessions`` spreads the work."""
        term, _ = self._bus.hot.under(session.user)
        return bool(term) and not self._sessions.reopening and session.term != term

    async def _check_accounts(self, sessions: Sequence[Session]) -> None:
        if not sessions:
            return
        answers = await self._identify([(s.user, s.device, s.issued_at) for s in sessions])
        for session, answer in zip(sessions, answers, strict=True):
            if answer != "ok":
                self._sessions.end(session, CLOSE_OF[answer], answer)
            if answer == "unlinked":
                await self._sessions.forget(session.user, session.device)

    async def _compare(self, sessions: Sequence[Session]) -> None:
        under = [self._bus.hot.under(session.user) for session in sessions]
        commands: list[Command] = []
        for s in sessions:
            commands.append(("GET", sessions_key(s.user)))
            commands.append(("GET", marker_key(s.user, s.device)))
            commands.append(("ZRANGE", dirty_key(s.user, s.device), 0, -1, "WITHSCORES"))
        answers = await self._bus.hot.run_each(commands)
        again: list[Session] = []
        covered: dict[tuple[str, str], dict[str, int]] = {}
        for index, session in enumerate(sessions):
            if session.state is State.CLOSED:
                continue
            found = answers[3 * index : 3 * index + 3]
            if any(isinstance(answer, Exception) for answer in found):
                continue  # its node of several is away
            raw, marker, flat = found
            entry = parse_sessions(raw).get(session.device)
            ours = (
                entry is not None
                and entry.process == self._bus.process
                and entry.generation == session.generation
            )
            term, epoch = under[index]
            if not ours or not marker or marker.decode() != epoch or session.term != term:
                again.append(session)
                continue
            for i in range(0, len(flat), 2):
                conversation, seq = flat[i].decode(), int(float(flat[i + 1]))
                if seq <= session.acked.get(conversation, -1):
                    covered.setdefault((session.user, session.device), {})[conversation] = session.acked[
                        conversation
                    ]
                elif seq > session.sent.get(conversation, -1) and session.state is State.LIVE:
                    self._live.catch_up(session, conversation, seq)
        if covered:
            await self._inbox.clean(covered)
        if again:
            await self._sessions.reopen(again)
