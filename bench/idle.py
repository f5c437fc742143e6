"""Sockets that do nothing: opening them is one measurement, keeping them another."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from typing import Protocol

from bench.frames import Codec, Ready, SyncComplete
from bench.wsclient import WebSocket, connect


class Idler:
    """One authenticated socket of one device."""

    def __init__(self, codec: Codec, person: dict[str, str]) -> None:
        self._codec = codec
        self._person = person
        loop = asyncio.get_running_loop()
        self._ready: asyncio.Future[None] = loop.create_future()
        self._synced: asyncio.Future[None] = loop.create_future()
        self._socket: WebSocket | None = None
        self.closed = 0  # close code of the server

    async def connect(self) -> float:
        """Until ``ready``; returns the seconds it took."""
        start = time.perf_counter()
        codec, person = self._codec, self._person
        self._socket = await connect(
            person["url"], token=person["token"], subprotocol=codec.subprotocol, text=codec.text,
            on_frame=self._on_frame, on_close=self._on_close, source=person.get("source", ""),
        )  # fmt: skip
        await self._ready
        return time.perf_counter() - start

    async def sync(self) -> None:
        """Until ``sync_complete``."""
        assert self._socket is not None
        self._socket.send(self._codec.sync())
        await self._synced

    def close(self) -> None:
        if self._socket is not None:
            self._socket.close()

    def _on_frame(self, data: bytes) -> None:
        frame = self._codec.decode(data)
        if isinstance(frame, Ready):
            self._ready.set_result(None)
        elif isinstance(frame, SyncComplete):
            self._synced.set_result(None)
        else:
            self._fail(f"an idle socket got {frame}")

    def _on_close(self, code: int) -> None:
        self.closed = code
        self._fail(f"the server closed an idle socket with {code}")

    def _fail(self, reason: str) -> None:
        for future in (self._ready, self._synced):
            if not future.done():
                future.set_exception(ConnectionError(reason))
                future.exception()  # seen: it may never be awaited


class Socket(Protocol):
    """What a crowd is made of: :class:`Idler`, or those of other servers."""

    @property
    def closed(self) -> int: ...

    async def connect(self) -> float: ...
    async def sync(self) -> None: ...
    def close(self) -> None: ...


class Crowd:
    """Many idle sockets."""

    def __init__(self, sockets: Sequence[Socket], at_once: int) -> None:
        self._idlers = sockets
        self._at_once = at_once

    async def connect(self) -> list[float]:
        """Open all, ``at_once`` under way at any time; seconds of each."""
        gate = asyncio.Semaphore(self._at_once)

        async def one(idler: Socket) -> float:
            async with gate:
                return await idler.connect()

        return list(await asyncio.gather(*map(one, self._idlers)))

    async def sync(self) -> None:
        gate = asyncio.Semaphore(self._at_once)

        async def one(idler: Socket) -> None:
            async with gate:
                await idler.sync()

        await asyncio.gather(*map(one, self._idlers))

    def close(self) -> int:
        """Close all; returns how many the server had closed before."""
        lost = sum(1 for idler in self._idlers if idler.closed)
        for idler in self._idlers:
            idler.close()
        return lost
