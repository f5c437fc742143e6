"""A client for tests that hides nothing: every frame goes out as given, every frame that came in can be asked for.

``Peer`` is the socket of a :class:`tests.gateway.phone.Phone` in either codec. Nothing is sent by itself, no ack and no
sync, unless a test calls for it. For bytes that no client would send see :mod:`tests.gateway.raw`.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from typing import Any, Self, TypeVar

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from tests.gateway.phone import Phone, Runs, couple, new_id
from tests.support.patience import PATIENCE
from whatsapp.wire import frames
from whatsapp.wire.codec import CODECS, JSON, Codec

SUBPROTOCOL = "whatsapp.v3.2.{}"

AnyFrame = TypeVar("AnyFrame", bound=frames.Frame)
_refs = itertools.count(1)


class Closed(AssertionError):
    """The socket ended while a frame was waited for."""


class Peer:
    """An open socket. Frames that nobody took yet wait in ``inbox``, in order; ``log`` keeps every frame that ever came."""

    def __init__(self, socket: ClientConnection, codec: Codec, phone: Phone | None) -> None:
        self.socket = socket
        self.codec = codec
        self.phone = phone
        self.inbox: list[Any] = []
        self.log: list[Any] = []
        self.sizes: list[int] = []  # bytes of each frame of ``log``
        self.ready: frames.Ready | None = None
        self._news = asyncio.Event()
        self._ended = False
        self._reader = asyncio.create_task(self._read())

    # opening and ending

    @classmethod
    async def open(
        cls,
        url: str,
        phone: Phone | None = None,
        codec: Codec | str = JSON,
        *,
        header: bool = False,
        auth: bool = True,
        resume: dict[str, int] | None = None,
        sync: bool = True,
        subprotocols: Iterable[str] | None = None,
        headers: dict[str, str] | None = None,
        **options: Any,
    ) -> Self:
        """Connect; authenticate as ``phone`` by frame or ``header`` and wait for ``ready``; ``sync`` to the end, acking.

        ``resume``: positions for ``auth``'s ``resume.have``; then no ``sync`` is sent. ``subprotocols``: instead of the codec's.
        ``options`` go to ``websockets.connect``.
        """
        codec = CODECS[codec] if isinstance(codec, str) else codec
        offered = [SUBPROTOCOL.format(codec.name)] if subprotocols is None else list(subprotocols)
        sent = dict(headers or {})
        if header and phone is not None:
            sent["Authorization"] = f"Bearer {phone.token}"
        settings: dict[str, Any] = {
            "compression": None,
            "ping_interval": None,
            "max_size": None,
            "proxy": None,
        }
        socket = await connect(
            url,
            subprotocols=offered or None,  # type: ignore[arg-type]
            additional_headers=sent,
            open_timeout=PATIENCE,
            close_timeout=2,
            **{**settings, **options},
        )
        peer = cls(socket, codec, phone)
        if phone is None or not (auth or header):
            return peer
        if not header:
            await peer.send(
                frames.Auth(phone.token, frames.Resume(have=resume) if resume is not None else None)
            )
        peer.ready = await peer.expect(frames.Ready)
        if sync and resume is None:
            await peer.sync()
        return peer

    async def close(self) -> None:
        await self.socket.close()
        await self._reader

    def cut(self) -> None:
        """The network goes away without a word."""
        self.socket.transport.abort()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def closed(self, timeout: float = PATIENCE) -> int:
        """Wait for the end; its close code (1006 for none)."""
        async with asyncio.timeout(timeout):
            await asyncio.shield(self._reader)
        return self.socket.close_code or 1006

    @property
    def is_closed(self) -> bool:
        return self._ended

    # sending

    async def send(self, frame: frames.Frame) -> None:
        await self.raw(self.codec.encode(frame))

    async def raw(self, data: bytes) -> None:
        """These very bytes, as the kind of WebSocket message that the codec uses."""
        await self.socket.send(data.decode() if self.codec.text else data)

    async def ask(self, frame: frames.Frame, timeout: float = PATIENCE) -> Any:
        """Send with a ``ref`` of its own and return what answers it, whatever it is."""
        ref = frame.ref = f"r{next(_refs)}"
        await self.send(frame)
        return await self.take(lambda got: got.ref == ref, f"the answer to {frame}", timeout)

    def message(self, conversation: str, text: str | bytes = "hello", **fields: Any) -> frames.SendMessage:
        """A ``send_message`` of this conversation; ``fields`` over the usual."""
        content = text.encode() if isinstance(text, str) else text
        usual = {"message_id": new_id(), "timestamp": 1}
        return frames.SendMessage(
            conversation_id=conversation, encrypted_content=content, **{**usual, **fields}
        )

    async def attempt(self, conversation: str, text: str | bytes = "hello", **fields: Any) -> Any:
        """Send a message; returns its answer, a ``status_update`` or an ``error``."""
        return await self.ask(self.message(conversation, text, **fields))

    async def say(self, conversation: str, text: str | bytes = "hello", **fields: Any) -> frames.StatusUpdate:
        """Send a message and wait for its ✓."""
        answer = await self.attempt(conversation, text, **fields)
        assert isinstance(answer, frames.StatusUpdate), answer
        assert answer.status == "sent", answer
        return answer

    async def ack(self, conversation: str, seq: int) -> None:
        await self.send(frames.Ack({conversation: seq}))

    async def read(self, conversation: str, up_to: int) -> None:
        await self.send(frames.StatusUpdate(conversation, "read", up_to=up_to))

    # receiving

    async def take(self, wanted: Callable[[Any], Any], what: str = "", timeout: float = PATIENCE) -> Any:
        """The first waiting frame that is ``wanted``; it leaves the inbox, the others stay."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + timeout
        while True:
            for index, frame in enumerate(self.inbox):
                if wanted(frame):
                    return self.inbox.pop(index)
            if self._ended:
                raise Closed(
                    f"closed {self.socket.close_code} before {what or wanted}; waiting: {self.inbox[-20:]}"
                )
            self._news.clear()
            try:
                async with asyncio.timeout_at(deadline):
                    await self._news.wait()
            except TimeoutError:
                raise AssertionError(
                    f"no {what or wanted} in {timeout:.0f} s; waiting: {self.inbox[-20:]}"
                ) from None

    async def expect(self, kind: type[AnyFrame], timeout: float = PATIENCE, /, **fields: Any) -> AnyFrame:
        """The first waiting frame of ``kind`` with these fields; it leaves the inbox."""
        found: AnyFrame = await self.take(
            lambda got: isinstance(got, kind) and all(getattr(got, n) == v for n, v in fields.items()),
            f"{kind.__name__} {fields or ''}",
            timeout,
        )
        return found

    async def messages(self, count: int, timeout: float = PATIENCE) -> list[frames.Message]:
        """The next ``count`` live messages, in the order in which they came."""
        return [await self.expect(frames.Message, timeout) for _ in range(count)]

    async def error(self, code: str, timeout: float = PATIENCE) -> frames.Error:
        return await self.expect(frames.Error, timeout, code=code)

    def waiting(self, *kinds: type[frames.Frame]) -> list[Any]:
        """Frames of these kinds (all, if none is named) that nobody took."""
        return [frame for frame in self.inbox if not kinds or isinstance(frame, kinds)]

    async def round_trip(self) -> None:
        """What the server wrote to this socket before it read our next frame is here when this returns."""
        answer = await self.ask(frames.Auth("again"))
        assert isinstance(answer, frames.Error), answer

    # the backlog

    async def sync(
        self,
        have: dict[str, int] | None = None,
        *,
        acking: bool = True,
        before_ack: Callable[[frames.SyncBatch], Any] | None = None,
        timeout: float = PATIENCE,
        **fields: Any,
    ) -> list[frames.SyncBatch]:
        """Ask for the backlog and read it to ``sync_complete``, acking each batch; the batches in order."""
        await self.send(frames.Sync(have, **fields))
        return await self.batches(acking=acking, before_ack=before_ack, timeout=timeout)

    async def batches(
        self,
        *,
        acking: bool = True,
        before_ack: Callable[[frames.SyncBatch], Any] | None = None,
        timeout: float = PATIENCE,
    ) -> list[frames.SyncBatch]:
        """Read a backlog that was asked for to its ``sync_complete``."""
        got: list[frames.SyncBatch] = []
        while True:
            frame = await self.take(
                lambda f: isinstance(f, frames.SyncBatch | frames.SyncComplete),
                "sync_batch or sync_complete",
                timeout,
            )
            if isinstance(frame, frames.SyncComplete):
                return got
            got.append(frame)
            if before_ack is not None:
                before_ack(frame)
            if acking and frame.events:
                await self.ack(frame.conversation_id, frame.events[-1].seq)

    async def _read(self) -> None:
        try:
            async for data in self.socket:
                data = data.encode() if isinstance(data, str) else data
                frame = self.codec.decode_server(data)
                self.inbox.append(frame)
                self.sizes.append(len(data))
                self.log.append(frame)
                self._news.set()
        except ConnectionClosed:
            pass
        finally:
            self._ended = True
            self._news.set()


