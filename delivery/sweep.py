"""The sweep: marks again what a dead writer had no time to mark (R4).

Each second it asks for the open outbox rows of every writer without a heartbeat and is never finished with one, because the
last statement of a killed gateway may commit after it died. It runs in a thread of its own in the main process of each
worker, under a lease, so that a backed-up queue never holds it up.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
import time
import uuid
from collections.abc import Sequence
from typing import Any, cast

import hiredis

from delivery import absent, pending, whereabouts
from delivery.fanout import Fanout
from delivery.outbox import kept_under
from delivery.ports import Absent
from delivery.roster import Roster
from delivery.store import chosen
from delivery.store.interface import Store, Unavailable
from delivery.store.log_store import LogStore
from delivery.store.pending import Elsewhere
from delivery.store.values import OutboxRow
from whatsapp.infra import clock, faults, metrics
from whatsapp.infra.bus import DEVICES, Bus, alive_key
from whatsapp.infra.postgres import open_pool
from whatsapp.infra.threads import shown
from whatsapp.infra.valkey import HotUnavailable

log = logging.getLogger(__name__)

LEASE_KEY = "{sweep}:lease"
#: In turn, where the node of the first is away. Two sweeps that do not agree which it is repeat marks, and marks are harmless.
LEASE_TAGS = ("sweep", *(f"sweep:{number}" for number in range(1, 8)))
#: A writer whose heartbeat is on a node that is away is taken for dead after so long (seconds).
BELIEVED_S = 10.0
#: Rows of a dead writer that were marked as far as nodes answered are looked at again after so long (seconds).
AGAIN_S = 10.0
LEASE_MS = 3_000
EVERY_S = 1.0
PAGE = 1000
#: A sweep that has not turned for so long (seconds) does not do its work.
LATE_S = 15.0
#: Longest wait for its end, seconds.
STOP_S = 5.0

_LEASE = """
local holder = redis.call('GET', KEYS[1])
if holder and holder ~= ARGV[1] then return 0 end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
return 1
"""


class Partly:
    """The open rows of a writer up to these have been marked on the nodes with these epochs."""

    def __init__(self, rows: Sequence[OutboxRow], on: frozenset[str], again_at: float | None = None) -> None:
        self.rows = len(rows)
        self.last = rows[-1].row
        self.on = on
        now = asyncio.get_running_loop().time()
        self._again_at = now + AGAIN_S if again_at is None else again_at

    def covers(self, there: frozenset[str]) -> bool:
        """Whether there is nothing to do for now."""
        return there <= self.on and asyncio.get_running_loop().time() < self._again_at


class Sweep:
    def __init__(self, store: Store, hot_url: str) -> None:
        self._token = str(uuid.uuid4())
        self._store = store
        self.bus = Bus(hot_url, self._token)
        self._fanout = Fanout(store, self.bus, Roster(store), lambda event, users: None)
        self._lease = self.bus.hot.script(_LEASE)
        #: writer → loop time since which nobody can say whether it lives
        self._unknown: dict[str, float] = {}
        self._partly: dict[str, Partly] = {}
        self.leads = False
        self.open_writers = 0
        self.turned_at = time.monotonic()  # the last round came to its end

    def report_absent(self, to: Absent) -> None:
        """``to`` hears of devices that were marked and have no session."""
        self._fanout.absent = to
        self.bus.subscribe(DEVICES, to.forget)

    async def run(self) -> None:
        """For ever."""
        await self.bus.start()
        while True:
            try:
                if self.bus.hot.partly and not faults.off("sweep"):
                    await self.once()
                    self.turned_at = time.monotonic()
            except (HotUnavailable, Unavailable, hiredis.ReplyError) as error:
                log.info("the sweep waits: %s", error)
            except Exception:
                log.exception("the sweep failed")
            if not self.bus.hot.partly:
                self.leads = False
            await asyncio.sleep(EVERY_S)

    async def once(self) -> int:
        """One round; returns the number of rows marked again. 0 without the lease: another worker sweeps."""
        hot = self.bus.hot
        tag = next((tag for tag in LEASE_TAGS if hot.reaches(tag)), LEASE_TAGS[0])
        (mine,) = await hot.run([self._lease.call([f"{{{tag}}}:lease"], [self._token, LEASE_MS])])
        self.leads, self.open_writers = bool(mine), 0
        if not mine:
            return 0
        # Each change of a group by Django code has a writer of its own: only those with something open are asked for it.
        writers = await self._store.outbox_writers(clock.now_ms(), kept_under(hot.epoch))
        self._partly = {writer: known for writer, known in self._partly.items() if writer in writers}
        if not writers:
            return 0
        alive = await hot.run_each([("EXISTS", alive_key(writer)) for writer in writers])
        now = asyncio.get_running_loop().time()
        self._unknown = {
            writer: self._unknown.get(writer, now)
            for writer, lives in zip(writers, alive, strict=True)
            if isinstance(lives, Exception)
        }
        marked = 0
        for writer, lives in zip(writers, alive, strict=True):
            if writer in self._unknown:
                lives = now - self._unknown[writer] < BELIEVED_S
            if not lives:
                self.open_writers += 1
                marked += await self._replay(writer)
        return marked

    async def _replay(self, writer: str) -> int:
        hot, marked = self.bus.hot, 0
        while True:
            epoch, there = hot.epoch, hot.epochs_there()  # before the marks (R3)
            known = self._partly.get(writer)
            if known is not None and known.covers(there):
                return marked
            if known is not None and not there <= known.on:
                known = None  # a node is back, or another has taken its place
            before = known.rows if known is not None else 0
            rows = await self._store.outbox(writer, kept_under(epoch), clock.now_ms(), before + PAGE)
            new = [row for row in rows if known is None or row.row > known.last]
            if not new:
                if rows:
                    self._partly[writer] = Partly(rows, there)
                return marked
            lost: list[Exception] = []
            await self._fanout.replay(new, lost=None if faults.off("share") else lost)
            # What is on nodes that are away stays open. Those that answered have it, and are not told again each second.
            if before or lost or not epoch:
                self._partly[writer] = Partly(rows, there, again_at=0.0)
            else:
                await self._store.outbox_done(writer, kept_under(epoch), rows[-1].row, clock.now_ms())
            rows = new
            marked += len(rows)
            metrics.SWEPT.add(number=len(rows))
            log.info("marked %d batches of a writer that is gone", len(rows))


class SweepThread:
    """The sweep in a daemon thread with its own loop; for the main process of a worker."""

    def __init__(self, database_url: str, hot_url: str) -> None:
        self._urls = database_url, hot_url
        self._sweep: Sweep | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._rounds: asyncio.Future[Any] | None = None
        self._stopping = False
        self._thread = threading.Thread(
            target=shown(asyncio.run), args=(self._main(),), name="sweep", daemon=True
        )

    def start(self) -> SweepThread:
        self._thread.start()
        return self

    def turns(self) -> bool:
        """It does when another worker holds the lease, it does not while PostgreSQL or the hot node is away."""
        return self._sweep is not None and time.monotonic() - self._sweep.turned_at < LATE_S

    def stop(self) -> None:
        """End it, and what it has open, within a few seconds: a loop that is found with tasks in it when its process ends
        complains of each."""
        self._stopping = True
        if self._loop is not None and self._rounds is not None:
            with contextlib.suppress(RuntimeError):  # it has ended by itself
                self._loop.call_soon_threadsafe(self._rounds.cancel)
        self._thread.join(STOP_S)

    async def _main(self) -> None:
        database_url, hot_url = self._urls
        pool = open_pool(database_url, low=0, high=2)
        await pool.open(wait=False)
        log = LogStore(pool)
        await log.open()
        sweep = Sweep(log.store, hot_url)
        if absent.make is not None:
            sweep.report_absent(absent.make(sweep.bus, pool))
        _show(sweep)
        self._sweep = sweep
        services = pending.PendingSweep(pool, cast(Elsewhere, log.store))
        pending.show(services)
        rounds = [sweep.run(), whereabouts.watch(pool)]
        if chosen.elsewhere():
            rounds.append(services.run())
        self._rounds, self._loop = asyncio.gather(*rounds), asyncio.get_running_loop()
        if self._stopping:
            self._rounds.cancel()
        try:
            await self._rounds
        except asyncio.CancelledError:
            if not self._stopping:
                raise
        finally:
            await sweep.bus.stop()
            await log.close()
            await pool.close(timeout=1)


def _show(sweep: Sweep) -> None:
    metrics.source(
        "whatsapp_sweep_leader", "1 in the worker whose sweep holds the lease.", lambda: int(sweep.leads)
    )
    metrics.source(
        "whatsapp_sweep_dead_writers",
        "Writers without a heartbeat of which the last round found rows that nobody had marked.",
        lambda: sweep.open_writers,
    )
    metrics.source(
        "whatsapp_sweep_idle_seconds",
        "Seconds since a round of the sweep came to its end, with or without the lease.",
        lambda: time.monotonic() - sweep.turned_at,
    )
    hot = sweep.bus.hot
    metrics.source("whatsapp_hot_up", metrics.HOT_UP, lambda: int(hot.available))
