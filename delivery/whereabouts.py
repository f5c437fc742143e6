"""Where the log is, held against where this process looks for it (``LOG_STORE``).

A process that was started for the one store while the log is in the other would confirm what nobody finds. It refuses to start,
and one that lives while the log moves ends itself; until then the fence refuses what it writes (:mod:`delivery.store.moving`).
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
from typing import Final

import psycopg
from django.conf import settings
from psycopg_pool import AsyncConnectionPool, PoolTimeout

from delivery.store.moving import COMPARED, COPYING, FENCED, FINAL, MOVED, RETURNING, where
from whatsapp.infra.bus import Bus

log = logging.getLogger(__name__)

#: Between two looks, seconds.
EVERY_S: Final = 5.0

#: The longest wait until this process is seen, seconds.
SEEN_S: Final = 2.0

_ASK: Final = """SELECT coalesce((SELECT state FROM delivery_move WHERE id = 1), ''),
    EXISTS (SELECT FROM delivery_event LIMIT 1)"""


def judge(store: str, state: str, events: bool) -> str:
    """What is wrong with using ``store``, in one sentence; "" for nothing. ``events``: there are some in PostgreSQL."""
    if state == RETURNING:
        return (
            "The log is on its way back from Cassandra: wait for manage.py move_log --back, or run it again."
        )
    if store == "postgres":
        if state in (MOVED, FINAL):
            return "The log has moved to Cassandra: start with LOG_STORE=cassandra."
        return ""
    if state in (FENCED, COMPARED):
        return "The log is on its way to Cassandra: wait for manage.py move_log, or run it again."
    if state == COPYING or (not state and events):
        return "The log is in PostgreSQL and has not moved: start with LOG_STORE=postgres, or move it (manage.py move_log)."
    return ""


def look() -> str:
    """The same of this process, for one that is about to start. A server that does not answer says nothing."""
    try:
        with psycopg.connect(where(settings.DATABASE_URL)) as connection:
            row = connection.execute(_ASK).fetchone()
    except psycopg.Error:
        return ""
    return judge(settings.LOG_STORE, *row) if row else ""


async def look_again(pool: AsyncConnectionPool) -> str:
    """The same, for one that runs: events without a move say nothing any more, staff's tools may have put them there."""
    try:
        async with pool.connection() as connection:
            row = await (await connection.execute(_ASK)).fetchone()
    except (psycopg.Error, PoolTimeout, OSError):
        return ""
    return judge(settings.LOG_STORE, row[0], False) if row else ""


async def look_when_seen(bus: Bus, pool: AsyncConnectionPool) -> str:
    """The same, before this process serves anybody and after everybody can see that it lives: who moves the log writes down what
    is going on, and then looks who lives. So one of the two sees the other. A hot node that is away holds nobody up."""
    await bus.shown(SEEN_S)
    return await look_again(pool)


async def watch(pool: AsyncConnectionPool) -> None:
    """For ever; ends this process in its orderly way when it is at the wrong store."""
    while True:
        await asyncio.sleep(EVERY_S)
        if wrong := await look_again(pool):
            log.critical("this process ends: %s", wrong)
            os.kill(os.getpid(), signal.SIGTERM)
            return