class Stream:
    """``async with Stream(peer, conversation) as stream``: it says "1", "2", … one behind the other until it is ended."""

    def __init__(self, peer: Peer, conversation: str) -> None:
        self.sent = 0
        self._peer, self._conversation = peer, conversation
        self._ending = False

    async def __aenter__(self) -> Self:
        self._task = asyncio.create_task(self._run())
        return self

    async def __aexit__(self, *_: object) -> None:
        self._task.cancel()

    async def _run(self) -> None:
        while not self._ending:
            self.sent += 1
            await self._peer.say(self._conversation, str(self.sent))

    async def end(self) -> None:
        """All that was said has its ✓."""
        self._ending = True
        await self._task


def texts(events: Iterable[Any]) -> list[str]:
    """Contents of messages, for comparison with what was sent."""
    return [(event.encrypted_content or b"").decode() for event in events]


def events_of(batches: Iterable[frames.SyncBatch]) -> list[Any]:
    return [event for batch in batches for event in batch.events]


@asynccontextmanager
async def talking(
    system: Runs, codec: Codec | str = JSON, *, apart: bool = True
) -> AsyncIterator[tuple[Peer, Peer, str]]:
    """Two people with live sockets, on different gateways if ``apart``, and their conversation."""
    ann, bob, conversation = await couple(system)
    urls = [gateway["ws"] for gateway in system.gateways.values()]
    first = await Peer.open(urls[0], ann, codec)
    second = await Peer.open(urls[-1 if apart else 0], bob, codec)
    async with first, second:
        yield first, second, conversation


async def fill(
    sender: Peer, conversation: str, count: int, text: Callable[[int], str | bytes] = str, window: int = 400
) -> None:
    """``count`` messages ``text(1)`` … as fast as their ✓ come, ``window`` at once."""
    free = asyncio.Semaphore(window)
    done = 0

    async def ticks() -> None:
        nonlocal done
        while done < count:
            await sender.expect(frames.StatusUpdate, status="sent")
            done += 1
            free.release()

    counting = asyncio.create_task(ticks())
    try:
        for number in range(1, count + 1):
            await free.acquire()
            await sender.send(sender.message(conversation, text(number)))
        await counting
    finally:
        counting.cancel()
