"""A network between a client and its server that can be cut, go silent, or lose answers."""

from __future__ import annotations

import asyncio
import contextlib
import urllib.parse
from typing import Self


class Network:
    """A TCP proxy. ``targets``: ``ws://`` or ``http://`` URLs, tried in turn while they refuse."""

    def __init__(self, targets: list[str]) -> None:
        self.targets = targets
        self.connections = 0
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._flows = asyncio.Event()
        self._flows.set()
        self._down = False
        self._answers_lost = 0
        #: What is read waits so long, with all that comes meanwhile (seconds).
        self.delay_s = 0.0
        #: No more passes, in each direction of each connection; 0: as fast as it goes.
        self.bytes_per_s = 0

    @property
    def http(self) -> str:
        assert self._server is not None
        return f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        self._server.close()
        self.cut()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    # what happens to it

    def cut(self) -> None:
        """Reset every connection; new ones may come."""
        for writer in list(self._writers):
            writer.transport.abort()

    def down(self) -> None:
        """Reset every connection, and every new one at once."""
        self._down = True
        self.cut()

    def silence(self) -> None:
        """Half-open: connections stay, and nothing passes in either direction; new ones are silent too."""
        self._flows.clear()

    def restore(self) -> None:
        """Sound again. What was silent is gone for good: both sides learn it now."""
        self._down = False
        if not self._flows.is_set():
            self.cut()
            self._flows.set()

    def lose_answers(self, count: int) -> None:
        """The next ``count`` connections reach the server, and end when its answer comes."""
        self._answers_lost = count

    # inside

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        self._writers.add(writer)
        try:
            if not self._down:
                await self._connect(reader, writer)
        except (OSError, asyncio.CancelledError):  # a cancelled handler would be reported as a failure
            pass
        finally:
            self._writers.discard(writer)
            writer.transport.abort()

    async def _connect(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        lost = self._answers_lost > 0
        self._answers_lost -= lost
        far_reader, far_writer = await self._reach()
        self._writers.add(far_writer)
        relays = [
            asyncio.create_task(self._relay(reader, far_writer)),
            asyncio.create_task(self._relay(far_reader, writer, drop=lost)),
        ]
        try:
            await asyncio.wait(relays, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for relay in relays:
                relay.cancel()
            self._writers.discard(far_writer)
            far_writer.transport.abort()

    async def _reach(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        for _ in self.targets:
            target = urllib.parse.urlsplit(self.targets[0])
            try:
                return await asyncio.open_connection(target.hostname, target.port)
            except OSError:
                self.targets.append(self.targets.pop(0))
        raise ConnectionRefusedError("no target answers")

    async def _relay(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, drop: bool = False
    ) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(65_536):
                if drop:
                    return
                if wait := self.delay_s + (len(data) / self.bytes_per_s if self.bytes_per_s else 0):
                    await asyncio.sleep(wait)
                await self._flows.wait()
                writer.write(data)
                await writer.drain()
