"""Passes over a whole log on PostgreSQL that copy to this store what it has not, and compare it (``manage.py move_log``)."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Final, NamedTuple

from delivery.store import move
from delivery.store.cassandra.compared import Comparison, Differs
from delivery.store.cassandra.moved import Target
from delivery.store.cassandra.session import Cassandra
from delivery.store.cassandra.store import CassandraStore
from delivery.store.move import Source
from delivery.store.moving import Ledger, Prints
from whatsapp.infra import faults
from whatsapp.infra.clock import now_ms

#: Keys whose prints are asked for at once.
PAGE: Final = 500
_ALL: Final = {"conversation": move.CONVERSATIONS, "device": move.DEVICES, "flags": move.FLAGGED}


class Passed(NamedTuple):
    """What one pass did. ``logs``: conversations whose events, or some of them, were copied; of the others and of devices and
    users those that were copied are counted in ``copied``."""

    conversations: int
    logs: int
    devices: int
    copied: int
    compared: int
    seconds: float


class Mover:
    """``workers``: conversations that are copied side by side, each on a connection of its own."""

    def __init__(self, sources: Sequence[Source], db: Cassandra, ledger: Ledger) -> None:
        self._sources, self._db, self._ledger = sources, db, ledger
        self._comparison = Comparison(db)
        self._logs = self._copied = self._compared = 0

    @classmethod
    @asynccontextmanager
    async def open(cls, url: str, db: Cassandra, ledger: Ledger, workers: int = 4) -> AsyncIterator[Mover]:
        async with AsyncExitStack() as stack:
            sources = [await stack.enter_async_context(Source.open(url)) for _ in range(max(1, workers))]
            yield cls(sources, db, ledger)

    async def pass_(self, *, compare: bool = False, trust: bool = True, last: bool = False) -> Passed:
        """Copy what has changed since the pass before. ``compare``: and read back what was not yet; without ``trust`` all of it.
        ``last``: nobody writes over there any more, so what is gone there is taken away here.

        Raises :class:`Differs`, after all has been looked at; what differs is copied anew, whole, by the next pass."""
        started = time.monotonic()
        self._logs = self._copied = self._compared = 0
        self._target = Target(self._db, now_ms())
        if last:
            await self._take_away()
        different: list[Differs] = []
        counts = dict.fromkeys(_ALL, 0)
        for kind, sql in _ALL.items():
            after = move.NIL
            while keys := await self._sources[0].keys(sql, after, PAGE):
                counts[kind] += len(keys)
                different += await self._page(kind, keys, compare, trust)
                after = keys[-1]
        if different:
            more = f", and {len(different) - 1} more" if len(different) > 1 else ""
            raise Differs(different[0].key, f"{different[0]}{more}".removeprefix(f"{different[0].key}: "))
        seconds = time.monotonic() - started
        return Passed(
            counts["conversation"], self._logs, counts["device"], self._copied, self._compared, seconds
        )

    async def _page(self, kind: str, keys: list[str], compare: bool, trust: bool) -> list[Differs]:
        prints = await self._sources[0].prints(kind, keys)
        known = await self._ledger.known(kind, keys)
        new = [key for key in keys if key not in known or known[key][0] != prints[key]]
        if (
            kind != "conversation"
        ):  # what ends over there is taken away here, even if we die before it is all copied
            unknown = {key: dict[str, object]() for key in new if key not in known}
            await self._ledger.save(kind, unknown, compared=False)
        before = {key: known[key][0] if key in known else None for key in new}
        await self._side_by_side(
            new, lambda source, key: self._copy(kind, source, key, prints[key], before[key])
        )
        self._copied += len(new)
        faults.point("move-copied")
        await self._ledger.save(kind, {key: prints[key] for key in new}, compared=False)
        if not compare:
            return []
        different: list[Differs] = []
        good: dict[str, Prints] = {}
        fresh = set(new)

        async def held(source: Source, key: str) -> None:
            try:
                await getattr(self._comparison, kind)(source, key)
                good[key] = prints[key]
            except Differs as error:
                if (await source.prints(kind, [key]))[key] == prints[key]:  # nobody has written meanwhile
                    different.append(error)

        await self._side_by_side(
            [key for key in keys if key in fresh or not trust or not known[key][1]], held
        )
        self._compared += len(good)
        await self._ledger.save(kind, good, compared=True)
        await self._ledger.forget(kind, [one.key for one in different])
        return different

    async def _copy(self, kind: str, source: Source, key: str, prints: Prints, known: Prints | None) -> None:
        if kind == "conversation":
            buckets = await self._target.conversation(source, key, prints, known)
            self._logs += bool(buckets)
        elif kind == "device":
            await self._target.device(source, key)
        else:
            await self._target.flags(source, key)

    async def _take_away(self) -> None:
        store = CassandraStore(self._db)
        devices = await self._ledger.gone("device")
        for device in devices:
            for (member,) in await self._db.rows("SELECT member FROM $.linked WHERE device = ?", device):
                await store.unlink_device(member, device, now_ms())
        await self._ledger.forget("device", devices)
        users = await self._ledger.gone("flags")
        for user in users:
            await store.forget_flags(user)
        await self._ledger.forget("flags", users)

    async def _side_by_side(
        self, keys: Sequence[str], work: Callable[[Source, str], Awaitable[None]]
    ) -> None:
        left = iter(keys)

        async def one(source: Source) -> None:
            for key in left:
                await work(source, key)

        async with asyncio.TaskGroup() as group:
            for source in self._sources:
                group.create_task(one(source))
