"""A way to a server that breaks off where a test wants, answers in its place, and counts what passes."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import urllib.parse
from collections.abc import Iterator
from typing import Any, Self


class Cutting:
    """HTTP, a request a connection, as the client library speaks it.

    ``cuts_up``, ``cuts_down``: the next connections end after so many bytes of the request, or of the answer (None: this one does
    not). ``instead``: answers that the next requests get in place of the server's. ``only``: all of that for requests that begin
    so; others pass. ``slow``: bytes of a request pass in pieces of 16 KiB with such a pause between."""

    def __init__(self, url: str, only: tuple[bytes, ...] = (b"PATCH",)) -> None:
        self._to = urllib.parse.urlsplit(url)
        self._only = only
        self.cuts_up: Iterator[int | None] = iter(())
        self.cuts_down: Iterator[int | None] = iter(())
        self.instead: list[bytes] = []
        self.slow = 0.0
        self.heads: list[bytes] = []
        self.bytes_up = self.bytes_down = self.cuts = 0
        self._tasks: set[asyncio.Task[Any]] = set()

    async def __aenter__(self) -> Self:
        listening = socket.create_server(("127.0.0.1", 0))
        # Little is on its way unseen: a window that grows would hold megabytes of an upload.
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65_536)
        self._server = await asyncio.start_server(self._serve, sock=listening)
        self.http = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"
        return self

    async def __aexit__(self, *error: object) -> None:
        self._server.close()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    @property
    def busy(self) -> bool:
        """Something is still on its way, perhaps of a client that is dead."""
        return bool(self._tasks)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        try:
            with contextlib.suppress(OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
                await self._pass(reader, writer)
        finally:
            writer.transport.abort()

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        self.heads.append(head)
        chosen = head.startswith(self._only)
        if chosen and self.instead:
            writer.write(self.instead.pop(0))
            await writer.drain()
            writer.write_eof()
            while await reader.read(65_536):  # what it goes on sending
                pass
            return
        up = next(self.cuts_up, None) if chosen else None
        down = next(self.cuts_down, None) if chosen else None
        far_reader, far_writer = await asyncio.open_connection(self._to.hostname, self._to.port)
        try:
            far_writer.write(head)
            asking = asyncio.create_task(self._up(reader, far_writer, up))
            answering = asyncio.create_task(self._down(far_reader, writer, down))
            # A client that closes its side is gone, too: it waits for answers with both sides open.
            await asyncio.wait([asking, answering], return_when=asyncio.FIRST_COMPLETED)
            for each in (asking, answering):
                each.cancel()
            await asyncio.gather(asking, answering, return_exceptions=True)
        finally:
            far_writer.transport.abort()

    async def _up(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, left: int | None) -> None:
        while left is None or left > 0:
            data = await reader.read(16_384 if left is None else min(16_384, left))
            if not data:
                return
            self.bytes_up += len(data)
            left = None if left is None else left - len(data)
            writer.write(data)
            await writer.drain()
            if self.slow:
                await asyncio.sleep(self.slow)
        self.cuts += 1

    async def _down(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, left: int | None
    ) -> None:
        while left is None or left > 0:
            data = await reader.read(16_384 if left is None else min(16_384, left))
            if not data:
                return
            self.bytes_down += len(data)
            left = None if left is None else left - len(data)
            writer.write(data)
            await writer.drain()
        self.cuts += 1


def answer(status: str, body: bytes = b"", **headers: str) -> bytes:
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", "Connection: close"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return ("\r\n".join(lines) + "\r\n\r\n").encode() + body
