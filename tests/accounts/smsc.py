"""Message centres for tests: one of ``smpp34``'s server, which takes every bind, and one of sockets, which does what it is told
(refuse a bind, fall silent, hang up)."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
import threading
from collections.abc import Callable, Coroutine
from typing import Any

import smpp34

from devtools import ports

BIND, SUBMIT = 0x09, 0x04  # bind_transceiver, submit_sm
RESPONSE = 0x8000_0000


class Loop:
    """A thread with a loop, on which a centre lives: the sender under test waits in the test's own thread."""

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self.thread = threading.Thread(target=self.loop.run_forever, daemon=True)
        self.thread.start()

    def run(self, work: Coroutine[Any, Any, Any]) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self.loop).result(10)

    def stop(self) -> None:
        if not self.thread.is_alive():
            return

        async def cancel() -> None:
            for task in asyncio.all_tasks() - {asyncio.current_task()}:
                task.cancel()

        with contextlib.suppress(Exception):
            self.run(cancel())
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join(5)


class Centre:
    """``smpp34.Server``. ``status(message)`` answers each ``submit_sm``: a command_status, None for silence."""

    def __init__(self) -> None:
        self.port = ports.choose()
        self.submitted: list[Any] = []
        self.bound: dict[str, Any] = {}
        self.binds = 0
        self.status: Callable[[Any], int | None] = lambda message: 0
        self.receipt: Callable[[Any, str], dict[str, Any]] | None = None
        self._kept: list[Any] = []
        self._loop = Loop()
        self._server = smpp34.Server(host="127.0.0.1", port=self.port, system_id="SMSC")
        self._loop.run(self._start())

    async def _start(self) -> None:
        await self._server.start()
        self._serving = asyncio.get_running_loop().create_task(self._serve())

    async def _serve(self) -> None:
        while True:
            event = await self._server.next()
            if isinstance(event, smpp34.Esme):
                self.bound[event.session_id] = event
                self.binds += 1
            elif isinstance(event, smpp34.Unbound):
                self.bound.pop(event.session_id, None)
            elif isinstance(event, smpp34.SubmitSmEvent):
                self.submitted.append(event)
                status = self.status(event)
                if status is None:
                    self._kept.append(event)  # dropped, it would be refused
                elif status:
                    event.reject(status)
                else:
                    name = f"id{len(self.submitted)}"
                    event.accept(name)
                    if self.receipt is not None:
                        await self.bound[event.session_id].deliver_sm(
                            source_addr=event.destination_addr,
                            destination_addr=event.source_addr,
                            esm_class=4,
                            **self.receipt(event, name),
                        )

    def unbind_all(self) -> None:
        async def unbind() -> None:
            for esme in list(self.bound.values()):
                await esme.unbind()

        self._loop.run(unbind())

    def stop(self) -> None:
        async def stop() -> None:
            await self._server.stop()

        with contextlib.suppress(Exception):
            self._loop.run(stop())
        self._loop.stop()


class RawCentre:
    """PDUs by hand (SMPP 3.4, section 3.2: length, id, status, sequence number). ``answer(id, body)`` gives a status, or None
    for silence."""

    def __init__(self, answer: Callable[[int, bytes], int | None]) -> None:
        self.answer = answer
        self.seen: list[tuple[int, bytes]] = []
        self.connections = 0
        self._writers: list[asyncio.StreamWriter] = []
        self._loop = Loop()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._server = self._loop.run(asyncio.start_server(self._serve, sock=self._listener))

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self._writers.append(writer)
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                length, kind, _, number = struct.unpack(">IIII", await reader.readexactly(16))
                body = await reader.readexactly(length - 16)
                self.seen.append((kind, body))
                status = self.answer(kind, body)
                if status is None or kind & RESPONSE:
                    continue
                # system_id of a bind, message_id of a submit, both C strings
                reply = b"RAW\0" if kind in (BIND, SUBMIT) and (kind == BIND or not status) else b""
                writer.write(struct.pack(">IIII", 16 + len(reply), kind | RESPONSE, status, number) + reply)
                await writer.drain()

    def say(self, data: bytes) -> None:
        """Bytes to every connection, whatever they are."""

        async def write() -> None:
            for writer in self._writers:
                writer.write(data)

        self._loop.run(write())

    def hang_up(self) -> None:
        async def close() -> None:
            for writer in self._writers:
                writer.close()
            self._writers.clear()

        self._loop.run(close())

    def stop(self) -> None:
        if not self._loop.thread.is_alive():
            return

        async def close() -> None:
            self._server.close()

        with contextlib.suppress(Exception):
            self.hang_up()
            self._loop.run(close())
        self._loop.stop()


def submitted(body: bytes) -> tuple[str, bytes]:
    """(destination, short_message) of a ``submit_sm`` body (section 4.4.1)."""
    rest = body.split(b"\0", 1)[1]  # service_type
    rest = rest[2:].split(b"\0", 1)[1]  # source
    destination, rest = rest[2:].split(b"\0", 1)
    rest = rest[3:].split(b"\0", 1)[1]  # esm_class, protocol, priority; schedule
    rest = rest.split(b"\0", 1)[1]  # validity
    length = rest[4]  # registered, replace, coding, default id, length
    return destination.decode(), rest[5 : 5 + length]
