"""Who is due, derived again from durable state: the devices that are reached by push, their positions, what they were told.

The hot node may lose who is due. What was sent in the last minutes is reported again by the replay of the outbox
(:mod:`delivery.outbox`), which a new epoch causes. What waits for longer, for the end of quiet hours or for a provider, and what
a process had no time to write when it died, is found here: all targets are passed through in the order of their devices, a page a
second, at once when the hot node has a new epoch and every :data:`EVERY_MS` otherwise. How far a pass is stands on the hot node
with the epoch; a page is written before that moves, so that a death repeats a page.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from typing import Any, Final, NamedTuple

import hiredis
import msgspec
import psycopg
from psycopg_pool import AsyncConnectionPool, PoolTimeout

from delivery.store.interface import Store, Unavailable
from notifications.due import Due
from notifications.presence import presences
from notifications.reached import State, states
from whatsapp.infra import clock, faults, metrics
from whatsapp.infra.bus import alive_key
from whatsapp.infra.directory import parse_sessions, sessions_key
from whatsapp.infra.hot import Hot
from whatsapp.infra.limits import LIMITS
from whatsapp.infra.valkey import HotUnavailable

log = logging.getLogger(__name__)

AT_KEY: Final = "{push:pass}:at"
LEASE_KEY: Final = "{push:pass}:lease"
LEASE_MS: Final = 10_000
PAGE: Final = 500  # devices; fewer while pages fail
#: A device that fails so often by itself is left out until the next pass: the others are not to wait for it for ever.
ATTEMPTS: Final = 3
PAGE_EVERY_S: Final = 1.0
EVERY_MS: Final = 600_000
#: The node that keeps how far a pass is may be away: then others wait, and nobody is lost.
_NOBODY: Final = "00000000-0000-0000-0000-000000000000"

# ARGV: token, time to live. Only who holds the lease reads how far the pass is.
_BEGIN: Final = """
local holder = redis.call('GET', KEYS[2])
if holder and holder ~= ARGV[1] then return false end
redis.call('SET', KEYS[2], ARGV[1], 'PX', ARGV[2])
return redis.call('GET', KEYS[1]) or ''
"""

# ARGV: token, how far it is.
_MOVE: Final = """
if redis.call('GET', KEYS[2]) ~= ARGV[1] then return 0 end
redis.call('SET', KEYS[1], ARGV[2])
return 1
"""

_TARGETS: Final = """
SELECT d.user_id::text, d.id::text, t.badge, coalesce(t.success_at, 0), d.last_seen_at
FROM notifications_pushtarget t JOIN accounts_device d ON d.id = t.device_id
WHERE t.device_id > %s::uuid ORDER BY t.device_id LIMIT %s
"""

DERIVED: Final = metrics.Counters(
    "whatsapp_push_derived", "Users that a pass over all targets found to be due.", ()
)


class At(msgspec.Struct):
    """How far a pass is."""

    epoch: str
    after: str = _NOBODY  # device
    ended: int = 0  # ms since the epoch; 0: it is under way


class Found(NamedTuple):
    users: list[str]
    last: str  # device; "": it was the last page


class Reached(NamedTuple):
    """A device with a target."""

    user: str
    device: str
    badge: int  # as it was last told
    success_at: int  # when that was, ms; 0: never
    seen_at: int  # when it was connected, ms, as far as an hour ago


class Derived:
    def __init__(self, store: Store, hot: Hot, pool: AsyncConnectionPool, due: Due, token: str) -> None:
        self._store = store
        self._hot = hot
        self._pool = pool
        self._due = due
        self._token = token
        self._size = PAGE
        self._failures = 0  # of pages of one device, one after the other
        self._begin = hot.script(_BEGIN)
        self._move = hot.script(_MOVE)

    async def run(self) -> None:
        """For ever."""
        while True:
            await asyncio.sleep(PAGE_EVERY_S)
            if not self._hot.available or faults.off("push_sweep"):
                continue
            try:
                await self.once()
            except (
                HotUnavailable,
                Unavailable,
                hiredis.ReplyError,
                psycopg.Error,
                PoolTimeout,
                OSError,
            ) as error:
                log.info("a pass over all targets waits: %s", type(error).__name__)
                await asyncio.sleep(PAGE_EVERY_S)
            except Exception:
                log.exception("a pass over all targets failed")
                await asyncio.sleep(PAGE_EVERY_S)

    async def once(self) -> bool:
        """A page, if a pass is due and nobody else has it. Whether there was one."""
        epoch = self._hot.epoch  # before it is read what is durable
        where = [AT_KEY, LEASE_KEY]
        (raw,) = await self._hot.run([self._begin.call(where, [self._token, LEASE_MS])])
        if raw is None:
            return False
        at = _at(raw)
        # An end that is still to come is that of a clock that was wrong.
        if at is None or at.epoch != epoch or (at.ended and not 0 <= clock.now_ms() - at.ended < EVERY_MS):
            at = At(epoch)
        elif at.ended:
            return False
        found = await self._page(at.after)
        if found.users:
            DERIVED.add(number=len(found.users))
            # Behind a new epoch gateways are about to open their sessions again: who is connected is not absent then.
            at_ms = clock.now_ms() + LIMITS.push_unacked_ms
            await self._due.write(dict.fromkeys(found.users, at_ms))
        at.after, at.ended = found.last, 0 if found.last else clock.now_ms()
        await self._hot.run([self._move.call(where, [self._token, msgspec.json.encode(at)])])
        return True

    async def _page(self, after: str) -> Found:
        size = self._size
        async with self._pool.connection() as connection:
            rows = await (await connection.execute(_TARGETS, (after, size))).fetchall()
        targets = [Reached(*row) for row in rows]
        last = targets[-1].device if len(targets) == size else ""
        try:
            found = Found(await self._wrong(targets), last)
        except (Unavailable, psycopg.Error, PoolTimeout):
            self._size = max(1, size // 2)
            self._failures = self._failures + 1 if size == 1 else 0
            if self._failures < ATTEMPTS:
                raise
            log.warning("a device is left out by a pass over all targets: what it was told cannot be read")
            found = Found([], last)
        self._failures = 0
        self._size = min(PAGE, size * 2)
        return found

    async def _wrong(self, targets: Sequence[Reached]) -> list[str]:
        """Users of whom an absent device was not told something, or shows what is not so any more."""
        absent = await self._absent(targets)
        if not absent:
            return []
        named = [(one.user, one.device) for one in absent]
        there = await presences(self._hot, named, now := clock.now_ms())
        badges = await self._store.badges(list({one.user for one in absent}), now)
        behind = await self._store.behind_each(named)
        told = await states(
            self._pool,
            [
                (one.device, each.conversation)
                for one, some in zip(absent, behind, strict=True)
                for each in some
            ],
        )
        users: dict[str, None] = {}
        shows: list[tuple[str, str, int, int]] = []
        for one, presence, some in zip(absent, there, behind, strict=True):
            # What was connected since has counted for itself.
            seen = max(one.seen_at, presence.seen if presence is not None else 0)
            if badges[one.user] != one.badge and seen <= one.success_at:
                users[one.user] = None
            for each in some:
                state = told.get((one.device, each.conversation), State())
                shown = state.shown > each.acked
                if each.head > state.seq or (shown and state.until):
                    users[one.user] = None
                elif shown:
                    shows.append((one.user, each.conversation, each.head, state.shown))
        attention = await self._store.attention([ask[:3] for ask in shows])
        users |= {
            user: None for (user, *_, shown), a in zip(shows, attention, strict=True) if a.read >= shown
        }
        return list(users)

    async def _absent(self, targets: Sequence[Reached]) -> list[Reached]:
        """Those without a session at a process that lives."""
        if not targets:
            return []
        users = list({one.user for one in targets})
        raws = self._hot.values(
            await self._hot.run_each(self._hot.mget([sessions_key(user) for user in users]))
        )
        sessions = {
            user: parse_sessions(raw) if not isinstance(raw, Exception) else {}
            for user, raw in zip(users, raws, strict=True)
        }
        processes = list({entry.process for found in sessions.values() for entry in found.values()})
        answers: list[Any] = (
            await self._hot.run_each([("EXISTS", alive_key(process)) for process in processes])
            if processes
            else []
        )
        alive = {process for process, lives in zip(processes, answers, strict=True) if lives}
        return [
            one
            for one in targets
            if (entry := sessions[one.user].get(one.device)) is None or entry.process not in alive
        ]


def _at(raw: bytes) -> At | None:
    try:
        return msgspec.json.decode(raw, type=At) if raw else None
    except msgspec.DecodeError:
        return None
