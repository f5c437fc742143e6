"""How much memory the processes of a system have (C7: every buffer and queue has a limit)."""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
from pathlib import Path

from devtools.processes import Child, children
from tests.support.stack import System

_PAGE = os.sysconf("SC_PAGE_SIZE")
OURS = ("gateway-1", "gateway-2", "worker-1", "fanout-1", "beat")
#: By so much may a process of ours grow: several times what a trial needs, a fraction of what an unbounded buffer takes.
GROWTH = 32 << 20
#: Of servers, whose memory is what they were asked to keep: private memory, with all their children.
#: PostgreSQL: pools of ours hold some forty backends, each of which keeps plans and the catalogue, 2 to 3 MB; without a bound on
#: connections, or with a query that reads a log whole, it is hundreds. Valkey: marks, sessions and tasks of 20 devices are below
#: 1 MB, a rewrite of its file touches as much again; a lane, a queue of tasks or a channel's buffer without a limit goes on.
SERVERS = {"postgres": 160 << 20, "valkey": 48 << 20}


def bound(name: str) -> int:
    """Bytes by which a part may grow in a trial."""
    return SERVERS.get(name, GROWTH)


#: So long after it was ready a process has loaded what it needs. On a busy machine that is a minute after its start, not ten
#: seconds: a process that is measured while it loads its modules seems to grow by all of them.
LOADED_S = 10.0


def resident(pid: int) -> int:
    """Bytes in memory of a process and its children, 0 for one that is gone."""
    total = 0
    for one in [pid, *children(pid)]:
        with contextlib.suppress(OSError, IndexError, ValueError):
            total += int(Path(f"/proc/{one}/statm").read_text().split()[1]) * _PAGE
    return total


def private(pid: int) -> int:
    """Bytes of a process, its children and theirs that are in no file and shared with none: a fork that has written nothing adds
    nothing, and PostgreSQL's shared buffers are not in it. 0 where that may not be read."""
    total = 0
    with contextlib.suppress(OSError):
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
        total += sum(int(line.split()[1]) << 10 for line in lines if line.startswith("Pss_Anon:"))
    return total + sum(map(private, children(pid)))


class Memory:
    """Looks at it every half second. A process that starts again begins anew, once it has loaded what it needs."""

    def __init__(self, system: System, loaded_s: float = LOADED_S) -> None:
        self._system = system
        self._loaded_s = loaded_s
        #: Since when. Of those that are ready when it all begins it is not known: since their start, then.
        self._ready: dict[tuple[str, int], float] = {
            (name, pid): self._child(name).started_at
            for name, pid in system.processes.items()
            if pid is not None and self._watched(name) and self._is_ready(name)
        }
        self._first: dict[tuple[str, int], int] = {}
        self._most: dict[tuple[str, int], int] = {}

    async def watch(self) -> None:
        while True:
            self.look()
            await asyncio.sleep(0.5)

    def look(self) -> None:
        for name, pid in self._system.processes.items():
            if pid is None or not self._watched(name) or not self._loaded(name, pid):
                continue
            if size := private(pid) if name in SERVERS else resident(pid):
                self._first.setdefault((name, pid), size)
                self._most[name, pid] = max(size, self._most.get((name, pid), 0))

    def _watched(self, name: str) -> bool:
        return name in OURS or name in SERVERS

    def _child(self, name: str) -> Child:
        return self._system.stack.children[name]

    def _is_ready(self, name: str) -> bool:
        child = self._child(name)
        return child.spec.ready(child)

    def _loaded(self, name: str, pid: int) -> bool:
        now = time.monotonic()
        if (name, pid) not in self._ready:
            if not self._is_ready(name):
                return False
            self._ready[name, pid] = now
        return now - self._ready[name, pid] >= self._loaded_s

    def grown(self) -> dict[str, int]:
        """name → by how many bytes it grew at most since it was first looked at."""
        found: dict[str, int] = {}
        for (name, pid), most in self._most.items():
            found[name] = max(found.get(name, 0), most - self._first[name, pid])
        return found
