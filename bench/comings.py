"""People who come and go, and others who follow their presence: how long until a follower is told."""

from __future__ import annotations

import asyncio
import random
import time
from array import array
from collections import Counter
from typing import Any

from bench.frames import Codec, Error, Key, Presence, Ready, SyncComplete
from bench.idle import Idler
from bench.wsclient import WebSocket, connect

#: Seconds; as long as a subscription may last without being renewed.
_TTL_S = 300


class Guest:
    """Somebody who comes and goes. Times are of ``perf_counter``; 0: nobody waits for it."""

    def __init__(self, codec: Codec, person: dict[str, str], followers: int) -> None:
        self.key = codec.key(person["user"])
        self.followers = followers
        self.here = False
        self.moved = 0.0  # when it began to come, or left
        self.waiting = 0  # followers who were not told yet
        self._codec = codec
        self._person = person
        self._idler: Idler | None = None

    async def come(self) -> float:
        """Returns the seconds until ``ready``."""
        self._move(True)
        self._idler = Idler(self._codec, self._person)
        return await self._idler.connect()

    def go(self) -> None:
        self._move(False)
        assert self._idler is not None
        self._idler.close()

    def _move(self, here: bool) -> None:
        self.here, self.moved, self.waiting = here, time.perf_counter(), self.followers

    @property
    def still(self) -> bool:
        return not self.waiting


class Follower:
    """A live socket that follows some of them."""

    def __init__(self, codec: Codec, person: dict[str, str], guests: list[Guest], told: Any) -> None:
        self._codec = codec
        self._person = person
        self._guests = {guest.key: guest for guest in guests}
        self._status: dict[Key, str] = {}
        self._told = told
        self._live: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._socket: WebSocket | None = None

    async def connect(self) -> None:
        """Until the states of all are known."""
        self._socket = await connect(
            self._person["url"], token=self._person["token"], subprotocol=self._codec.subprotocol,
            text=self._codec.text, on_frame=self._on_frame, on_close=self._on_close,
        )  # fmt: skip
        await self._live

    def close(self) -> None:
        if self._socket is not None:
            self._socket.close()

    def _on_frame(self, data: bytes) -> None:
        frame = self._codec.decode(data)
        assert self._socket is not None
        if isinstance(frame, Ready):
            self._socket.send(self._codec.sync())
        elif isinstance(frame, SyncComplete):
            self._socket.send(self._codec.follow(list(self._guests), _TTL_S))
        elif isinstance(frame, Presence):
            self._on_presence(frame)
        elif isinstance(frame, Error):
            self._fail(f"a follower got {frame}")

    def _on_presence(self, frame: Presence) -> None:
        before, self._status[frame.user_id] = self._status.get(frame.user_id), frame.status
        if before is not None:
            self._told(self._guests[frame.user_id], before, frame.status)
        elif len(self._status) == len(self._guests) and not self._live.done():
            self._live.set_result(None)

    def _on_close(self, code: int) -> None:
        self._fail(f"the server closed a follower with {code}")

    def _fail(self, reason: str) -> None:
        self._told(None, "", reason)
        if not self._live.done():
            self._live.set_exception(ConnectionError(reason))


class Comings:
    """``each`` guests are followed by each follower, spread evenly."""

    def __init__(
        self, codec: Codec, guests: list[dict[str, str]], followers: list[dict[str, str]], each: int
    ) -> None:
        many = len(followers) * each // len(guests)
        if many * len(guests) != len(followers) * each:
            raise ValueError("every guest must have as many followers")
        self.guests = [Guest(codec, person, many) for person in guests]
        self._followers = [
            Follower(
                codec,
                person,
                [self.guests[(number * each + n) % len(guests)] for n in range(each)],
                self._told,
            )
            for number, person in enumerate(followers)
        ]
        self.online_us, self.offline_us, self.ready_us = array("q"), array("q"), array("q")
        self.problems: Counter[str] = Counter()
        self.examples: list[str] = []
        self._task: asyncio.Task[None] | None = None
        self._moves: set[asyncio.Task[None]] = set()
        self.moves = self.waited = 0

    async def connect(self) -> None:
        for begin in range(0, len(self._followers), 50):
            await asyncio.gather(*(one.connect() for one in self._followers[begin : begin + 50]))

    def begin(self, per_second: float, seed: int) -> None:
        self._task = asyncio.create_task(self._run(per_second, random.Random(seed)))

    async def _run(self, per_second: float, chance: random.Random) -> None:
        """At random times somebody whose followers know where they are comes or goes."""
        due = time.perf_counter()
        while True:
            due += chance.expovariate(per_second)
            await asyncio.sleep(max(0.0, due - time.perf_counter()))
            still = [guest for guest in self.guests if guest.still]
            if not still:
                self.waited += 1
                continue
            self.moves += 1
            guest = chance.choice(still)
            if guest.here:
                guest.go()
            else:
                move = asyncio.create_task(self._come(guest))
                self._moves.add(move)
                move.add_done_callback(self._moves.discard)

    async def _come(self, guest: Guest) -> None:
        try:
            self.ready_us.append(round(await guest.come() * 1e6))
        except Exception as error:
            self._blame("could_not_connect", f"{type(error).__name__}: {error}")

    def _told(self, guest: Guest | None, before: str, status: str) -> None:
        if guest is None:
            self._blame("follower_failed", status)
        elif status == before:
            self._blame("told_twice", status)
        elif status != ("online" if guest.here else "offline"):
            self._blame("told_wrong", f"{before} → {status}")
        else:
            us = round((time.perf_counter() - guest.moved) * 1e6)
            (self.online_us if guest.here else self.offline_us).append(us)
            guest.waiting -= 1

    def _blame(self, what: str, example: str) -> None:
        self.problems[what] += 1
        self.examples.append(example)

    async def stop(self, timeout_s: float) -> dict[str, Any]:
        """End it; whoever is not told in time is blamed."""
        assert self._task is not None
        self._task.cancel()
        deadline = time.perf_counter() + timeout_s
        while not all(guest.still for guest in self.guests) and time.perf_counter() < deadline:
            await asyncio.sleep(0.02)
        if missing := sum(guest.waiting for guest in self.guests):
            self._blame("never_told", str(missing))
        for one in self._followers:
            one.close()
        for guest in self.guests:
            if guest.here:
                guest.go()
        return {
            "moves": self.moves,
            "waited": self.waited,
            "online_us": self.online_us.tolist(),
            "offline_us": self.offline_us.tolist(),
            "ready_us": self.ready_us.tolist(),
            "problems": dict(self.problems),
            "examples": self.examples[:5],
        }
