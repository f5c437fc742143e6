"""Lanes: what groups are owed, on its way from the gateways to the workers, in order per group.

A group's events go to lane ``hash(conversation) mod 64``, a stream on the hot node. One worker at a time holds a lane's lease
and takes its entries from the head (:mod:`delivery.lane_worker`); the lease is for cost, order at the devices comes from ``seq``.

- ``{lane:N}:queue`` stream; an entry is what one append stored for groups of the lane: writer, outbox row, process, events.
- ``{lane:N}:bytes`` how much the entries hold, about: a lane is bounded by it.
- ``{lane:N}:lease`` the token of its holder, ``<process>:<nonce>``; without process while a task for it is on its way.

A row of the outbox is done when a worker has reported that very row for every lane it went to (R13): a stream may be lost,
and "the highest entry seen" says nothing about the ones below.
"""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import hiredis
import msgspec

from delivery.store.values import Logged
from whatsapp.infra.bus import Bus
from whatsapp.infra.limits import LIMITS
from whatsapp.infra.valkey import Command, HotUnavailable

LANES = 64
LEASE_MS = 2_000

#: Topics of the bus.
WAKE = "lane-wake"  # gateway → worker; payload: [lane, token]
#: worker → gateway; payload: [[writer, row, epoch, lane], …], epoch "": not everybody was reached
DONE = "lane-done"
GROUP = "group"  # worker → gateway; payload: [[[logged, …], [users]], …]

#: Starts a task for a lane, off the loop: ``submit(lane, token)``.
SubmitLane = Callable[[int, str], None]

# The entry and the question who works on the lane are one step: nobody can end the lane in between (R15). What an empty lane is
# said to hold was lost, or counted twice by a task that died: the count begins anew.
ADD = """
local waiting = redis.call('XLEN', KEYS[1])
if waiting == 0 then redis.call('DEL', KEYS[3]) end
local bytes = tonumber(redis.call('GET', KEYS[3]) or 0) + #ARGV[5]
if waiting >= tonumber(ARGV[3]) or (waiting > 0 and bytes > tonumber(ARGV[4])) then return {false, '', '', 0} end
local id = redis.call('XADD', KEYS[1], '*', 'b', ARGV[5])
redis.call('SET', KEYS[3], bytes)
local holder = redis.call('GET', KEYS[2])
if not holder then
  redis.call('SET', KEYS[2], ARGV[1], 'PX', ARGV[2])
  holder = ''
end
return {id, holder, redis.call('XRANGE', KEYS[1], '-', '+', 'COUNT', 1)[1][1], redis.call('XLEN', KEYS[1])}
"""

# Whoever was told that the holder is gone takes the lane for a new task, unless another did.
_BREAK = """
if redis.call('GET', KEYS[2]) ~= ARGV[1] then return 0 end
redis.call('SET', KEYS[2], ARGV[2], 'PX', ARGV[3])
return 1
"""


class Entry(msgspec.Struct, array_like=True, gc=False):
    """What one append stored for the groups of one lane."""

    writer: str
    row: int
    process: str  # who wants to hear that it is done, "" nobody
    events: list[Logged]
    only: str = ""  # for this user alone: a block withholds them from the other


_encode = msgspec.msgpack.Encoder().encode


class Added(NamedTuple):
    id: tuple[int, int] | None  # None: the lane is full
    lag_ms: int  # age of the lane's oldest entry


def lane_of(conversation: str) -> int:
    """The last bits of a conversation's id are random."""
    return int(conversation[-2:], 16) % LANES


def tag(lane: int) -> str:
    """What a lane's keys have in common: the node that has them is that of ``hot.reaches(tag)``."""
    return f"lane:{lane}"


def queue_key(lane: int) -> str:
    return f"{{lane:{lane}}}:queue"


def lease_key(lane: int) -> str:
    return f"{{lane:{lane}}}:lease"


def keys(lane: int) -> list[str]:
    return [queue_key(lane), lease_key(lane), f"{{lane:{lane}}}:bytes"]


def new_token(process: str = "") -> str:
    return f"{process}:{uuid.uuid4()}"


def add_arguments(token: str, entry: Entry) -> list[Any]:
    """Of :data:`ADD`, behind :func:`keys`."""
    return [token, LEASE_MS, LIMITS.lane_entries, LIMITS.lane_bytes, _encode(entry)]


def entry_id(raw: bytes) -> tuple[int, int]:
    ms, number = raw.split(b"-")
    return int(ms), int(number)


class Lanes:
    """The gateway's side: adds entries and sees to it that somebody works on the lane."""

    def __init__(self, bus: Bus, submit: SubmitLane) -> None:
        self._bus = bus
        self._submit = submit
        self._add = bus.hot.script(ADD)
        self._break = bus.hot.script(_BREAK)
        self._lost: set[tuple[int, str]] = set()  # holders that are being replaced
        self._tasks: set[asyncio.Task[None]] = set()
        bus.on_undelivered(WAKE, self._not_woken)

    def add_command(self, lane: int, entry: Entry) -> tuple[Command, str]:
        """The command and the token it may leave; hand its answer to :meth:`added`."""
        token = new_token()
        return self._add.call(keys(lane), add_arguments(token, entry)), token

    def added(self, lane: int, token: str, answer: Sequence[Any]) -> Added:
        raw, holder, first, _ = answer
        if not raw:
            return Added(None, 0)
        id_ = entry_id(raw)
        if not holder:
            self._submit(lane, token)
        else:
            process = holder.decode().partition(":")[0]
            if process:
                self._bus.send(process, WAKE, (lane, holder.decode()))
        return Added(id_, max(0, id_[0] - entry_id(first)[0]))

    async def oldest(self, lanes: Sequence[int]) -> dict[int, tuple[int, int] | None]:
        """Id of the first entry of each lane, None for an empty one."""
        answers = await self._bus.hot.run(
            [("XRANGE", queue_key(lane), "-", "+", "COUNT", 1) for lane in lanes]
        )
        return {
            lane: entry_id(found[0][0]) if found else None for lane, found in zip(lanes, answers, strict=True)
        }

    def _not_woken(self, payload: tuple[int, str]) -> None:
        """Nobody listens where the lease says: its holder has died."""
        lane, holder = payload
        if (lane, holder) not in self._lost:
            self._lost.add((lane, holder))
            task = asyncio.get_running_loop().create_task(self._take_over(lane, holder))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _take_over(self, lane: int, holder: str) -> None:
        token = new_token()
        try:
            (taken,) = await self._bus.hot.run([self._break.call(keys(lane), [holder, token, LEASE_MS])])
        except (HotUnavailable, hiredis.ReplyError):
            return  # the lease runs out, and the workers look for lanes that nobody holds
        finally:
            self._lost.discard((lane, holder))
        if taken:
            self._submit(lane, token)
