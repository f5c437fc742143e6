"""Events for the application: any number of readers, each with a bounded queue."""

from __future__ import annotations

import asyncio
from types import TracebackType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .events import Event

#: A reader this far behind stops the client from reading its socket: the server then slows down, or drops
#: the connection.
MAX_BEHIND = 10_000


class EventStream:
    """``async for event in client.events()``; ends after the client has stopped. It collects from its
    creation on."""

    def __init__(self, broadcast: Broadcast) -> None:
        self._broadcast = broadcast
        self.queue: asyncio.Queue[Event | None] = asyncio.Queue(MAX_BEHIND)

    def __aiter__(self) -> EventStream:
        return self

    async def __anext__(self) -> Event:
        event = await self.queue.get()
        if event is None:
            self.close()
            raise StopAsyncIteration
        return event

    def close(self) -> None:
        """Stop collecting."""
        self._broadcast.streams.discard(self)
        while not self.queue.empty():  # lets a waiting publisher go on
            self.queue.get_nowait()

    def __enter__(self) -> EventStream:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class Broadcast:
    """Hands every event to every open stream."""

    def __init__(self) -> None:
        self.streams: set[EventStream] = set()

    def stream(self) -> EventStream:
        stream = EventStream(self)
        self.streams.add(stream)
        return stream

    async def publish(self, event: Event) -> None:
        """Waits for the slowest stream."""
        for stream in list(self.streams):
            await stream.queue.put(event)

    def offer(self, event: Event) -> None:
        """Like :meth:`publish`, but skips streams that are full: for what is worth nothing later."""
        for stream in self.streams:
            if not stream.queue.full():
                stream.queue.put_nowait(event)

    async def end(self) -> None:
        for stream in list(self.streams):
            await stream.queue.put(None)
