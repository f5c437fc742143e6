"""Notices that a device gets behind its ``ready``, of what happened while it may have been away.

They are told again at each connect until a socket has lived on for so long that it must have got them: a notice has no ``ack``,
and is harmless when it is repeated.
"""

from __future__ import annotations

import asyncio
import logging

import psycopg
from psycopg_pool import AsyncConnectionPool, PoolTimeout

from accounts.news import News, told
from delivery.session import Session, State
from whatsapp.infra.limits import LIMITS
from whatsapp.wire import frames

log = logging.getLogger(__name__)


class Newsboy:
    """Of one gateway."""

    def __init__(self, pool: AsyncConnectionPool) -> None:
        self._pool = pool
        self._tasks: set[asyncio.Task[None]] = set()

    def tell(self, session: Session, found: News) -> None:
        if found.low is not None:
            classic, post_quantum = found.low
            session.send(frames.Notice("prekeys_low", {"preKeys": classic, "pqPreKeys": post_quantum}))
        for user, at in found.identities:
            session.send(frames.Notice("identity_changed", {"userId": user, "at": at}))
        for kind, data in found.devices:
            session.send(frames.Notice(kind, data))  # type: ignore[arg-type]  # one of the wire's literals
        if found.through:
            # A socket that has not answered two pings is closed by then.
            after = 3 * LIMITS.ping_ms / 1000
            asyncio.get_running_loop().call_later(after, self._settled, session, found.through)

    def _settled(self, session: Session, at: int) -> None:
        if session.state is not State.CLOSED:
            task = asyncio.get_running_loop().create_task(self._told(session.device, at))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _told(self, device: str, at: int) -> None:
        try:
            await told(self._pool, device, at)
        except (psycopg.Error, PoolTimeout, OSError) as error:
            log.warning("news will be told again: %s", type(error).__name__)
