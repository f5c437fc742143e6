"""How much memory the processes of a system have (C7: every buffer and queue has a limit)."""

from __future__ import annotations

import asyncio
import contextlib
import os
from pathlib import Path

from devtools.processes import children, start_ticks
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


#: A process that is younger still loads its modules.
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


def age_s(pid: int) -> float:
    """Since when a process runs."""
    ticks = start_ticks(pid)
    if ticks is None:
        return 0.0
    return float(Path("/proc/uptime").read_text().split()[0]) - ticks / os.sysconf("SC_CLK_TCK")


class Memory:
    """Looks at it every half second. A process that starts again begins anew, once it has loaded what it needs."""

    def __init__(self, system: System) -> None:
        self._system = system
        self._first: dict[tuple[str, int], int] = {}
        self._most: dict[tuple[str, int], int] = {}

    async def watch(self) -> None:
        while True:
            self.look()
            await asyncio.sleep(0.5)

    def look(self) -> None:
        for name, pid in self._system.processes.items():
            if pid is None or not (name in OURS or name in SERVERS) or age_s(pid) <= LOADED_S:
                continue
            if size := private(pid) if name in SERVERS else resident(pid):
                self._first.setdefault((name, pid), size)
                self._most[name, pid] = max(size, self._most.get((name, pid), 0))

    def grown(self) -> dict[str, int]:
        """name → by how many bytes it grew at most since it was first looked at."""
        found: dict[str, int] = {}
        for (name, pid), most in self._most.items():
            found[name] = max(found.get(name, 0), most - self._first[name, pid])
        return found
