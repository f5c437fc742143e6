"""Receipts and blocks: while one of two blocks the other, neither hears how far the other is.

What is stored is filtered by the store. What is forwarded live is held back where it would be written: a session knows its
conversations with a block in force, and receipts wait until it knows.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Collection, Coroutine, Sequence
from typing import Any

from delivery.receipts import FLUSH_S, send_held, send_receipts
from delivery.session import Hub, Session, State
from delivery.store.interface import Store, Unavailable
from whatsapp.infra.batcher import AskBatcher

AT_ONCE = 256


class Silence:
    def __init__(self, store: Store, hub: Hub) -> None:
        self._store = store
        self._hub = hub
        self._ask: AskBatcher[str] = AskBatcher(self._load, AT_ONCE)
        self._changes: dict[str, asyncio.Task[None]] = {}  # by user, until it is known
        self._was: dict[str, set[str]] = {}  # of those: conversations with a block before
        self._tasks: set[asyncio.Task[None]] = set()

    async def _load(self, users: list[str]) -> list[frozenset[str]]:
        found = await self._store.silent(list(dict.fromkeys(users)))
        return [found[user] for user in users]

    async def learn(self, session: Session) -> None:
        """At the end of its first sync. Raises ``Unavailable``."""
        if session.silent is None and session.user not in self._changes:
            silent = await self._ask.ask(session.user)
            if session.user not in self._changes:
                session.silent = silent

    def changed(self, user: str) -> None:
        """A block of this user, or one against the user, began or ended."""
        sessions = list(self._hub.of(user))
        if not sessions:
            return
        was = self._was.setdefault(user, set())
        for session in sessions:
            was.update(session.silent or ())
            session.silent = None
        old = self._changes.get(user)
        if old is not None:
            old.cancel()
        self._changes[user] = self._spawn(self._follow(user))

    async def _follow(self, user: str) -> None:
        """Read it until that works; what came meanwhile waits. When a block has ended, tell where the other is now.

        Where one has begun nothing is told: a receipt that came again would tell of the block."""
        delay = 0.1
        try:
            while True:
                try:
                    silent = (await self._store.silent([user]))[user]
                    break
                except Unavailable:
                    await asyncio.sleep(delay)
                    delay = min(2 * delay, 2.0)
            for session in self._hub.of(user):
                session.silent = silent
                if session.state is State.LIVE:
                    send_held(session)
            ended = self._was.pop(user, set()) - silent
        finally:
            if self._changes.get(user) is asyncio.current_task():
                del self._changes[user]
        if ended:
            await self._tell(user, ended)

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
        # Twice: what was acknowledged a moment ago is not written yet.
        for wait in (0, 2 * FLUSH_S):
            await asyncio.sleep(wait)
            with contextlib.suppress(Unavailable):
                found = await self._store.receipts(list(conversations), user, 0)
                now = [receipt for receipt in found if receipt.user != user]
                for session in self._hub.of(user):
                    if session.state is State.LIVE:
                        send_receipts(session, now)

    async def check(self, sessions: Sequence[Session]) -> None:
        """The check of all sessions: what the bus did not bring. Raises ``Unavailable``."""
        known = {s.user: s.silent for s in sessions if s.silent is not None and s.user not in self._changes}
        if known:
            for user, silent in (await self._store.silent(list(known))).items():
                if silent != known[user]:
                    self.changed(user)
