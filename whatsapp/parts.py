"""What a process that serves HTTP has besides it, by its role (:mod:`whatsapp.serve`)."""

from __future__ import annotations

import asyncio
import contextlib
import uuid
from typing import Protocol

from django.conf import settings
from psycopg_pool import AsyncConnectionPool

from chats import gauges
from chats.gateway import Gateway, gateway
from whatsapp.infra import metrics
from whatsapp.infra.bus import Bus
from whatsapp.infra.postgres import open_pool
from whatsapp.staff.online.reporter import Reporter


class Part(Protocol):
    """What runs beside the HTTP, from before the first request until after the last one."""

    bus: Bus
    pool: AsyncConnectionPool

    def serve(self) -> None:
        """The process may be used from now on."""

    async def drain(self) -> None:
        """Nobody new comes: bring to its end what is under way."""

    async def stop(self) -> None: ...


class Sockets:
    """Of a gateway: the engine, and the sockets."""

    def __init__(self, here: Gateway) -> None:
        self.bus, self.pool = here.node.bus, here.pool
        self._here = here
        self._reporter = Reporter(here)
        self._told = False

    @classmethod
    async def start(cls) -> Part:
        return cls(await gateway())

    def serve(self) -> None:
        self._reporter.start()
        self._told = True

    async def drain(self) -> None:
        await self._here.drain()

    async def stop(self) -> None:
        if self._told:
            await self._reporter.stop()
        await self._here.stop()


class Api:
    """Of an ``api`` process: nearly nothing. Its views write to the log, so who moves the log has to see that it lives."""

    def __init__(self) -> None:
        self.bus = Bus(settings.HOT_URL, str(uuid.uuid4()))
        self.pool = open_pool(settings.DATABASE_URL, low=0, high=2)
        self._lag: asyncio.Task[None] | None = None

    @classmethod
    async def start(cls) -> Part:
        part = cls()
        await part.pool.open(wait=False)
        await part.bus.start()
        return part

    def serve(self) -> None:
        self._lag = asyncio.get_running_loop().create_task(gauges.watch_loop())
        metrics.source("whatsapp_hot_up", metrics.HOT_UP, lambda: int(self.bus.hot.available))

    async def drain(self) -> None:
        """Requests that run have their time."""

    async def stop(self) -> None:
        if self._lag is not None:
            self._lag.cancel()
        await self.bus.stop()
        with contextlib.suppress(Exception):
            await self.pool.close(timeout=2)
