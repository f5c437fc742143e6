"""Sessions whose account has limits of its own, or of its class: given when they open, and again when those change or end.

The socket path reads ``session.limits``, which is everybody's table or a copy of it, and asks nothing. What changes comes over
the bus within a second; a lost event is made good by the check of all sessions, each 60 s.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from typing import Final

import psycopg
from psycopg_pool import AsyncConnectionPool, PoolTimeout

from accounts.own_limits import ask, given
from delivery.session import Hub, Session, State
from whatsapp.infra import clock

log = logging.getLogger(__name__)

#: Users of one question.
AT_ONCE: Final = 500
#: So long a change is remembered, seconds: whatever was asked before it is answered by then.
TOLD_S: Final = 60.0


class OwnLimits:
    """Of one gateway; only its loop touches it."""

    def __init__(self, pool: AsyncConnectionPool, hub: Hub) -> None:
        self._pool = pool
        self._hub = hub
        #: Sessions with a value that ends: what was given, and when (ms) it is to be looked at again.
        self._ending: dict[Session, tuple[str, int]] = {}
        self._changed: dict[str, None] = {}  # users to ask about
        #: Users and classes (``class:…``) that have changed lately → when (loop time), in that order.
        self._told: dict[str, float] = {}
        self._task: asyncio.Task[None] | None = None

    def apply(self, session: Session, text: str | None, asked_at: float | None = None) -> None:
        """Give a session what was found of its account (:data:`accounts.own_limits.OWN_LIMITS`). ``asked_at``: when it was
        asked (loop time). What changed since then may not be in the answer, and it is asked once more."""
        limits, limit_class, until = given(text, clock.now_ms())
        if asked_at is not None and self._changed_since(asked_at, session.user, limit_class):
            self.changed(session.user)
        session.limits, session.limit_class = limits, limit_class
        if text is not None and until is not None and session.state is not State.CLOSED:
            self._ending[session] = text, until
        else:
            self._ending.pop(session, None)

    def changed(self, user: str) -> None:
        """The limits of a user are others now."""
        self._note(user)
        self._changed[user] = None
        self._look()

    def _note(self, name: str) -> None:
        self._told.pop(name, None)
        self._told[name] = asyncio.get_running_loop().time()

    def _changed_since(self, at: float, user: str, limit_class: str) -> bool:
        return max(self._told.get(user, 0.0), self._told.get(f"class:{limit_class}", 0.0)) >= at

    def class_changed(self, limit_class: str) -> None:
        """Those of a class are."""
        self._note(f"class:{limit_class}")
        of_it = (session.user for session in self._hub.all() if session.limit_class == limit_class)
        self._changed.update(dict.fromkeys(of_it))
        self._look()

    def tick(self) -> None:
        """Once a second: what has ended counts no more. Never raises."""
        now = clock.now_ms()
        old = asyncio.get_running_loop().time() - TOLD_S
        while self._told and (first := next(iter(self._told))) and self._told[first] < old:
            del self._told[first]
        for session, (text, until) in list(self._ending.items()):
            if session.state is State.CLOSED:
                del self._ending[session]
            elif until <= now:
                self.apply(session, text)

    def stop(self) -> None:
        if self._task is not None:
            self._task.cancel()

    def _look(self) -> None:
        if self._changed and (self._task is None or self._task.done()):
            self._task = asyncio.get_running_loop().create_task(self._ask())

    async def _ask(self) -> None:
        """Until nobody is left to ask about. Who could not be asked about is at the check of the sessions."""
        while self._changed:
            users = list(self._changed)[:AT_ONCE]
            for user in users:
                del self._changed[user]
            try:
                await self._give(users)
            except (psycopg.Error, PoolTimeout, OSError) as error:
                log.warning("limits of accounts could not be read: %s", type(error).__name__)

    async def _give(self, users: Sequence[str]) -> None:
        found = await ask(self._pool, users)
        for user in users:
            for session in self._hub.of(user):
                self.apply(session, found.get(user))
