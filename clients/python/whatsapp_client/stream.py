"""Events for the application: any number of readers, each with a bounded queue."""

from __future__ import annotations

import asyncio
from collections import deque
from types import TracebackType

from .events import ChatChanged, Event

#: A reader this far behind stops the client from reading its socket: the server then slows down, or drops
#: the connection.
MAX_BEHIND = 10_000


class EventStream:
    """``async for event in client.events()``; ends after the client has stopped. It collects from its
    creation on."""

    def __init__(self, broadcast: Broadcast) -> None:
        self._broadcast = broadcast
        self.queue: asyncio.Queue[Event | None] = asyncio.Queue(MAX_BEHIND)
        self._announced: set[str] = set()
        self._late: deque[ChatChanged] = deque()  # what had no room; one for each conversation

    def __aiter__(self) -> EventStream:
        return self

    async def __anext__(self) -> Event:
        event = await self.queue.get()
        if event is None:
            self.close()
            raise StopAsyncIteration
        if isinstance(event, ChatChanged):
            self._announced.discard(event.conversation_id)
        if self._late and not self.queue.full():
            self.queue.put_nowait(self._late.popleft())
        return event

    def announce(self, conversation_id: str) -> None:
        """:class:`events.ChatChanged`, unless one is on its way."""
        if conversation_id not in self._announced:
            self._announced.add(conversation_id)
            event = ChatChanged(conversation_id)
            if self.queue.full():
                self._late.append(event)
            else:
                self.queue.put_nowait(event)

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

    def announce(self, conversation_id: str) -> None:
        for stream in self.streams:
            stream.announce(conversation_id)

    async def end(self) -> None:
        for stream in list(self.streams):
            await stream.queue.put(None)
