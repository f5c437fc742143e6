"""Clients whose gateway dies: each comes back as the Python library does, with its delays and its jitter."""

from __future__ import annotations

import asyncio
import sys
import time
from collections import Counter
from typing import Any

from bench.frames import Codec, Ready, Reconnect, SyncComplete
from bench.wsclient import HandshakeError, WebSocket, connect
from devtools.paths import REPO

sys.path.insert(0, str(REPO / "clients" / "python"))

from whatsapp_client.client import NO_SLOT
from whatsapp_client.retry import Backoff, Retry, after_close

_AT_ONCE = 50
_TIMEOUT_S = 10.0  # of one attempt, as in the library


class Stray:
    """One device that stays connected, wherever it can. ``urls``: where it is first, and from then on."""

    def __init__(self, codec: Codec, person: dict[str, str], home: str, tally: Counter[str]) -> None:
        self.live = asyncio.Event()  # synced
        self.back_at = 0.0
        self.attempts = 0
        self._codec, self._token = codec, person["token"]
        self._url, self._home = person["url"], home
        self._tally = tally
        self._socket: WebSocket | None = None
        self._backoff = Backoff()
        self._slot: float | None = None  # seconds

    async def run(self) -> None:
        """For ever."""
        while True:
            delay = self._delay(await self._attempt())
            await asyncio.sleep(delay)

    async def _attempt(self) -> int:
        """Connect and stay; the close code."""
        ended: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self._socket, self._slot = None, None
        self.attempts += 1

        def on_close(code: int) -> None:
            if not ended.done():
                ended.set_result(code)

        try:
            async with asyncio.timeout(_TIMEOUT_S):
                self._socket = await connect(
                    self._url, token=self._token, subprotocol=self._codec.subprotocol, text=self._codec.text,
                    on_frame=self._on_frame, on_close=on_close,
                )  # fmt: skip
                live = asyncio.ensure_future(self.live.wait())
                await asyncio.wait((live, ended), return_when=asyncio.FIRST_COMPLETED)
                live.cancel()
        except TimeoutError:  # is an OSError
            self._tally["timed_out"] += 1
            self.close()
            return 1006
        except (OSError, HandshakeError):
            self._tally["no_connection"] += 1
            return 1006
        code = await ended
        self.live.clear()
        return code

    def _delay(self, code: int) -> float:
        """The library's rules (``whatsapp_client.client``)."""
        self._tally[f"closed_{code}"] += 1
        retry = after_close(code)
        if self._slot is not None and retry in (Retry.SLOT, Retry.SOON):
            return self._backoff.slot(self._slot)
        return self._backoff.next(at_least=NO_SLOT if retry is Retry.SLOT else 0.0)

    def roam(self) -> None:
        """From here on it connects to wherever a gateway answers."""
        self.attempts, self._url = 0, self._home

    def close(self) -> None:
        if self._socket is not None:
            self._socket.close()

    def _on_frame(self, data: bytes) -> None:
        frame = self._codec.decode(data)
        if isinstance(frame, Ready):
            assert self._socket is not None
            self._socket.send(self._codec.sync())
        elif isinstance(frame, SyncComplete):
            self.back_at = time.perf_counter()
            self.live.set()
        elif isinstance(frame, Reconnect):
            self._slot = frame.after_ms / 1000
        else:
            self._tally[f"unexpected_{type(frame).__name__}"] += 1


class Strays:
    """Many of them."""

    def __init__(self, codec: Codec, people: list[dict[str, str]], home: str) -> None:
        self.tally: Counter[str] = Counter()
        self._all = [Stray(codec, person, home, self.tally) for person in people]
        self._tasks: list[asyncio.Task[None]] = []

    async def connect(self) -> None:
        """Until all are live."""
        for begin in range(0, len(self._all), _AT_ONCE):
            some = self._all[begin : begin + _AT_ONCE]
            self._tasks += [asyncio.create_task(stray.run()) for stray in some]
            await asyncio.gather(*(stray.live.wait() for stray in some))

    def scatter(self) -> float:
        """From here on it is counted: their gateway dies now. Returns when."""
        self.tally.clear()
        for stray in self._all:
            stray.roam()
            stray.back_at = 0.0
        return time.perf_counter()

    def state(self) -> dict[str, Any]:
        """How many are back, and the times of those (``perf_counter``)."""
        return {"back": sum(1 for stray in self._all if stray.back_at), "of": len(self._all)}

    def close(self) -> dict[str, Any]:
        """End all; what became of them. Those that failed by our own fault are ``broken``."""
        for task in self._tasks:
            if task.done() and not task.cancelled() and (error := task.exception()) is not None:
                self.tally[f"broken: {error!r}"] += 1
        for task in self._tasks:
            task.cancel()
        for stray in self._all:
            stray.close()
        return {
            "back_at": [stray.back_at for stray in self._all],
            "attempts": dict(Counter(stray.attempts for stray in self._all)),
            "tally": dict(self.tally),
        }
