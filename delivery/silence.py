"""Which receipts of others a session is told: none while one of two blocks the other, and what was read only where both show it.

What is stored is filtered by the store and by :meth:`Silence.stored`. What is forwarded live is held back where it would be
written: a session knows its conversations with a block in force and to whom its user shows what it reads, and receipts wait until
it knows. What was read is also held back where it comes from, by the same knowledge of the reader's.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Collection, Coroutine, Sequence
from typing import Any, NamedTuple

from delivery.ids import is_direct
from delivery.ports import OPEN, Reads, ReadsOf, ReadsShown, open_reads, shown_reads
from delivery.receipts import FLUSH_S, send_held, send_receipts
from delivery.session import Hub, Session, State
from delivery.store.interface import Store, Unavailable
from delivery.store.values import Receipt
from whatsapp.infra import faults
from whatsapp.infra.batcher import AskBatcher

AT_ONCE = 256


class Known(NamedTuple):
    silent: frozenset[str]  # direct conversations with a block in force
    reads: Reads


class Silence:
    def __init__(
        self,
        store: Store,
        hub: Hub,
        reads_of: ReadsOf = open_reads,
        reads_shown: ReadsShown = shown_reads,
    ) -> None:
        self._store = store
        self._hub = hub
        self._reads_of = reads_of
        self._reads_shown = reads_shown
        self._ask: AskBatcher[str] = AskBatcher(self._load, AT_ONCE)
        self._changes: dict[str, asyncio.Task[None]] = {}  # by user, until it is known
        self._was: dict[str, set[str]] = {}  # of those: conversations with a block before
        self._showed: dict[str, Reads] = {}  # of those: to whom they showed what they read before
        self._tasks: set[asyncio.Task[None]] = set()

    async def _load(self, users: list[str]) -> list[Known]:
        wanted = list(dict.fromkeys(users))
        silent, reads = await self._store.silent(wanted), await self._reads_of(wanted)
        found = {user: Known(silent[user], one) for user, one in zip(wanted, reads, strict=True)}
        return [found[user] for user in users]

    async def learn(self, session: Session) -> None:
        """At the end of its first sync, or when its user has read something before. Raises ``Unavailable``."""
        if session.silent is None and session.user not in self._changes:
            known = await self._ask.ask(session.user)
            if session.silent is None and session.user not in self._changes:
                session.silent, session.reads = known

    def known(self, user: str) -> Reads | None:
        """To whom the user shows what the user reads, if a session here knows it."""
        for session in (self._hub.by_user.get(user) or {}).values():
            if session.silent is not None:
                return session.reads
        return None

    async def reads(self, user: str) -> Reads:
        """The same, asked for. Raises ``Unavailable``."""
        for session in self._hub.of(user):
            await self.learn(session)
        known = self.known(user)
        if known is None:
            _, known = await self._ask.ask(user)
        return known

    def changed(self, user: str) -> None:
        """A block of this user, or one against the user, began or ended; or the user shows to others what the user reads."""
        sessions = list(self._hub.of(user))
        if not sessions:
            return
        was = self._was.setdefault(user, set())
        for session in sessions:
            if session.silent is not None:
                was.update(session.silent)
                self._showed.setdefault(user, session.reads)
            session.silent = None
        old = self._changes.get(user)
        if old is not None:
            old.cancel()
        self._changes[user] = self._spawn(self._follow(user))

    async def _follow(self, user: str) -> None:
        """Read it until that works; what came meanwhile waits. When a block has ended, tell where the other is now, and when
        the user shows more, where those are of whom the user is shown more.

        Where one has begun nothing is told: a receipt that came again would tell of the block."""
        delay = 0.1
        try:
            while True:
                try:
                    # Not over the batcher: an answer that it is waiting for may be older than the change.
                    ((silent, reads),) = await self._load([user])
                    break
                except Unavailable:
                    await asyncio.sleep(delay)
                    delay = min(2 * delay, 2.0)
            for session in self._hub.of(user):
                session.silent, session.reads = silent, reads
                if session.state is State.LIVE:
                    send_held(session)
            ended = self._was.pop(user, set()) - silent
            showed = self._showed.pop(user, OPEN)
        finally:
            if self._changes.get(user) is asyncio.current_task():
                del self._changes[user]
        more = not showed.everybody and (reads.everybody or reads.users - showed.users)
        if ended or more:
            await self._tell(user, () if more else ended)

    def tell(self, user: str, conversations: frozenset[str]) -> None:
        """How far the others are in these conversations, of whom the user may be told from now on."""
        if any(self._hub.of(user)):
            self._spawn(self._tell(user, conversations))

    def _spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def _tell(self, user: str, conversations: Collection[str]) -> None:
        """``conversations`` empty: in all."""
        # Twice: what was acknowledged a moment ago is not written yet.
        for wait in (0, 2 * FLUSH_S):
            await asyncio.sleep(wait)
            with contextlib.suppress(Unavailable):
                found = await self.stored(user, conversations, 0)
                now = [receipt for receipt in found if receipt.user != user]
                for session in self._hub.of(user):
                    if session.state is State.LIVE:
                        send_receipts(session, now)

    async def stored(self, user: str, conversations: Collection[str], since: int) -> list[Receipt]:
        """:meth:`Store.receipts`, without what was read where one of two hides it, and without the time of that: only when
        something was delivered since then is that told. Raises ``Unavailable``."""
        found = await self._store.receipts(list(conversations), user, since)
        doubted = [one for one in found if one.read and one.user != user and is_direct(one.conversation)]
        if not doubted or faults.off("reads"):
            return found
        shown = await self._reads_shown([(one.user, user) for one in doubted])
        hidden = {one.conversation for one, shows in zip(doubted, shown, strict=True) if not shows}
        return [
            one._replace(read=0, changed_at=one.delivered_at)
            if one.conversation in hidden and one.user != user
            else one
            for one in found
            if one.conversation not in hidden or one.user == user or one.delivered_at >= since
        ]

    async def check(self, sessions: Sequence[Session]) -> None:
        """The check of all sessions: what the bus did not bring. Raises ``Unavailable``."""
        known = {
            s.user: Known(s.silent, s.reads)
            for s in sessions
            if s.silent is not None and s.user not in self._changes
        }
        if known:
            for user, now in zip(known, await self._load(list(known)), strict=True):
                if now != known[user]:
                    self.changed(user)
