"""What stands between a process and a server: a :class:`Wire` can be cut, led elsewhere, taken away or frozen."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from urllib.parse import urlsplit, urlunsplit


class _Pair:
    """A connection through a wire."""

    def __init__(self, *writers: asyncio.StreamWriter) -> None:
        self.writers = writers
        self.subscribed = False  # it asked for a channel
        self.frozen = False

    def abort(self) -> None:
        for writer in self.writers:
            writer.transport.abort()


class Wire:
    """A TCP proxy before a server. ``cut``: every connection ends, on both sides; ``to``: and new ones go elsewhere; ``away``:
    and new ones end at once, until ``back``; ``freeze``: what is open carries no byte any more, and new ones do (with
    ``new_ones``: none of them either, until ``back``). ``delay_s``: what is read waits so long, with all that comes meanwhile;
    ``bytes_per_s``: no more passes, in each direction of each connection (0: as fast as it goes)."""

    delay_s = 0.0
    bytes_per_s = 0

    def __init__(self, url: str) -> None:
        self._parts = urlsplit(url)
        self._target = (self._parts.hostname, self._parts.port)
        self._open = True
        self._frozen = False
        self._pairs: set[_Pair] = set()
        #: Called when the connections are cut, for those who hold up what has passed.
        self.on_cut: list[Callable[[], None]] = []
        self._tasks: set[asyncio.Task[None]] = set()

    async def start(self) -> Wire:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        return self

    @property
    def address(self) -> tuple[str, int]:
        return "127.0.0.1", self._server.sockets[0].getsockname()[1]

    @property
    def url(self) -> str:
        login = self._parts.netloc.rpartition("@")[0]
        return urlunsplit(self._parts._replace(netloc=f"{login}@127.0.0.1:{self.address[1]}"))

    def to(self, url: str) -> None:
        parts = urlsplit(url)
        self._target = (parts.hostname, parts.port)
        self.cut()

    def cut(self, *, frozen_only: bool = False) -> None:
        for pair in list(self._pairs):
            if pair.frozen or not frozen_only:
                pair.abort()
                self._pairs.discard(pair)
        called, self.on_cut = self.on_cut, []
        for call in called:
            call()

    def away(self) -> None:
        self._open = False
        self.cut()

    def back(self) -> None:
        self._open, self._frozen = True, False

    def freeze(self, *, subscriptions_only: bool = False, new_ones: bool = False) -> None:
        self._frozen = new_ones
        for pair in self._pairs:
            pair.frozen = pair.frozen or pair.subscribed or not subscriptions_only

    @property
    def frozen(self) -> int:
        """How many connections there were that carry nothing."""
        return sum(pair.frozen for pair in self._pairs)

    async def stop(self) -> None:
        self.cut()
        self._server.close()
        for task in self._tasks:
            task.cancel()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            if not self._open:
                raise ConnectionRefusedError
            there, out = await asyncio.open_connection(*self._target)
        except OSError:
            writer.transport.abort()
            return
        pair = _Pair(writer, out)
        pair.frozen = self._frozen
        self._pairs.add(pair)
        for source, sink in ((reader, out), (there, writer)):
            task = asyncio.create_task(self._pump(pair, source, sink))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _pump(self, pair: _Pair, source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while data := await source.read(65_536):
                pair.subscribed = pair.subscribed or b"SSUBSCRIBE" in data
                if wait := self.delay_s + (len(data) / self.bytes_per_s if self.bytes_per_s else 0):
                    await asyncio.sleep(wait)
                if not pair.frozen:
                    sink.write(data)
                    await sink.drain()
        if not pair.frozen:
            sink.transport.abort()
