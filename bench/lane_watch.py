"""How much waits in the lanes and for how long, looked at while a load runs.

The worker's own gauges move once a second; this asks the hot server itself, one script for all lanes, five times a second. On a
cluster it is one for each lane.
"""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

import redis

from delivery.lanes import LANES, queue_key
from whatsapp.infra import hot_sync
from whatsapp.infra.slots import is_cluster

EVERY_S = 0.2

_LOOK = """
local t, found = redis.call('TIME'), {}
local now = t[1] * 1000 + math.floor(t[2] / 1000)
for i = 1, #KEYS do
  local waiting = redis.call('XLEN', KEYS[i])
  local age = 0
  if waiting > 0 then
    age = now - tonumber(string.match(redis.call('XRANGE', KEYS[i], '-', '+', 'COUNT', 1)[1][1], '^%d+'))
  end
  found[i] = {waiting, age}
end
return found
"""


@dataclass(frozen=True)
class Look:
    """One look. ``lanes``: entries and the age of the oldest one (ms), by lane."""

    at: float
    lanes: tuple[tuple[int, int], ...]

    @property
    def entries(self) -> int:
        return sum(waiting for waiting, _ in self.lanes)

    @property
    def busy(self) -> int:
        return sum(waiting > 0 for waiting, _ in self.lanes)

    @property
    def lag_ms(self) -> int:
        return max(age for _, age in self.lanes)


class LaneWatch:
    """``with LaneWatch(url) as watch``: looks until the block ends. ``looks`` grows meanwhile."""

    def __init__(self, hot_url: str) -> None:
        self._client: Any = hot_sync.client(hot_url)
        self._apart = is_cluster(hot_url)
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self.looks: list[Look] = []
        self.failed = ""

    def look(self) -> Look:
        """Now."""
        queues = [queue_key(lane) for lane in range(LANES)]
        if self._apart:
            answer = [self._client.eval(_LOOK, 1, queue)[0] for queue in queues]
        else:
            answer = self._client.eval(_LOOK, len(queues), *queues)
        return Look(time.perf_counter(), tuple((waiting, age) for waiting, age in answer))

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end.set()
        self._thread.join()
        self._client.close()

    def between(self, begin: float, end: float) -> list[Look]:
        return [look for look in self.looks if begin <= look.at < end]

    def wait_empty(self, timeout_s: float) -> float | None:
        """When nothing waited in any lane any more, None if that did not come."""
        deadline = time.perf_counter() + timeout_s
        while time.perf_counter() < deadline:
            look = self.look()
            if not look.entries:
                return look.at
            time.sleep(0.02)
        return None

    def _run(self) -> None:
        try:
            while not self._end.wait(EVERY_S):
                self.looks.append(self.look())
        except redis.RedisError as error:
            self.failed = str(error)
