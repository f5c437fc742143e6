"""The time that processes go by when they decide about what another has begun: claims, leases, locks.

Whoever tells a sender of a number goes by :func:`latest_ms`, whoever decides that its message will not come by
:func:`earliest_ms`: of the process's own clock and of those of the nodes of Cassandra (the median, measured every EVERY_S and
counted on by a clock that nobody sets). So two processes that disagree by more than the 5 s of rule R23 do no harm as long as the
nodes' clocks are together; and should a node's go astray, as long as the processes' are.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import statistics
import time
from typing import Any, Final, NamedTuple, Protocol

from acsylla import errors

from delivery.store.interface import Unavailable
from whatsapp.infra import clock, metrics

EVERY_S: Final = 10.0
#: An answer that took longer says too little about the time.
SLOW_S: Final = 1.0
#: Clocks that are so close are taken for the same.
SAME_MS: Final = 500
#: Nodes that are asked, of more than that some.
MOST_NODES: Final = 9

_LOCAL = "SELECT rpc_address, rpc_port, data_center FROM system.local"
_PEERS = "SELECT native_address, native_port, data_center FROM system.peers_v2"
_TIME = "SELECT toUnixTimestamp(now()) FROM system.local"


class Asked(Protocol):
    """What is asked of a :class:`delivery.store.cassandra.session.Cassandra`. Both raise ``Unavailable``."""

    async def rows(self, cql: str) -> list[Any]: ...

    async def asked_of(self, host: str, port: int, cql: str, *, timeout_s: float) -> list[Any]: ...


class _Nodes(NamedTuple):
    ms: float  # their time
    at: float  # ours (:func:`_elapsed`) then


_nodes: _Nodes | None = None
_ahead: dict[tuple[str], float] = {}

metrics.source(
    "whatsapp_store_clock_skew_seconds",
    "How far this process's clock is ahead of that of a node of Cassandra, by node.",
    lambda: dict(_ahead),
    ("node",),
)


def _wall_ms() -> float:
    return time.time_ns() / 1e6


def _elapsed() -> float:
    """Seconds; goes on while the machine sleeps, and is never set."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def _both_ms() -> tuple[int, int]:
    here, nodes = clock.now_ms(), _nodes
    if nodes is None:
        return here, here
    moved = here - _wall_ms()  # by a test
    there = int(nodes.ms + (_elapsed() - nodes.at) * 1000 + moved)
    return (here, there) if abs(there - here) > SAME_MS else (here, here)


def latest_ms() -> int:
    """The present or later, as far as this process knows."""
    return max(_both_ms())


def earliest_ms() -> int:
    """The present or earlier."""
    return min(_both_ms())


async def measure(db: Asked) -> None:
    """Ask the nodes of our data centre for their time. What they do not say in time stays as it was measured before."""
    global _nodes, _ahead
    with contextlib.suppress(Unavailable, errors.CassException):  # or our role may not ask
        ((host, port, centre),) = await db.rows(_LOCAL)
        peers = await db.asked_of(str(host), port, _PEERS, timeout_s=SLOW_S)
        places = [(str(host), int(port)), *((str(at), int(there)) for at, there, of in peers if of == centre)]
        if len(places) > MOST_NODES:
            places = random.sample(places, MOST_NODES)
        answers = await asyncio.gather(*(_time_of(db, *place) for place in places))
        told = {
            (f"{host}:{port}",): answer
            for (host, port), answer in zip(places, answers, strict=True)
            if answer
        }
        if told:
            _ahead = {node: (wall - ms) / 1000 for node, (ms, _, wall) in told.items()}
            at = _elapsed()
            _nodes = _Nodes(statistics.median(ms + (at - then) * 1000 for ms, then, _ in told.values()), at)


async def _time_of(db: Asked, host: str, port: int) -> tuple[float, float, float] | None:
    """What its clock said; and in the middle of the request, when it said so, our two."""
    began = _elapsed()
    try:
        ((ms,),) = await db.asked_of(host, port, _TIME, timeout_s=SLOW_S)
    except (Unavailable, errors.CassException):
        return None
    ended, wall = _elapsed(), _wall_ms()
    half = (ended - began) / 2
    return (float(ms), began + half, wall - half * 1000) if ended - began <= SLOW_S else None


async def keep(db: Asked) -> None:
    """Measure again and again."""
    while True:
        await asyncio.sleep(EVERY_S)
        await measure(db)
