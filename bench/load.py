"""The load generator, a process of its own: ``python -m bench.load``, told what to do in JSON lines on its standard input.

Each line ``{"do": NAME, …}`` is answered by one line: ``{"ok": true, …}`` or ``{"error": TEXT}``. It ends with its input.
The names are the methods of :class:`Commands`.
"""

from __future__ import annotations

import asyncio
import gc
import json
import os
import sys
import time
from array import array
from typing import Any

import uvloop

from bench import wsclient
from bench.backlog import Reader, Sender
from bench.beside import Beside
from bench.comings import Comings
from bench.couples import Couples
from bench.floods import FloodedRoom
from bench.forwards import Viral
from bench.frames import CODECS
from bench.gatherings import Gathering
from bench.idle import Crowd, Idler
from bench.lives import Pairs
from bench.peers.chatter import couples
from bench.peers.devices import CHATTERS, IDLERS, MEMBERS
from bench.peers.room import PeerRoom
from bench.replies import PEERS, ROOMS
from bench.rooms import Room
from bench.strays import Strays

_LINE_LIMIT = 64 * 1024 * 1024
_TIMEOUT_S = 120.0


class Commands:
    """What a generator can do. State is what earlier commands left: connected pairs, idle sockets."""

    def __init__(self) -> None:
        self._pairs: Couples | None = None
        self._crowd: Crowd | None = None
        self._room: Gathering | None = None
        self._beside: Beside | None = None
        self._flood: FloodedRoom | None = None
        self._viral: Viral | None = None
        self._comings: Comings | None = None
        self._strays: Strays | None = None
        self._window: dict[str, array[int]] = {}

    async def pairs(
        self, *, codec: str, pairs: list[dict[str, Any]], body_bytes: int, replies: str = "each"
    ) -> dict[str, Any]:
        """Connect both people of each pair, until they are live. ``replies``: how they answer, see :mod:`bench.replies`."""
        return await self._load(Pairs(CODECS[codec](), pairs, os.urandom(body_bytes), kind=PEERS[replies]))

    async def peer_pairs(
        self, *, peer: str, pairs: list[dict[str, Any]], body_bytes: int, receipts: bool
    ) -> dict[str, Any]:
        """The same on another server; without ``receipts`` a life is over when the message is there."""
        return await self._load(couples(CHATTERS[peer], pairs, os.urandom(body_bytes), receipts))

    async def _load(self, pairs: Couples) -> dict[str, Any]:
        self._pairs = pairs
        await pairs.connect()
        gc.collect()
        gc.freeze()
        return {"devices": len(pairs.devices)}

    async def saturate(self, *, in_flight: int) -> dict[str, Any]:
        self._loaded.saturate(in_flight)
        return {}

    async def rate(self, *, per_second: float, seed: int) -> dict[str, Any]:
        self._loaded.open_rate(per_second, seed)
        return {}

    async def mark(self) -> dict[str, Any]:
        """A window ends here and the next begins: counts so far, and when."""
        tally = self._loaded.tally
        self._window = tally.mark()
        return {
            "at": time.perf_counter(),
            "started": tally.started,
            "completed": tally.completed,
            "receipt_frames": tally.receipt_frames,
            "problems": sum(tally.problems.values()),
        }

    async def latencies(self) -> dict[str, Any]:
        """µs of each life completed in the window that the last mark ended, by step."""
        return {"latency_us": {step: values.tolist() for step, values in self._window.items()}}

    async def stop(self, *, timeout_s: float) -> dict[str, Any]:
        """End the load, wait for what is under way, check every conversation."""
        lost = await self._loaded.stop(timeout_s)
        self._loaded.check()
        return {"lost": lost, **self._loaded.tally.report()}

    async def close_pairs(self) -> dict[str, Any]:
        self._loaded.close()
        self._pairs = None
        await asyncio.sleep(0.1)
        return {}

    async def trust(self, *, certificate: str) -> dict[str, Any]:
        """Sockets to ``wss://`` trust this and speak TLS 1.3."""
        wsclient.trust(certificate)
        return {}

    async def connect_idle(self, *, codec: str, people: list[dict[str, str]], at_once: int) -> dict[str, Any]:
        spoken = CODECS[codec]()
        return await self._connect(Crowd([Idler(spoken, person) for person in people], at_once))

    async def connect_peer_idle(
        self, *, peer: str, people: list[dict[str, str]], at_once: int
    ) -> dict[str, Any]:
        """The same on another server."""
        return await self._connect(Crowd([IDLERS[peer](person) for person in people], at_once))

    async def _connect(self, crowd: Crowd) -> dict[str, Any]:
        self._crowd = crowd
        start = time.perf_counter()
        seconds = await crowd.connect()
        return {"seconds": time.perf_counter() - start, "each_ms": [round(s * 1000, 3) for s in seconds]}

    async def sync_idle(self) -> dict[str, Any]:
        assert self._crowd is not None
        await self._crowd.sync()
        return {}

    async def close_idle(self) -> dict[str, Any]:
        assert self._crowd is not None
        lost, self._crowd = self._crowd.close(), None
        await asyncio.sleep(0.1)
        return {"lost": lost}

    async def strays(self, *, codec: str, people: list[dict[str, str]], home: str) -> dict[str, Any]:
        """Connect people who come back to ``home`` whenever their socket ends."""
        self._strays = Strays(CODECS[codec](), people, home)
        await self._strays.connect()
        gc.collect()
        gc.freeze()
        return {}

    async def scatter(self) -> dict[str, Any]:
        assert self._strays is not None
        return {"at": self._strays.scatter()}

    async def strays_state(self) -> dict[str, Any]:
        assert self._strays is not None
        return self._strays.state()

    async def strays_end(self) -> dict[str, Any]:
        assert self._strays is not None
        found, self._strays = self._strays.close(), None
        await asyncio.sleep(0.1)
        return found

    async def fill(self, *, codec: str, senders: list[dict[str, Any]], body_bytes: int) -> dict[str, Any]:
        """Each sender writes its count of messages; done when all have their ✓."""
        content = os.urandom(body_bytes)
        spoken = CODECS[codec]()
        await asyncio.gather(
            *(Sender(spoken, s["person"], s["conversation"], content, s["count"]).run() for s in senders)
        )
        return {}

    async def drain(self, *, codec: str, person: dict[str, str]) -> dict[str, Any]:
        """One device reads its whole backlog."""
        return await Reader(CODECS[codec](), person).run()

    async def room(
        self,
        *,
        codec: str,
        group: str,
        people: list[dict[str, str]],
        senders: int,
        body_bytes: int,
        replies: str = "",
    ) -> dict[str, Any]:
        """Connect everybody of a group, until they are live. ``replies``: each message is answered, see :mod:`bench.replies`."""
        kind = ROOMS[replies] if replies else Room
        return await self._gather(kind(CODECS[codec](), group, people, senders, os.urandom(body_bytes)))

    async def peer_room(
        self, *, peer: str, people: list[dict[str, str]], senders: int, body_bytes: int
    ) -> dict[str, Any]:
        """The same on another server."""
        return await self._gather(PeerRoom(MEMBERS[peer], people, senders, os.urandom(body_bytes)))

    async def _gather(self, room: Gathering) -> dict[str, Any]:
        self._room = room
        await room.connect()
        gc.collect()
        gc.freeze()
        return {}

    async def room_rate(self, *, per_second: float, seed: int) -> dict[str, Any]:
        assert self._room is not None
        self._room.open_rate(per_second, seed)
        return {}

    async def room_mark(self) -> dict[str, Any]:
        """A window ends here and the next begins: counts so far, when, and the latencies (µs) of the one that ends."""
        assert self._room is not None
        return {"at": time.perf_counter(), **self._room.mark()}

    async def room_stop(self, *, timeout_s: float) -> dict[str, Any]:
        """End the load, wait for what is under way, check every member; then everybody leaves."""
        assert self._room is not None
        found = await self._room.stop(timeout_s)
        await self.room_leave()
        return found

    async def room_leave(self) -> dict[str, Any]:
        """Everybody leaves, whatever is under way."""
        assert self._room is not None
        self._room.end()
        self._room.close()
        self._room = None
        await asyncio.sleep(0.1)
        return {}

    async def beside(
        self, *, codec: str, rooms: list[dict[str, Any]], pairs: list[dict[str, Any]], body_bytes: int
    ) -> dict[str, Any]:
        """Connect quiet groups and pairs, until all are live."""
        self._beside = Beside(CODECS[codec](), rooms, pairs, os.urandom(body_bytes))
        await self._beside.connect()
        gc.collect()
        gc.freeze()
        return {}

    async def beside_rate(self, *, per_room: float, per_pair: float, seed: int) -> dict[str, Any]:
        assert self._beside is not None
        self._beside.rate(per_room, per_pair, seed)
        return {}

    async def beside_in_turn(self, *, per_second: float) -> dict[str, Any]:
        assert self._beside is not None
        self._beside.in_turn(per_second)
        return {}

    async def beside_mark(self, *, phase: str) -> dict[str, Any]:
        """``phase`` begins; counts so far."""
        assert self._beside is not None
        return self._beside.mark(phase)

    async def beside_stop(self, *, timeout_s: float) -> dict[str, Any]:
        """End it, check it; latencies by kind and phase."""
        assert self._beside is not None
        found = await self._beside.stop(timeout_s)
        self._beside = None
        await asyncio.sleep(0.1)
        return found

    async def flooded(
        self, *, codec: str, group: str, people: list[dict[str, str]], senders: int, body_bytes: int
    ) -> dict[str, Any]:
        """Connect those of the group who are not away."""
        self._flood = FloodedRoom(CODECS[codec](), group, people, senders, os.urandom(body_bytes))
        await self._flood.connect()
        gc.collect()
        gc.freeze()
        return {}

    async def flood(self, *, in_flight: int, per_second: float, seed: int) -> dict[str, Any]:
        """``per_second`` 0: as fast as the ✓ come."""
        assert self._flood is not None
        if per_second:
            self._flood.open_rate(per_second, seed)
        else:
            self._flood.flood(in_flight)
        return self._flood.counts()

    async def flood_end(self) -> dict[str, Any]:
        assert self._flood is not None
        self._flood.end()
        return self._flood.counts()

    async def flood_counts(self) -> dict[str, Any]:
        assert self._flood is not None
        return self._flood.counts()

    async def flood_stop(self, *, timeout_s: float) -> dict[str, Any]:
        """Wait for what is under way, check every member; then everybody leaves."""
        assert self._flood is not None
        found = await self._flood.stop(timeout_s)
        found["latency_us"] = self._flood.mark()["latency_us"]
        self._flood.close()
        self._flood = None
        await asyncio.sleep(0.1)
        return found

    async def viral(
        self, *, codec: str, senders: list[dict[str, str]], groups: list[dict[str, Any]], body_bytes: int
    ) -> dict[str, Any]:
        """Connect who forwards, and who is there of each group."""
        self._viral = Viral(CODECS[codec](), senders, groups, os.urandom(body_bytes))
        await self._viral.connect()
        gc.collect()
        gc.freeze()
        return {}

    async def viral_begin(self, *, within_s: float, times: int) -> dict[str, Any]:
        assert self._viral is not None
        self._viral.begin(within_s, times)
        return {"at": time.perf_counter()}

    async def viral_state(self) -> dict[str, Any]:
        assert self._viral is not None
        return self._viral.state()

    async def viral_stop(self, *, timeout_s: float) -> dict[str, Any]:
        """Wait for what is under way, check everybody; then they leave."""
        assert self._viral is not None
        found = await self._viral.stop(timeout_s)
        self._viral = None
        await asyncio.sleep(0.1)
        return found

    async def comings(
        self, *, codec: str, guests: list[dict[str, str]], followers: list[dict[str, str]], each: int
    ) -> dict[str, Any]:
        """Connect the followers, until each knows that all it follows are away."""
        self._comings = Comings(CODECS[codec](), guests, followers, each)
        await self._comings.connect()
        gc.collect()
        gc.freeze()
        return {}

    async def comings_begin(self, *, per_second: float, seed: int) -> dict[str, Any]:
        assert self._comings is not None
        self._comings.begin(per_second, seed)
        return {}

    async def comings_stop(self, *, timeout_s: float) -> dict[str, Any]:
        """Wait until everybody was told; then all leave."""
        assert self._comings is not None
        found = await self._comings.stop(timeout_s)
        self._comings = None
        await asyncio.sleep(0.1)
        return found

    @property
    def _loaded(self) -> Couples:
        assert self._pairs is not None, "no pairs are connected"
        return self._pairs


async def _serve() -> None:
    loop = asyncio.get_running_loop()
    lines = asyncio.StreamReader(limit=_LINE_LIMIT)
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(lines), sys.stdin)
    commands = Commands()
    while line := await lines.readline():
        request = json.loads(line)
        try:
            method = getattr(commands, request.pop("do"))
            async with asyncio.timeout(_TIMEOUT_S):
                answer = {"ok": True, **await method(**request)}
        except Exception as error:  # told to whoever asked, who decides
            answer = {"error": f"{type(error).__name__}: {error}"}
        sys.stdout.write(json.dumps(answer) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    uvloop.install()
    asyncio.run(_serve())
